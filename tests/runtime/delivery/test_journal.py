"""Appends of one worker: together, fenced, repeated until answered, and refused once another has the task."""

import asyncio

import pytest

from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.bus.memory import MemoryBus, MemoryStreams
from antiphon.runtime.bus.topology import JOURNAL, ensure_streams
from antiphon.runtime.clock import LoopClock
from antiphon.runtime.delivery.journal import RETRY_S, Journal, Owner, read_history
from antiphon.runtime.delivery.journal_codec import decode_batch
from antiphon.runtime.errors import AntiphonError, BusUnavailable, LeaseLost
from antiphon.runtime.testing import virtual_time
from antiphon.schemas import subjects
from antiphon.schemas.envelope import FINAL
from antiphon.schemas.journal import Entry, EntryKind
from antiphon.schemas.task import TaskState

TENANT = "default"
OWNER = Owner(tenant=TENANT, task="t", run="t", agent="a", handler="h", version="1", origin=1, node="node-1")


async def make_bus() -> MemoryBus:
    bus = MemoryBus()
    await ensure_streams(bus)
    return bus


def operation(path: str, value: bytes = b"1") -> Entry:
    return Entry(kind=EntryKind.OPERATION, path=path, operation="run", value=value)


async def stored(bus: MemoryBus) -> list[StoredMessage]:
    return [message async for message in bus.streams.read(JOURNAL.name, subjects.journal(TENANT, "t"))]


async def second_worker(bus: MemoryBus) -> Journal:
    """One that takes the task over."""
    history, last = await read_history(bus, TENANT, "t")
    journal = Journal(bus, LoopClock(), OWNER, history, last)
    await journal.claim(wake=0, counts=True)
    return journal


@virtual_time(seeds=range(5))
async def test_what_ends_together_is_stored_together() -> None:
    """Two appends for five entries: the first goes alone, the others wait for it and share the next."""
    bus = await make_bus()
    journal = Journal(bus, LoopClock(), OWNER)
    await asyncio.gather(*(journal.commit(operation(f"1.{letter}.1")) for letter in "abcde"))
    batches = [decode_batch(message.body) for message in await stored(bus)]
    assert sorted(entry.path for batch in batches for entry in batch.entries) == [f"1.{x}.1" for x in "abcde"]
    assert len(batches) <= 2


@virtual_time()
async def test_a_noted_entry_rides_on_the_next_append() -> None:
    """It is known at once, and stored when something else is."""
    bus = await make_bus()
    journal = Journal(bus, LoopClock(), OWNER)
    journal.note(Entry(kind=EntryKind.DRAW, path="1", operation="now", value=b"5.0"))
    assert await stored(bus) == []
    assert journal.history.entries["1"].value == b"5.0"
    await journal.commit(operation("2"))
    [message] = await stored(bus)
    assert [entry.path for entry in decode_batch(message.body).entries] == ["1", "2"]


@virtual_time(seeds=range(5))
async def test_a_claim_makes_every_older_worker_stale() -> None:
    """Its next append is refused, everyone who waits for one is told, and its run is stopped once."""
    bus = await make_bus()
    old = Journal(bus, LoopClock(), OWNER)
    told: list[AntiphonError] = []
    old.on_lost = told.append
    await old.commit(operation("1"))
    new = await second_worker(bus)
    results = await asyncio.gather(*(old.commit(operation(f"2.{x}.1")) for x in "abc"), return_exceptions=True)
    assert [type(result) for result in results] == [LeaseLost] * 3
    assert len(told) == 1
    with pytest.raises(LeaseLost):
        await old.commit(operation("3"))
    await new.commit(operation("2"))
    history, _ = await read_history(bus, TENANT, "t")
    assert set(history.entries) == {"1", "2"}
    assert new.attempt == history.attempt == 2


