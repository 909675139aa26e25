"""What only the in-memory bus can show: time in the test's hands."""

import asyncio

import pytest

from antiphon.runtime.bus.base import Delivery, StreamSpec
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer


class ManualClock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def unix_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return int(self.now_s * 1e9)

    def monotonic_s(self) -> float:
        """The same in seconds."""
        return self.now_s


@pytest.fixture
def clock() -> ManualClock:
    """A clock that stands still."""
    return ManualClock()


@pytest.fixture
async def bus(clock: ManualClock) -> MemoryBus:
    """A client, made inside the loop."""
    return MemoryBus(MemoryServer(clock=clock))


async def test_dedup_window(bus: MemoryBus, clock: ManualClock) -> None:
    """A message id is remembered for two minutes and no longer."""
    await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=0))
    assert await bus.streams.append("s.a", b"", message_id="m") == 1
    clock.now_s += 119
    assert await bus.streams.append("s.a", b"", message_id="m") == 1
    clock.now_s += 2
    assert await bus.streams.append("s.a", b"", message_id="m") == 2


async def test_age_limit(bus: MemoryBus, clock: ManualClock) -> None:
    """Messages older than ``max_age_s`` are gone; time stamps are the clock's."""
    await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=0, max_age_s=60))
    await bus.streams.append("s.a", b"")
    clock.now_s += 59
    await bus.streams.append("s.a", b"")
    assert [message.sequence async for message in bus.streams.read("S", "s.a")] == [1, 2]
    clock.now_s += 2
    (left,) = [message async for message in bus.streams.read("S", "s.a")]
    assert (left.sequence, left.unix_ms) == (2, 1_700_000_059_000)


async def test_message_ttl(bus: MemoryBus, clock: ManualClock) -> None:
    """A message with a TTL is there until it has passed, by the server's clock alone."""
    await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=0, owes_work=True))
    await bus.streams.append("s.a", b"", ttl_s=1000)
    await bus.streams.append("s.b", b"", ttl_s=10)
    clock.now_s += 9.9
    assert (await bus.inspector.usage("S")).messages == 2
    clock.now_s += 0.1
    assert (await bus.inspector.usage("S")).messages == 1
    assert await bus.inspector.get("S", 2) is None
    assert await bus.streams.last("s.b") is None
    clock.now_s += 1000
    assert await bus.streams.last("s.a") is None


async def test_stopped_subscriptions_are_forgotten(bus: MemoryBus) -> None:
    """Nothing is kept of a subscription that has stopped and finished."""
    for _ in range(10):
        subscription = await bus.subscribe("a", asyncio.Queue[Delivery]().put)
        await bus.publish("a", b"")
        await subscription.stop()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not bus._subscriptions
