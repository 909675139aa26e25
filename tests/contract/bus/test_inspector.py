"""What a bus says about its streams and durables."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

import pytest

from antiphon.runtime.bus.base import Bus, ConsumerSpec, ConsumerState, StreamSpec, StreamUsage
from antiphon.runtime.errors import BusUnavailable

SPEC = StreamSpec(name="S", subjects=("s.>",), max_bytes=1_000_000, owes_work=True)
WORK = ConsumerSpec(stream="S", name="w", subjects=("s.a.*",), ack_wait_s=30)


async def state(bus: Bus) -> ConsumerState:
    """Of the only durable."""
    (found,) = await bus.inspector.consumers("S")
    return found


class TestUsage:
    """``usage``."""

    async def test_counts(self, bus: Bus) -> None:
        """Messages, bytes and the range of sequences, also of an empty stream."""
        await bus.streams.ensure(SPEC)
        assert await bus.inspector.usage("S") == StreamUsage(messages=0, bytes=0, first=1, last=0)
        for _ in range(3):
            await bus.streams.append("s.a", b"x" * 100)
        await bus.streams.purge("S", below=2)
        usage = await bus.inspector.usage("S")
        assert (usage.messages, usage.first, usage.last) == (2, 2, 3)
        assert 200 < usage.bytes < 400
        await bus.streams.purge("S")
        assert await bus.inspector.usage("S") == StreamUsage(messages=0, bytes=0, first=4, last=3)

    async def test_missing(self, bus: Bus) -> None:
        """A stream that is not there is named."""
        for ask in (bus.inspector.usage, bus.inspector.consumers):
            with pytest.raises(BusUnavailable, match="NONE"):
                await ask("NONE")
        with pytest.raises(BusUnavailable, match="NONE"):
            await bus.inspector.get("NONE", 1)


class TestGet:
    """``get``."""

    async def test_one_message(self, bus: Bus) -> None:
        """Exactly that sequence, whole, or None; never its neighbour."""
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.a", b"1", {"k": "v"})
        await bus.streams.append("s.b", b"2")
        found = await bus.inspector.get("S", 1)
        assert found is not None
        assert (found.subject, found.body, dict(found.headers), found.sequence) == ("s.a", b"1", {"k": "v"}, 1)
        await bus.streams.purge("S", below=2)
        assert await bus.inspector.get("S", 1) is None
        assert await bus.inspector.get("S", 3) is None


class TestHeaders:
    """``headers``."""

    async def test_bodies_stay_with_the_server(self, bus: Bus) -> None:
        """What ``read`` gives, in its order, but for the bodies."""
        await bus.streams.ensure(SPEC)
        for n in range(5):
            await bus.streams.append("s.a" if n % 2 else "s.b", b"%d" % n, {"n": str(n)}, message_id=f"m{n}")
        await bus.streams.delete("S", 4)
        whole = [message async for message in bus.streams.read("S", "s.>")]
        found = [message async for message in bus.inspector.headers("S", "s.>")]
        assert found == [replace(message, body=b"") for message in whole]
        assert [message.sequence for message in found] == [1, 2, 3, 5]
        assert [message.sequence async for message in bus.inspector.headers("S", "s.a")] == [2]
        assert [message async for message in bus.inspector.headers("S", "s.c")] == []

    async def test_more_than_a_batch_and_bare_messages(self, bus: Bus) -> None:
        """To the present end, while the stream grows and its front is removed; many bytes, none of them read."""
        await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=0))
        for _ in range(2500):
            await bus.streams.append("s.a", b"x" * 2000)
        sequences = []
        async with asyncio.timeout(60), aclosing(bus.inspector.headers("S", "s.>")) as messages:
            async for message in messages:
                sequences.append(message.sequence)
                if message.sequence == 3:
                    await bus.streams.append("s.a", b"")
                    await bus.streams.purge("S", below=3)
        assert sequences == list(range(1, 2501))

    async def test_messages_that_are_removed_ahead(self, bus: Bus) -> None:
        """The end comes all the same."""
        await bus.streams.ensure(SPEC)
        for _ in range(1500):
            await bus.streams.append("s.a", b"")
        async with asyncio.timeout(60), aclosing(bus.inspector.headers("S", "s.>")) as messages:
            async for message in messages:
                if message.sequence == 1:
                    await bus.streams.purge("S")

    async def test_missing_stream(self, bus: Bus) -> None:
        """A stream that is not there is an error that names it."""
        with pytest.raises(BusUnavailable, match="NONE"):
            async for _ in bus.inspector.headers("NONE", "s.a"):
                pass


class TestConsumers:
    """``consumers``."""

    async def test_floor(self, bus: Bus) -> None:
        """Everything up to the floor is settled; a held message holds it down, whatever was acked above."""
        await bus.streams.ensure(SPEC)
        consumer = await bus.streams.consume(WORK)
        for subject in ("s.a.x", "s.b.x", "s.a.y", "s.a.x", "s.b.x"):
            await bus.streams.append(subject, b"")
        first, second = await consumer.fetch(2, 60)
        await second.ack()
        found = await state(bus)
        assert (found.name, found.subjects, found.pending, found.held) == ("w", ("s.a.*",), 1, found.held)
        assert found.floor < 1
        await first.ack()
        found = await state(bus)
        assert (found.pending, found.held) == (1, 0)
        assert 3 <= found.floor < 4
        (third,) = await consumer.fetch(2, 60)
        assert (await state(bus)).floor < 4
        await third.ack()
        assert await state(bus) == ConsumerState(name="w", subjects=("s.a.*",), floor=5, pending=0, held=0)

    async def test_an_idle_durable_owes_nothing(self, bus: Bus) -> None:
        """What others stored does not hold its floor down."""
        await bus.streams.ensure(SPEC)
        await bus.streams.consume(WORK)
        for _ in range(3):
            await bus.streams.append("s.b.x", b"")
        assert (await state(bus)).floor == 3
        await bus.streams.append("s.a.x", b"")
        assert (await state(bus)).floor < 4

    async def test_several_subjects_and_durables(self, bus: Bus) -> None:
        """Each durable with all its filters."""
        await bus.streams.ensure(SPEC)
        await bus.streams.consume(ConsumerSpec(stream="S", name="v", subjects=("s.b.>", "s.c")))
        await bus.streams.consume(WORK)
        await bus.streams.append("s.c", b"")
        found = {one.name: one for one in await bus.inspector.consumers("S")}
        assert found["v"].subjects == ("s.b.>", "s.c")
        assert found["v"].floor == 0
        assert found["w"].floor == 1
