"""Dead work goes on its way again with all it had recorded; a crash between two steps loses nothing."""

import base64
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest

from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.bus.topology import DEAD, JOURNAL, RESULTS, TASKS, ensure_streams
from antiphon.runtime.delivery.bodies import keep_blob, release
from antiphon.runtime.delivery.collector import collect
from antiphon.runtime.delivery.dead_letter import MAX_BODY, bury
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.delivery.journal_codec import encode_batch
from antiphon.runtime.delivery.letters import Letter, Letters
from antiphon.runtime.delivery.outcome import read_result
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.delivery.redrive import SETTLE_S, Redriver, Resolution
from antiphon.runtime.errors import BusUnavailable, Busy, ConfigurationError, InDoubt, InvalidMessage
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState

TENANT = "default"
SUBJECT = subjects.task(TENANT, Address("shop", "sell"))
OUTAGE = ErrorInfo(type="ModelUnavailable", message="the model is down", retryable=True)
DOUBT = ErrorInfo(type="InDoubt", message="run 'charge' may have happened", details={"path": "2"})
DONE = Entry(kind=EntryKind.OPERATION, path="1", operation="run", target="look", value=b"41")
INTENT = Entry(kind=EntryKind.INTENT, path="2", operation="run", target="charge", request="abc", effect="write")


@dataclass(slots=True)
class SetClock:
    """A clock that the test moves."""

    now_ms: int = 1_000_000_000

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return self.now_ms * 1_000_000

    def monotonic_s(self) -> float:
        """Seconds that never go back."""
        return self.now_ms / 1000


class Cut(Exception):
    """The process died here."""


@dataclass(slots=True)
class Ward:
    """A bus with dead work on it."""

    bus: MemoryBus
    clock: SetClock = field(default_factory=SetClock)

    @property
    def letters(self) -> Letters:
        """Those of the tenant."""
        return Letters(self.bus, TENANT)

    @property
    def redriver(self) -> Redriver:
        """As a new process has it."""
        return Redriver(self.bus, self.clock, TENANT)

    async def submit(
        self, task: str | None = "t1", body: bytes = b'{"n": 1}', headers: dict[str, str] | None = None
    ) -> StoredMessage:
        """A message of the work stream."""
        envelope = Envelope(type="Order", run="r1", task=task or "").headers()
        await self.bus.streams.append(SUBJECT, body, {**envelope, **(headers or {})}, message_id=task)
        stored = await self.bus.streams.last(SUBJECT)
        assert stored is not None
        return stored

    async def die(
        self,
        message: StoredMessage,
        task: str | None = "t1",
        *,
        reason: ErrorInfo = OUTAGE,
        entries: tuple[Entry, ...] = (DONE,),
        state: TaskState | None = TaskState.DEAD,
    ) -> Letter:
        """As a worker does it: letter, outcome, journal."""
        await bury(self.bus, self.clock, TENANT, "shop", message, reason=reason, attempts=5, task=task)
        if task is not None and state is not None:
            await self.end(task, state, message.sequence, entries)
        return [letter async for letter in self.letters.each()][-1]

    async def end(self, task: str, state: TaskState, origin: int, entries: tuple[Entry, ...]) -> None:
        """The outcome and the journal of a task; a dead one's stays open."""
        now_ms = self.clock.now_ms
        result = TaskResult(task=task, state=state, started_unix_ms=now_ms, finished_unix_ms=now_ms)
        await self.bus.streams.append(subjects.result(TENANT, task), encode(result), expected_last=0)
        batch = JournalBatch(
            task=task,
            run="r1",
            agent="shop",
            handler="sell",
            version="7",
            origin=origin,
            attempt=5,
            entries=entries,
            state="" if state is TaskState.DEAD else state,
        )
        await self.bus.streams.append(
            subjects.journal(TENANT, task), encode_batch(batch), rollup=True, ttl_s=0 if state is TaskState.DEAD else 60
        )

    async def sent(self) -> list[StoredMessage]:
        """What came onto the work stream after the first message."""
        return [stored async for stored in self.bus.streams.read(TASKS.name, SUBJECT)][1:]

    async def kinds(self, task: str = "t1") -> list[EntryKind]:
        """What the journal says."""
        history, _ = await read_history(self.bus, TENANT, task)
        return [entry.kind for entry in history.all]