@virtual_time(seeds=range(5))
async def test_of_two_that_claim_at_once_the_last_one_has_the_task() -> None:
    """Both claims are stored; the one that came first is stale by the second, and knows all that was there."""
    bus = await make_bus()
    await Journal(bus, LoopClock(), OWNER).commit(operation("1"))
    history, last = await read_history(bus, TENANT, "t")
    other, _ = await read_history(bus, TENANT, "t")
    one, two = Journal(bus, LoopClock(), OWNER, history, last), Journal(bus, LoopClock(), OWNER, other, last)
    await asyncio.gather(one.claim(wake=0, counts=True), two.claim(wake=0, counts=True))
    results = await asyncio.gather(one.commit(operation("2")), two.commit(operation("2")), return_exceptions=True)
    assert sorted(type(result).__name__ for result in results) == ["LeaseLost", "NoneType"]
    assert sorted([one.attempt, two.attempt]) == [2, 3]
    assert set(one.history.entries) == set(two.history.entries) == {"1"}


@virtual_time()
async def test_an_append_whose_answer_was_lost_is_stored_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is repeated under the same id; the server knows it, and the fence goes on from there."""
    bus = await make_bus()
    journal = Journal(bus, LoopClock(), OWNER)
    append, lost = MemoryStreams.append, [True, True]

    async def unreliable(self: MemoryStreams, *args: object, **kwargs: object) -> int:
        sequence = await append(self, *args, **kwargs)  # type: ignore[arg-type]  # passed on
        if lost:
            lost.pop()
            raise BusUnavailable("no answer")
        return sequence

    monkeypatch.setattr(MemoryStreams, "append", unreliable)
    await journal.commit(operation("1"))
    await journal.commit(operation("2"))
    assert [decode_batch(message.body).entries[0].path for message in await stored(bus)] == ["1", "2"]


@virtual_time()
async def test_an_attempt_that_cannot_write_its_journal_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it did is not recorded: a handler that went on would leave a journal with holes."""
    bus = await make_bus()
    journal = Journal(bus, LoopClock(), OWNER)
    told: list[AntiphonError] = []
    journal.on_lost = told.append

    async def away(self: MemoryStreams, *args: object, **kwargs: object) -> int:
        raise BusUnavailable("the bus is away")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryStreams, "append", away)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(BusUnavailable):
            await journal.commit(operation("1"))
        assert RETRY_S <= asyncio.get_running_loop().time() - began_s <= RETRY_S + 1
    assert [type(error) for error in told] == [BusUnavailable]
    with pytest.raises(BusUnavailable):
        await journal.commit(operation("2"))
    assert await stored(bus) == []


@virtual_time()
async def test_a_finished_journal_is_one_message_with_everything() -> None:
    """It names the state and forgets itself after its time."""
    bus = await make_bus()
    journal = Journal(bus, LoopClock(), OWNER)
    await journal.commit(operation("1"))
    await journal.commit(operation("2"))
    journal.note(operation("3"))
    await journal.finish(TaskState.SUCCEEDED, ttl_s=60.0)
    [message] = await stored(bus)
    assert message.headers[FINAL] == "succeeded"
    history, _ = await read_history(bus, TENANT, "t")
    assert (history.state, set(history.entries)) == ("succeeded", {"1", "2", "3"})
    await asyncio.sleep(61)
    assert await stored(bus) == []


@virtual_time()
async def test_a_stale_worker_cannot_close_the_journal() -> None:
    """Whoever has the task now does."""
    bus = await make_bus()
    old = Journal(bus, LoopClock(), OWNER)
    await old.commit(operation("1"))
    await second_worker(bus)
    await old.finish(TaskState.SUCCEEDED, ttl_s=60.0)
    history, _ = await read_history(bus, TENANT, "t")
    assert history.state == ""


@virtual_time()
async def test_a_journal_outgrows_a_message() -> None:
    """Large values make several appends, and a batch that is too large is kept as a blob."""
    bus = await make_bus()
    journal = Journal(bus, LoopClock(), OWNER)
    large = b'"' + b"x" * 200_000 + b'"'
    await asyncio.gather(*(journal.commit(operation(f"1.{x}.1", large)) for x in "abcdefgh"))
    await journal.finish(TaskState.SUCCEEDED, ttl_s=60.0)
    history, _ = await read_history(bus, TENANT, "t")
    assert {entry.value for entry in history.entries.values()} == {large}
    assert len(history.entries) == 8
