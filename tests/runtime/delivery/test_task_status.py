"""Whatever has become of a task, somebody who has its id finds out."""

from collections.abc import AsyncGenerator

import pytest

from antiphon.runtime.bus.base import ConsumerSpec, StoredMessage
from antiphon.runtime.bus.topology import TASKS, ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.dead_letter import bury
from antiphon.runtime.delivery.journal_codec import encode_batch
from antiphon.runtime.delivery.outcome import store_result
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.delivery.task_status import find_task, task_status
from antiphon.runtime.errors import UnknownTask
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address, derived_id
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.parking import ParkedTask, Wait, WaitKind
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState

TENANT = "default"
SUBJECT = subjects.task(TENANT, Address("shop", "sell"))
WAIT = Wait(kind=WaitKind.APPROVAL, path="1", id="a1")
DONE = Entry(kind=EntryKind.OPERATION, path="1", operation="run", target="look", value=b"1")


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    """With one task of somebody else in the stream."""
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)
    await submit(bus, "other")
    yield bus
    await bus.close()


async def submit(bus: MemoryBus, task: str) -> int:
    """Its message, as a client stores it."""
    return await bus.streams.append(SUBJECT, b"{}", Envelope(task=task).headers(), message_id=task or None)


async def write(bus: MemoryBus, *entries: Entry, state: str = "") -> None:
    """A batch of the journal of t1."""
    batch = JournalBatch(
        task="t1",
        run="t1",
        agent="shop",
        handler="sell",
        version="1",
        origin=2,
        attempt=1,
        entries=entries,
        state=state,
    )
    await bus.streams.append(subjects.journal(TENANT, "t1"), encode_batch(batch))


async def end(bus: MemoryBus, state: TaskState) -> None:
    """The outcome of t1."""
    result = TaskResult(
        task="t1", agent="shop", handler="sell", state=state, attempts=3, started_unix_ms=1, finished_unix_ms=2
    )
    await store_result(bus, TENANT, result, ttl_s=60)


async def die(bus: MemoryBus) -> None:
    """A dead letter of t1."""
    reason = ErrorInfo(type="T", message="m")
    message = StoredMessage(SUBJECT, b"{}", {}, 2, 0)
    await bury(bus, SystemClock(), TENANT, "shop", message, reason=reason, attempts=3, task="t1")


async def test_a_task_that_nobody_has_begun_is_queued(bus: MemoryBus) -> None:
    """Found by its header, with its place in the stream."""
    sequence = await submit(bus, "t1")
    status = await task_status(bus, TENANT, "t1")
    assert (status.state, status.address, status.message) == (TaskState.QUEUED, "shop.sell", sequence)
    assert await find_task(bus, TENANT, "t1") is TaskState.QUEUED


async def test_a_bare_body_is_found_by_the_id_of_its_place(bus: MemoryBus) -> None:
    """It has no header to name it."""
    sequence = await submit(bus, "")
    assert await find_task(bus, TENANT, derived_id(TASKS.name, str(sequence))) is TaskState.QUEUED


async def test_a_journal_says_who_runs_what(bus: MemoryBus) -> None:
    """With what was done so far."""
    await submit(bus, "t1")
    await write(bus, DONE)
    status = await task_status(bus, TENANT, "t1")
    assert (status.state, status.address, status.attempts) == (TaskState.RUNNING, "shop.sell", 1)
    assert status.entries == (DONE,)


async def test_a_task_that_its_node_let_go_is_queued(bus: MemoryBus) -> None:
    """A node that drained, until another takes it over."""
    await write(bus, DONE, Entry(kind=EntryKind.RELEASE))
    assert await find_task(bus, TENANT, "t1") is TaskState.QUEUED


async def test_a_parked_task_says_what_it_waits_for(bus: MemoryBus) -> None:
    """From its record."""
    await submit(bus, "t1")
    parked = ParkedTask(
        task="t1",
        run="t1",
        agent="shop",
        handler="sell",
        version="1",
        number=1,
        waits=(WAIT,),
        headers={},
        body_base64="",
        parked_unix_ms=1,
    )
    await write(bus, DONE, Entry(kind=EntryKind.PARK, value=parked.model_dump_json().encode()))
    await (await Parking.open(bus, TENANT)).put(parked)
    status = await task_status(bus, TENANT, "t1")
    assert (status.state, status.address, status.waits) == (TaskState.PARKED, "shop.sell", (WAIT,))


@pytest.mark.parametrize("state", [state for state in TaskState if state.terminal])
async def test_an_outcome_is_the_last_word(bus: MemoryBus, state: TaskState) -> None:
    """Whatever else is still there."""
    await submit(bus, "t1")
    await write(bus, DONE)
    await end(bus, state)
    status = await task_status(bus, TENANT, "t1")
    assert (status.state, status.address, status.attempts) == (state, "shop.sell", 3)
    assert status.result is not None and status.entries == (DONE,)


async def test_a_dead_task_names_its_letter_for_as_long_as_that_is_there(bus: MemoryBus) -> None:
    """Which is longer than its outcome is kept."""
    await write(bus, DONE)
    await die(bus)
    await end(bus, TaskState.DEAD)
    assert (await task_status(bus, TENANT, "t1")).letter == 1
    await bus.streams.purge("ANTIPHON_RESULTS")
    status = await task_status(bus, TENANT, "t1")
    assert (status.state, status.letter) == (TaskState.DEAD, 1)


async def test_a_redriven_task_is_not_dead_any_more(bus: MemoryBus) -> None:
    """Though the redrive may have died before it could remove the letter."""
    await die(bus)
    await write(bus, DONE, Entry(kind=EntryKind.REDRIVE, value=b'{"letter":1,"result":0}'))
    status = await task_status(bus, TENANT, "t1")
    assert (status.state, status.letter) == (TaskState.QUEUED, 0)


@pytest.mark.parametrize("task", ["t2", "no/such", ""])
async def test_an_unknown_task_is_an_error_that_says_what_to_check(bus: MemoryBus, task: str) -> None:
    """Whatever was typed."""
    with pytest.raises(UnknownTask, match=r"no trace of a task t2|no task can have this id"):
        await find_task(bus, TENANT, task)


async def test_another_tenant_s_task_is_unknown(bus: MemoryBus) -> None:
    """Ids are looked up in the tenant's own subjects."""
    await submit(bus, "t1")
    with pytest.raises(UnknownTask):
        await find_task(bus, "other", "t1")


async def test_a_task_whose_outcome_was_forgotten_is_not_taken_for_a_queued_one(bus: MemoryBus) -> None:
    """Its message is still in the stream, and settled; so may its journal be."""
    await submit(bus, "t1")
    consumer = await bus.streams.consume(
        ConsumerSpec(stream=TASKS.name, name="default_shop", subjects=(subjects.tasks_of(TENANT, "shop"),))
    )
    for lease in await consumer.fetch(10, 1.0):
        await lease.ack()
    with pytest.raises(UnknownTask, match="has ended, and its outcome is kept no longer"):
        await find_task(bus, TENANT, "t1")
    await write(bus, DONE, state="succeeded")
    with pytest.raises(UnknownTask, match="has ended"):
        await find_task(bus, TENANT, "t1")