@pytest.fixture
async def ward() -> AsyncGenerator[Ward, None]:
    """An empty one."""
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)
    yield Ward(bus)
    await bus.close()


async def test_a_task_goes_on_with_its_id_its_journal_and_its_message(ward: Ward) -> None:
    """Attempts count anew, whichever message comes next may own it, and its outcome is open again."""
    letter = await ward.die(await ward.submit(headers={"X-Own": "kept"}))
    assert await ward.redriver.redrive(letter)
    history, _ = await read_history(ward.bus, TENANT, "t1")
    assert [entry.kind for entry in history.all] == [EntryKind.OPERATION, EntryKind.REDRIVE]
    assert (history.entries["1"], history.version, history.origin, history.attempt) == (DONE, "7", 0, 1)
    assert history.state == ""
    assert await read_result(ward.bus, TENANT, "t1") is None
    (again,) = await ward.sent()
    assert again.body == b'{"n": 1}'
    envelope = Envelope.from_headers(again.headers)
    assert (envelope.task, envelope.run, envelope.type) == ("t1", "r1", "Order")
    assert envelope.message_id == f"t1:redrive:{letter.number}"
    assert envelope.attempt == 6  # so that its worker reads the journal first
    assert again.headers["X-Own"] == "kept"
    assert [each async for each in ward.letters.each()] == []


