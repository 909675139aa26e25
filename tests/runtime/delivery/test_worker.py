"""The pull loop: it fetches no more than it can run, keeps what it holds alive, and gives it up when told."""

import asyncio
from dataclasses import replace
from typing import cast

from antiphon.runtime.bus.base import Bus, ConsumerSpec, Lease
from antiphon.runtime.delivery.slots import Slot, Slots
from antiphon.runtime.delivery.worker import Worker
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.testing import MemoryBus, MemoryServer

SUBJECT = "antiphon.default.task.a.b"
SPEC = ConsumerSpec(stream="ANTIPHON_TASKS", name="default_a", subjects=("antiphon.default.task.a.*",), ack_wait_s=0.4)


async def stored(count: int) -> tuple[MemoryServer, MemoryBus]:
    """A bus with some durable work."""
    from antiphon.runtime.bus.topology import ensure_streams

    server = MemoryServer()
    bus = MemoryBus(server)
    await ensure_streams(bus)
    for number in range(count):
        await bus.streams.append(SUBJECT, str(number).encode())
    return server, bus


async def test_a_busy_node_leaves_work_for_others() -> None:
    """With one slot it holds one lease, however much there is, so an idle node gets the next one."""
    _, bus = await stored(4)
    gate, begun = asyncio.Event(), asyncio.Event()
    seen: list[bytes] = []

    async def process(lease: Lease, slot: Slot) -> None:
        seen.append(lease.message.body)
        begun.set()
        await gate.wait()
        await lease.ack()

    worker = Worker(cast(Bus, bus), SPEC, Slots("a", 1, 0), process)
    await worker.start()
    await asyncio.wait_for(begun.wait(), 60)
    other = await bus.streams.consume(SPEC)
    rest = await asyncio.wait_for(other.fetch(10, 0.2), 2)
    assert [lease.message.body for lease in rest] == [b"1", b"2", b"3"]
    assert seen == [b"0"]
    gate.set()
    await asyncio.wait_for(worker.stop(), 60)
    await bus.close()


async def test_what_runs_longer_than_its_lease_is_not_given_to_another() -> None:
    """Heartbeats keep a lease beyond ack_wait, also for work that waits for a slot."""
    _, bus = await stored(1)
    slots = Slots("a", 1, 0)
    deliveries: list[int] = []

    async def process(lease: Lease, slot: Slot) -> None:
        deliveries.append(lease.deliveries)
        other = await bus.streams.consume(SPEC)
        assert await other.fetch(1, 3 * SPEC.ack_wait_s) == []
        await lease.ack()

    worker = Worker(cast(Bus, bus), SPEC, slots, process)
    await worker.start()
    async with asyncio.timeout(60):
        while not deliveries or slots.active:  # noqa: ASYNC110  # settled after process returned
            await asyncio.sleep(0.01)
    await asyncio.wait_for(worker.stop(), 60)
    assert deliveries == [1]
    await bus.close()


async def test_work_that_could_not_be_settled_comes_again() -> None:
    """A bus that fails while a lease is settled costs an attempt, not the loop."""
    _, bus = await stored(1)
    attempts: list[int] = []
    done = asyncio.Event()

    async def process(lease: Lease, slot: Slot) -> None:
        attempts.append(lease.deliveries)
        if lease.deliveries == 1:
            raise BusUnavailable("away")
        await lease.ack()
        done.set()

    worker = Worker(cast(Bus, bus), SPEC, Slots("a", 1, 0), process)
    await worker.start()
    await asyncio.wait_for(done.wait(), 60)
    await asyncio.wait_for(worker.stop(), 60)
    assert attempts == [1, 2]
    await bus.close()


async def test_work_that_the_bus_kept_from_being_settled_comes_back_before_its_lease_lapses() -> None:
    """A bus that fails and is back is no reason to wait for the lease; the second delivery is settled."""
    _, bus = await stored(1)
    spec = replace(SPEC, ack_wait_s=60.0)
    deliveries: list[int] = []
    settled = asyncio.Event()

    async def process(lease: Lease, slot: Slot) -> None:
        deliveries.append(lease.deliveries)
        if lease.deliveries == 1:
            raise BusUnavailable("the server was restarted")
        await lease.ack()
        settled.set()

    worker = Worker(cast(Bus, bus), spec, Slots("a", 1, 0), process)
    await worker.start()
    try:
        await asyncio.wait_for(settled.wait(), 30)
    finally:
        await worker.stop()
    assert deliveries == [1, 2]
