"""Work that the server gives up ends in a dead letter and an outcome."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from antiphon.runtime.bus.base import Bus, ConsumerSpec
from antiphon.runtime.bus.consumers import NatsLease
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.bus.topology import ADVISORIES, DEAD, TASKS, ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.advisories import AdvisoryProcessor, consumer_spec
from antiphon.runtime.delivery.outcome import await_result, store_result
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.delivery.worker import Worker
from antiphon.runtime.testing import MemoryBus
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import derived_id
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.task import DeadLetter, TaskResult, TaskState

SUBJECT = "antiphon.default.task.a.b"
ONCE = ConsumerSpec(stream=TASKS.name, name="w", subjects=(SUBJECT,), ack_wait_s=0.3, max_deliveries=1)
CLOCK = SystemClock()


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
async def bus(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Bus, None]:
    """A bus with its streams and a watcher on it."""
    if request.param == "memory":
        found: Bus = MemoryBus()
        async for ready in watched(found):
            yield ready
        return
    async with embedded_server(tmp_path) as address:
        async for ready in watched(await NatsBus.connect(address.url, address.token)):
            yield ready


async def watched(bus: Bus) -> AsyncGenerator[Bus, None]:
    """With a watcher for the default tenant."""
    await ensure_streams(bus)
    process = AdvisoryProcessor(bus, CLOCK, await Parking.open(bus, "default"), "default", result_ttl_s=1000)
    worker = Worker(bus, consumer_spec("default"), Slots("advisories", 1, 0), process)
    await worker.start()
    yield bus
    await asyncio.wait_for(worker.stop(), 60)
    await bus.close()


async def outcome(bus: Bus, task: str) -> TaskResult:
    """The task's, once it is there."""
    return await asyncio.wait_for(await_result(bus, CLOCK, "default", task, deadline_unix_ms=None), 60)


async def letters(bus: Bus) -> list[DeadLetter]:
    """All there are."""
    return [decode(DeadLetter, stored.body) async for stored in bus.streams.read(DEAD.name, "antiphon.default.dead.a")]


async def test_too_many_deliveries(bus: Bus) -> None:
    """The worker took it as often as the consumer allows and never said a word."""
    envelope = Envelope(task="t", run="r", parent="p")
    await bus.streams.append(SUBJECT, b"{}", envelope.headers())
    consumer = await bus.streams.consume(ONCE)
    assert len(await consumer.fetch(1, 60)) == 1
    result = await outcome(bus, "t")
    assert (result.state, result.run, result.agent, result.handler) == (TaskState.DEAD, "r", "a", "b")
    assert result.error is not None and "gave it up after 1 deliveries" in result.error.message
    (letter,) = await letters(bus)
    assert (letter.task, letter.attempts, letter.subject) == ("t", 1, SUBJECT)


async def test_a_bare_body(bus: Bus) -> None:
    """Without an id it has the one that its worker would have given it."""
    await bus.streams.append(SUBJECT, b"{}")
    consumer = await bus.streams.consume(ONCE)
    assert len(await consumer.fetch(1, 60)) == 1
    assert (await outcome(bus, derived_id(TASKS.name, "1"))).state is TaskState.DEAD


async def test_a_parent_that_waits_is_woken(bus: Bus) -> None:
    """As by any other end of a child."""
    parking = await Parking.open(bus, "default")
    parent = ParkedTask(
        task="p",
        run="r",
        agent="c",
        handler="d",
        version="1",
        number=3,
        waits=(),
        headers={},
        body_base64="",
        parked_unix_ms=0,
    )
    await parking.put(parent)
    await bus.streams.append(SUBJECT, b"{}", Envelope(task="t", parent="p").headers())
    woken = await bus.streams.consume(
        ConsumerSpec(stream=TASKS.name, name="parent", subjects=("antiphon.default.task.c.*",))
    )
    consumer = await bus.streams.consume(ONCE)
    assert len(await consumer.fetch(1, 60)) == 1
    (lease,) = await asyncio.wait_for(woken.fetch(1, 60), 60)
    assert Envelope.from_headers(lease.message.headers).wake == 3
    await lease.ack()


async def test_what_has_ended_is_left_alone(bus: Bus) -> None:
    """Work that was finished but never acked has its outcome already; so has everything of other tenants."""
    done = TaskResult(task="t", state=TaskState.SUCCEEDED, started_unix_ms=0, finished_unix_ms=0)
    await store_result(bus, "default", done, ttl_s=1000)
    other = "antiphon.other.task.a.b"
    await bus.streams.append(SUBJECT, b"{}", Envelope(task="t").headers())
    await bus.streams.append(other, b"{}", Envelope(task="u").headers())
    await bus.streams.append(SUBJECT, b"{}", Envelope(task="v").headers())
    spec = ConsumerSpec(
        stream=TASKS.name, name="w", subjects=(SUBJECT, other), ack_wait_s=0.3, max_deliveries=1, max_in_flight=1
    )
    consumer = await bus.streams.consume(spec)
    for _ in range(3):  # one after the other, so that the advisories are in order
        async with asyncio.timeout(60):
            while not await consumer.fetch(1, 1):
                pass
    assert (await outcome(bus, "v")).state is TaskState.DEAD
    assert [letter.task for letter in await letters(bus)] == ["v"]
    assert (await outcome(bus, "t")).state is TaskState.SUCCEEDED


async def test_nonsense_does_not_stop_the_watcher(bus: Bus) -> None:
    """Somebody else may publish there."""
    await bus.publish(ADVISORIES.subjects[0].replace(">", "w"), b"nonsense")
    await bus.streams.append(SUBJECT, b"{}", Envelope(task="t").headers())
    consumer = await bus.streams.consume(ONCE)
    assert len(await consumer.fetch(1, 60)) == 1
    assert (await outcome(bus, "t")).state is TaskState.DEAD


@pytest.mark.nats
@pytest.mark.parametrize("bus", [pytest.param("nats", marks=pytest.mark.nats)], indirect=True)
async def test_terminated_by_hand(bus: Bus) -> None:
    """``+TERM`` with a reason: the letter says which."""
    await bus.streams.append(SUBJECT, b"{}", Envelope(task="t").headers())
    consumer = await bus.streams.consume(ConsumerSpec(stream=TASKS.name, name="w", subjects=(SUBJECT,)))
    (lease,) = await consumer.fetch(1, 60)
    assert isinstance(lease, NatsLease)
    await bus.publish(lease._reply, b"+TERM poisoned")
    result = await outcome(bus, "t")
    assert result.state is TaskState.DEAD
    (letter,) = await letters(bus)
    assert "consumer w had it terminated (poisoned) after 1 deliveries" in letter.reason.message