@pytest.mark.parametrize("step", range(5))
async def test_a_crash_after_any_step_is_made_up_for_by_repeating(
    ward: Ward, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """One entry, one message, no outcome, and no letter are left, wherever the first one stopped."""
    letter = await ward.die(await ward.submit())
    calls = 0

    def dying(function: Any) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal calls
            if calls == step:
                raise Cut
            calls += 1
            return await function(*args, **kwargs)

        return call

    streams = ward.bus.streams
    with monkeypatch.context() as patch:
        patch.setattr(streams, "append", dying(streams.append))
        patch.setattr(streams, "purge", dying(streams.purge))
        patch.setattr(streams, "delete", dying(streams.delete))
        if step < 4:  # journal, outcome, message, letter
            with pytest.raises(Cut):
                await ward.redriver.redrive(letter)
            assert [each.number async for each in ward.letters.each()] == [letter.number]
        else:
            await ward.redriver.redrive(letter)
    await ward.redriver.redrive(letter)
    assert await ward.kinds() == [EntryKind.OPERATION, EntryKind.REDRIVE]
    assert await read_result(ward.bus, TENANT, "t1") is None
    assert len(await ward.sent()) == 1
    assert [each async for each in ward.letters.each()] == []


@pytest.mark.parametrize("state", [TaskState.DEAD, TaskState.FAILED, TaskState.SUCCEEDED])
async def test_a_redrive_that_is_repeated_late_never_voids_a_newer_outcome(ward: Ward, state: TaskState) -> None:
    """The task has ended since: only the letter goes."""
    letter = await ward.die(await ward.submit())
    await ward.redriver.redrive(letter)
    history, _ = await read_history(ward.bus, TENANT, "t1")
    await ward.end("t1", state, 2, tuple(history.all))
    assert not await ward.redriver.redrive(letter)
    assert await read_result(ward.bus, TENANT, "t1") is not None
    assert len(await ward.sent()) == 1


async def test_a_task_that_succeeded_meanwhile_is_left_alone(ward: Ward) -> None:
    """Its journal may be gone already."""
    letter = await ward.die(await ward.submit(), state=None)
    await ward.end("t1", TaskState.SUCCEEDED, 1, ())
    await ward.bus.streams.purge(JOURNAL.name)
    assert not await ward.redriver.redrive(letter)
    assert await ward.sent() == []
    result = await read_result(ward.bus, TENANT, "t1")
    assert result is not None and result.state is TaskState.SUCCEEDED


async def test_a_letter_whose_worker_has_not_finished_waits(ward: Ward) -> None:
    """The outcome comes a moment after the letter; would it come after the redrive, that would be lost."""
    letter = await ward.die(await ward.submit(), state=None)
    with pytest.raises(Busy, match="try again in 30 s"):
        await ward.redriver.redrive(letter)
    ward.clock.now_ms += int(SETTLE_S * 1000)
    assert await ward.redriver.redrive(letter)


async def test_a_journal_that_was_closed_is_open_again_for_good(ward: Ward) -> None:
    """That of a message whose deadline had passed has a TTL; what it holds must outlast the task."""
    letter = await ward.die(await ward.submit(), state=TaskState.CANCELLED)
    await ward.redriver.redrive(letter)
    history, _ = await read_history(ward.bus, TENANT, "t1")
    assert (history.state, [entry.kind for entry in history.all]) == ("", [EntryKind.OPERATION, EntryKind.REDRIVE])
    stored = [each async for each in ward.bus.streams.read(JOURNAL.name, subjects.journal(TENANT, "t1"))]
    assert [each.headers.get("Nats-TTL") for each in stored] == [None]


async def test_a_bare_body_keeps_the_id_it_was_given(ward: Ward) -> None:
    """It has no headers; a new place in the stream would make it another task."""
    letter = await ward.die(await ward.submit(None), "derived1")
    await ward.redriver.redrive(letter)
    (again,) = await ward.sent()
    assert Envelope.from_headers(again.headers).task == "derived1"


async def test_a_deadline_that_has_passed_does_not_travel(ward: Ward) -> None:
    """One that has not passed does."""
    late = await ward.die(await ward.submit(headers={"Antiphon-Deadline": "5"}))
    await ward.redriver.redrive(late)
    (again,) = await ward.sent()
    assert Envelope.from_headers(again.headers).deadline_unix_ms is None


async def test_a_wake_up_that_died_goes_on_as_the_first_message_of_its_task(ward: Ward) -> None:
    """A wake-up has no body of its own; the journal has."""
    parked = ParkedTask(
        task="t1",
        run="r1",
        agent="shop",
        handler="sell",
        version="7",
        number=1,
        waits=(),
        headers=Envelope(type="Order", run="r1", task="t1").headers(),
        body_base64=base64.b64encode(b'{"n": 1}').decode(),
        parked_unix_ms=1,
    )
    park = Entry(kind=EntryKind.PARK, value=parked.model_dump_json().encode())
    await ward.submit()
    wake = await ward.submit("t1-again", b"", {"Antiphon-Task": "t1", "Antiphon-Wake": "1"})
    letter = await ward.die(wake, entries=(park,))
    await ward.redriver.redrive(letter)
    again = (await ward.sent())[-1]
    envelope = Envelope.from_headers(again.headers)
    assert (again.body, envelope.task, envelope.wake) == (b'{"n": 1}', "t1", 0)


async def test_a_large_body_comes_back_from_the_blob_store(ward: Ward) -> None:
    """As it was."""
    body = b"x" * (MAX_BODY + 1)
    letter = await ward.die(await ward.submit(body=body))
    await ward.redriver.redrive(letter)
    assert (await ward.sent())[0].body == body


async def test_what_the_task_has_in_the_blob_store_stays_there(ward: Ward) -> None:
    """Its references ran out when it died, and the letter that protected them goes."""
    digest = await keep_blob(ward.bus, b"large", TENANT, "t1")
    large = Entry(kind=EntryKind.OPERATION, path="1", digest=digest)
    letter = await ward.die(await ward.submit(), entries=(large,))
    await release(ward.bus, ward.clock, TENANT, "t1", [digest], keep_s=1)
    await ward.redriver.redrive(letter)
    ward.clock.now_ms += 10_000_000_000_000
    for _ in range(3):
        await collect(ward.bus, ward.clock, result_ttl_s=1)
    assert await ward.bus.blobs.get(digest) == b"large"


@pytest.mark.parametrize(
    ("resolution", "said"),
    [
        (Resolution(done=True, value={"paid": 3}), {"done": True, "value": {"paid": 3}}),
        (Resolution(done=False), {"done": False, "value": None}),
    ],
)
async def test_a_doubt_is_resolved_by_a_person(ward: Ward, resolution: Resolution, said: dict[str, Any]) -> None:
    """The journal says what happened before it says that the task goes on."""
    letter = await ward.die(await ward.submit(), reason=DOUBT, entries=(DONE, INTENT))
    assert await ward.redriver.redrive(letter, resolution)
    history, _ = await read_history(ward.bus, TENANT, "t1")
    assert [entry.kind for entry in history.all][-2:] == [EntryKind.RESOLVED, EntryKind.REDRIVE]
    resolved = history.resolved["2"]
    assert msgspec.json.decode(resolved.value) == said
    assert (resolved.operation, resolved.target, resolved.request) == ("run", "charge", "abc")


async def test_a_doubt_that_nobody_resolved_stays_dead(ward: Ward) -> None:
    """It would die of the same doubt at once."""
    letter = await ward.die(await ward.submit(), reason=DOUBT, entries=(DONE, INTENT))
    with pytest.raises(InDoubt, match="--resolve done=RESULT"):
        await ward.redriver.redrive(letter)
    assert await ward.kinds() == [EntryKind.OPERATION, EntryKind.INTENT]
    assert [each.number async for each in ward.letters.each()] == [letter.number]


async def test_a_resolution_that_has_no_use_is_refused(ward: Ward) -> None:
    """No doubt; a doubt about an operation that never began; no journal."""
    resolution = Resolution(done=False)
    with pytest.raises(ConfigurationError, match="not in doubt: redrive it without --resolve"):
        await ward.redriver.redrive(await ward.die(await ward.submit()), resolution)
    other = await ward.die(await ward.submit("t2"), "t2", reason=DOUBT)
    with pytest.raises(ConfigurationError, match="which the journal does not have"):
        await ward.redriver.redrive(other, resolution)
    await ward.bus.streams.purge(JOURNAL.name)
    with pytest.raises(ConfigurationError, match="no journal any more"):
        await ward.redriver.redrive(other, resolution)


async def test_a_letter_without_task_has_its_bytes_published_again(ward: Ward) -> None:
    """An event, on its topic."""
    topic = subjects.event(TENANT, "orders")
    sequence = await ward.bus.streams.append(topic, b"\xff", {"X": "y"}, message_id="e1")
    letter = await ward.die(StoredMessage(topic, b"\xff", {"X": "y", "Nats-Msg-Id": "e1"}, sequence, 0), None)
    assert await ward.redriver.redrive(letter)
    first, second = [stored async for stored in ward.bus.streams.read("ANTIPHON_EVENTS", topic)]
    assert (second.body, second.headers["X"]) == (first.body, "y")


async def test_what_is_no_letter_of_work_can_only_be_dropped(ward: Ward) -> None:
    """Somebody published it by hand; it is listed with its bytes."""
    await ward.bus.streams.append(subjects.dead(TENANT, "shop"), b"not a letter")
    (letter,) = [each async for each in ward.letters.each()]
    assert await letter.body(ward.bus) == b"not a letter"
    with pytest.raises(InvalidMessage, match="where no work comes in: drop it"):
        await ward.redriver.redrive(letter)
    await ward.redriver.drop(letter)
    assert [each async for each in ward.letters.each()] == []


async def test_a_dropped_letter_takes_the_journal_and_leaves_the_outcome(ward: Ward) -> None:
    """Whoever waits for the task still learns that it is dead."""
    letter = await ward.die(await ward.submit())
    await ward.redriver.drop(letter)
    assert await ward.kinds() == []
    assert await read_result(ward.bus, TENANT, "t1") is not None
    assert await ward.sent() == []


async def test_the_journal_goes_even_where_the_outcome_was_forgotten(ward: Ward) -> None:
    """Outcomes have a TTL, letters and the journals of the dead have none."""
    letter = await ward.die(await ward.submit())
    await ward.bus.streams.purge(RESULTS.name)
    await ward.redriver.drop(letter)
    assert await ward.kinds() == []


async def test_dropping_a_letter_spares_the_journal_of_a_task_that_runs_again(
    ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A redrive died before it could remove the letter."""
    letter = await ward.die(await ward.submit())

    async def die(*_: Any) -> None:
        raise BusUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(Letters, "remove", die)
        with pytest.raises(BusUnavailable):
            await ward.redriver.redrive(letter)
    await ward.redriver.drop(letter)
    assert await ward.kinds() == [EntryKind.OPERATION, EntryKind.REDRIVE]


async def test_nothing_lies_about_after_all_letters_went(ward: Ward) -> None:
    """The streams are as empty as before."""
    for n in range(3):
        await ward.redriver.drop(await ward.die(await ward.submit(f"t{n}"), f"t{n}"))
    assert (await ward.bus.inspector.usage(DEAD.name)).messages == 0
    assert (await ward.bus.inspector.usage(JOURNAL.name)).messages == 0
    assert (await ward.bus.inspector.usage(RESULTS.name)).messages == 3
