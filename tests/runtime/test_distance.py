"""A bus at a distance: the same answers, later, and a moment before and after everything."""

import asyncio

import pytest

from antiphon.runtime.bus.base import Bus, ConsumerSpec, Delivery, StreamSpec
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.distance import distant
from antiphon.runtime.errors import Conflict, NoResponders
from antiphon.runtime.virtual_time import virtual_time

WORK = StreamSpec(name="WORK", subjects=("work.>",), max_bytes=0)


def a_second_away(near: MemoryBus) -> Bus:
    """Every operation takes a second there and a second back."""
    return distant(near, lambda: asyncio.sleep(1))


def now_s() -> float:
    """The running loop's time."""
    return asyncio.get_running_loop().time()


@virtual_time()
async def test_each_operation_takes_two_journeys() -> None:
    """Streams, leases, buckets and blobs too, and what the bus says comes through, errors included."""
    near = MemoryBus()
    bus = a_second_away(near)
    await bus.streams.ensure(WORK)
    assert now_s() == 2
    assert await bus.streams.append("work.a", b"1", expected_last=0) == 1
    with pytest.raises(Conflict):
        await bus.streams.append("work.a", b"2", expected_last=0)
    assert now_s() == 6
    consumer = await bus.streams.consume(ConsumerSpec(stream="WORK", name="c", subjects=("work.>",)))
    (lease,) = await consumer.fetch(5, 60)
    assert (lease.message.body, lease.deliveries, lease.behind, now_s()) == (b"1", 1, 0, 10)
    await lease.ack()
    assert [message.body async for message in bus.streams.read("WORK", "work.>")] == [b"1"]
    assert now_s() == 14
    bucket = await bus.buckets.open("b")
    await bucket.put("key", b"value")
    entry = await bucket.get("key")
    assert entry is not None
    assert (entry.value, now_s()) == (b"value", 20)
    assert await bus.blobs.get(await bus.blobs.put(b"blob")) == b"blob"
    assert (bus.max_payload, bus.dropped) == (near.max_payload, 0)
    await bus.close()
    assert now_s() == 24


@virtual_time()
async def test_requests_and_subscriptions_work() -> None:
    """Both ends at a distance: the answer needs a journey there, two for the publish that replies, and one back."""
    near = MemoryBus()
    bus = a_second_away(near)

    async def reply(delivery: Delivery) -> None:
        await bus.publish(delivery.reply, delivery.body)

    subscription = await bus.subscribe("ask", reply)
    began = now_s()
    assert (await bus.request("ask", b"x", timeout_s=60)).body == b"x"
    assert now_s() - began == 3
    await subscription.stop()
    with pytest.raises(NoResponders):
        await bus.request("ask", b"x", timeout_s=60)
    await bus.close()


@virtual_time()
async def test_who_dies_on_the_way_back_has_done_it_all_the_same() -> None:
    """Cancelled after the operation arrived: it happened, and the caller does not know."""
    near = MemoryBus()
    bus = a_second_away(near)
    await near.streams.ensure(WORK)
    for wait_s, happened in ((0.5, 0), (1.5, 1)):
        append = asyncio.ensure_future(bus.streams.append("work.a", b"1"))
        await asyncio.sleep(wait_s)
        append.cancel()
        await asyncio.wait([append])
        last = await near.streams.last("work.a")
        assert (0 if last is None else last.sequence) == happened
    await near.close()
