"""Leases: fetched, held, settled, handed out again."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from antiphon.runtime.bus.base import Bus, Consumer, ConsumerSpec, Lease, StreamSpec
from antiphon.runtime.errors import BusUnavailable

Connect = Callable[[], Awaitable[Bus]]
SPEC = StreamSpec(name="S", subjects=("s.>",), max_bytes=1_000_000, owes_work=True)
# A second, of which a busy machine may stand still for most without a lease ending too early.
WORK = ConsumerSpec(stream="S", name="work", subjects=("s.*",), ack_wait_s=1.0)


@pytest.fixture
async def consumer(bus: Bus) -> Consumer:
    """A durable on an empty stream."""
    await bus.streams.ensure(SPEC)
    return await bus.streams.consume(WORK)


async def _append(bus: Bus, count: int) -> None:
    for number in range(count):
        await bus.streams.append("s.a", str(number).encode(), {"n": str(number)})


def _sequences(leases: list[Lease]) -> list[int]:
    return [lease.message.sequence for lease in leases]


class TestFetch:
    """``fetch``."""

    async def test_message(self, bus: Bus, consumer: Consumer) -> None:
        """A lease has the whole message and says that this is the first delivery."""
        await bus.streams.append("s.a", b"body", {"k": "v"})
        (lease,) = await consumer.fetch(1, 60)
        message = lease.message
        assert (message.subject, message.body, dict(message.headers)) == ("s.a", b"body", {"k": "v"})
        assert message.sequence == 1 and message.unix_ms > 1_600_000_000_000
        assert lease.deliveries == 1
        await lease.ack()

    async def test_never_more_than_the_limit(self, bus: Bus, consumer: Consumer) -> None:
        """``limit`` at most, in order, and the rest is free for others."""
        await _append(bus, 5)
        while await consumer.unsettled() < 5:  # noqa: ASYNC110  # the server counts a moment after it has confirmed
            await asyncio.sleep(0.01)
        first = await consumer.fetch(2, 60)
        assert _sequences(first) == [1, 2]
        assert [lease.behind for lease in first] == [4, 3]
        assert await consumer.unsettled() == 5
        await first[0].ack()
        while await consumer.unsettled() == 5:  # noqa: ASYNC110  # an ack is not confirmed
            await asyncio.sleep(0.01)
        assert await consumer.unsettled() == 4
        other = await bus.streams.consume(WORK)
        assert _sequences(await other.fetch(10, 60)) == [3, 4, 5]

    async def test_empty_after_the_time(self, consumer: Consumer) -> None:
        """Nothing there: an empty list when the time is up."""
        loop = asyncio.get_running_loop()
        for limit in (1, 4):
            begun = loop.time()
            assert await consumer.fetch(limit, 0.2) == []
            assert 0.15 < loop.time() - begun < 4

    async def test_returns_with_the_first(self, bus: Bus, consumer: Consumer) -> None:
        """A waiting fetch returns when one message comes, not when all have."""
        waiting = asyncio.ensure_future(consumer.fetch(4, 60))
        await asyncio.sleep(0.05)
        await bus.streams.append("s.a", b"")
        assert _sequences(await asyncio.wait_for(waiting, 30)) == [1]

    async def test_only_its_subjects(self, bus: Bus) -> None:
        """A durable sees its subjects only, several of them if it says so."""
        await bus.streams.ensure(SPEC)
        spec = ConsumerSpec(stream="S", name="two", subjects=("s.a", "s.b.>"))
        consumer = await bus.streams.consume(spec)
        for subject in ("s.a", "s.b", "s.b.c", "s.c"):
            await bus.streams.append(subject, b"")
        assert _sequences(await consumer.fetch(10, 60)) == [1, 3]

    async def test_start_new(self, bus: Bus) -> None:
        """``start="new"`` leaves out what is there already."""
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.a", b"old")
        consumer = await bus.streams.consume(ConsumerSpec(stream="S", name="n", subjects=("s.>",), start="new"))
        await bus.streams.append("s.a", b"new")
        assert [lease.message.body for lease in await consumer.fetch(10, 60)] == [b"new"]

    async def test_shared(self, connect: Connect) -> None:
        """All who bind to one name share its messages: each goes to one of them."""
        one, two = await connect(), await connect()
        await one.streams.ensure(SPEC)
        workers = [await client.streams.consume(WORK) for client in (one, two)]
        await _append(one, 20)
        got: list[int] = []

        async def work(consumer: Consumer) -> None:
            while leases := await consumer.fetch(2, 0.3):
                for lease in leases:
                    got.append(lease.message.sequence)
                    await lease.ack()

        await asyncio.gather(*(work(worker) for worker in workers))
        assert sorted(got) == list(range(1, 21))

    async def test_a_durable_remembers(self, connect: Connect) -> None:
        """What was acked stays acked for the next who binds."""
        one, two = await connect(), await connect()
        await one.streams.ensure(SPEC)
        await _append(one, 2)
        consumer = await one.streams.consume(WORK)
        (lease,) = await consumer.fetch(1, 60)
        await lease.ack()
        await consumer.stop()
        again = await two.streams.consume(WORK)
        assert _sequences(await again.fetch(10, 60)) == [2]

    async def test_max_in_flight(self, bus: Bus) -> None:
        """No more than that are held at once, over all who bind."""
        await bus.streams.ensure(SPEC)
        spec = ConsumerSpec(stream="S", name="w", subjects=("s.>",), max_in_flight=2)
        one, two = await bus.streams.consume(spec), await bus.streams.consume(spec)
        await _append(bus, 5)
        held = await one.fetch(5, 60)
        assert _sequences(held) == [1, 2]
        assert await two.fetch(5, 0.2) == []
        await held[0].ack()
        assert _sequences(await two.fetch(5, 60)) == [3]

    async def test_cancelled_fetch_loses_nothing(self, bus: Bus, consumer: Consumer) -> None:
        """A message that comes for a fetch somebody gave up is handed out again soon."""
        waiting = asyncio.ensure_future(consumer.fetch(1, 60))
        await asyncio.sleep(0.05)
        waiting.cancel()
        await asyncio.wait({waiting})
        await _append(bus, 3)
        async with asyncio.timeout(60):
            got: set[int] = set()
            while len(got) < 3:
                for lease in await consumer.fetch(1, 60):
                    got.add(lease.message.sequence)
                    await lease.ack()
        assert got == {1, 2, 3}

    async def test_stopped(self, bus: Bus, consumer: Consumer) -> None:
        """A waiting fetch comes back empty at once, a later one is an error; the durable and its messages stay."""
        waiting = asyncio.ensure_future(consumer.fetch(1, 60))
        await asyncio.sleep(0.05)
        await consumer.stop()
        await consumer.stop()
        assert await asyncio.wait_for(waiting, 30) == []
        with pytest.raises(BusUnavailable, match="stopped"):
            await consumer.fetch(1, 1)
        await bus.streams.append("s.a", b"")
        again = await bus.streams.consume(WORK)
        assert _sequences(await again.fetch(1, 60)) == [1]

    async def test_closing_ends_it(self, bus: Bus, consumer: Consumer) -> None:
        """A fetch that waits when the bus closes gets BusUnavailable."""
        waiting = asyncio.ensure_future(consumer.fetch(1, 60))
        await asyncio.sleep(0.05)
        await bus.close()
        with pytest.raises(BusUnavailable):
            await asyncio.wait_for(waiting, 60)

    async def test_no_stream(self, bus: Bus) -> None:
        """A consumer needs its stream."""
        with pytest.raises(BusUnavailable, match="NONE"):
            await bus.streams.consume(ConsumerSpec(stream="NONE", name="w", subjects=("s.>",)))


class TestLease:
    """``ack``, ``nak``, ``extend`` and the end of a lease."""

    async def test_redelivered_after_ack_wait(self, bus: Bus, consumer: Consumer) -> None:
        """A lease nobody settles ends; the next delivery is number two, and a late ack of the first counts."""
        await _append(bus, 1)
        (first,) = await consumer.fetch(1, 60)
        assert await consumer.fetch(1, 0.2) == []
        (second,) = await consumer.fetch(1, 60)
        assert (second.message.sequence, second.deliveries) == (1, 2)
        await first.ack()
        assert await consumer.fetch(1, 1.3) == []

    async def test_acked_is_done(self, bus: Bus, consumer: Consumer) -> None:
        """An acked message does not come again; acking twice is harmless."""
        await _append(bus, 1)
        (lease,) = await consumer.fetch(1, 60)
        await lease.ack()
        await lease.ack()
        assert await consumer.fetch(1, 1.3) == []

    async def test_extend(self, bus: Bus) -> None:
        """As long as it is extended a lease does not end."""
        await bus.streams.ensure(SPEC)
        consumer = await bus.streams.consume(replace(WORK, ack_wait_s=4.0))  # a busy machine stands still for seconds
        await _append(bus, 1)
        (lease,) = await consumer.fetch(1, 60)
        for _ in range(6):
            assert await consumer.fetch(1, 0.8) == []
            await lease.extend()
        await lease.ack()
        assert await consumer.fetch(1, 4.3) == []

    async def test_nak(self, bus: Bus, consumer: Consumer) -> None:
        """Handed back, it comes again after the delay, not before."""
        await _append(bus, 1)
        (lease,) = await consumer.fetch(1, 60)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await lease.nak(0.3)
        (again,) = await consumer.fetch(1, 60)
        assert again.deliveries == 2
        assert loop.time() - begun > 0.2
        await again.nak(0)
        (third,) = await consumer.fetch(1, 60)
        assert third.deliveries == 3
        await third.ack()

    async def test_max_deliveries(self, bus: Bus) -> None:
        """After the last delivery it comes no more; the message stays in the stream."""
        await bus.streams.ensure(SPEC)
        spec = ConsumerSpec(stream="S", name="w", subjects=("s.>",), ack_wait_s=0.3, max_deliveries=2)
        consumer = await bus.streams.consume(spec)
        await _append(bus, 1)
        (lease,) = await consumer.fetch(1, 60)
        await lease.nak(0)
        assert [lease.deliveries for lease in await consumer.fetch(1, 60)] == [2]
        assert await consumer.fetch(1, 1) == []
        assert await bus.streams.last("s.a") is not None

    async def test_purged_while_held(self, bus: Bus, consumer: Consumer) -> None:
        """A message purged under its lease can be acked and does not come again."""
        await _append(bus, 1)
        (lease,) = await consumer.fetch(1, 60)
        await bus.streams.purge("S")
        await lease.ack()
        assert await consumer.fetch(1, 1.3) == []
