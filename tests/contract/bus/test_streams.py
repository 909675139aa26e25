"""Stored messages: sequences, fences, duplicates, limits, reading and purging."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from antiphon.runtime.bus.base import Bus, ConsumerSpec, Delivery, StreamSpec
from antiphon.runtime.bus.topology import STREAMS, check_durable, ensure_streams
from antiphon.runtime.errors import BusUnavailable, ConfigurationError, Conflict

Connect = Callable[[], Awaitable[Bus]]
SPEC = StreamSpec(name="S", subjects=("s.>",), max_bytes=1_000_000, owes_work=True)


class TestEnsure:
    """Creating streams."""

    async def test_all_streams_twice_at_once(self, connect: Connect) -> None:
        """Two processes may create all streams at the same time, and again."""
        one, two = await connect(), await connect()
        await asyncio.gather(ensure_streams(one), ensure_streams(two))
        await ensure_streams(one)
        assert await one.streams.append("antiphon.default.task.writer.write", b"") == 1
        assert len(STREAMS) == 9

    async def test_keeps_messages_and_takes_subjects(self, bus: Bus) -> None:
        """A later spec adds subjects; what is stored stays."""
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.a", b"1")
        await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>", "t.>"), max_bytes=1_000_000, owes_work=True))
        assert await bus.streams.append("t.a", b"2") == 2
        assert await bus.streams.last("s.a") is not None

    async def test_refuses_a_stream_that_forgets(self, bus: Bus) -> None:
        """A stream that owes work must not be one that discards or ages out."""
        await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=1_000_000))
        with pytest.raises(ConfigurationError, match="S owes work"):
            await bus.streams.ensure(SPEC)

    async def test_overlapping_streams(self, bus: Bus) -> None:
        """Two streams for one subject are refused."""
        await bus.streams.ensure(StreamSpec(name="S", subjects=("a.*.c",), max_bytes=0))
        with pytest.raises(ConfigurationError, match=r"T cannot take a\.b\.>: subjects overlap"):
            await bus.streams.ensure(StreamSpec(name="T", subjects=("a.b.>",), max_bytes=0))
        await bus.streams.ensure(StreamSpec(name="T", subjects=("a.b.d",), max_bytes=0))

    async def test_illegal_subject(self, bus: Bus) -> None:
        """A bad subject is an error before the server sees it."""
        with pytest.raises(Exception, match=r"a\.\.b"):
            await bus.streams.ensure(StreamSpec(name="S", subjects=("a..b",), max_bytes=0))


class TestCheckDurable:
    """What a process asks before it starts."""

    async def test_covered(self, bus: Bus) -> None:
        """Tasks, journals, results and dead letters are kept."""
        await ensure_streams(bus)
        await check_durable(bus, [f"antiphon.t.{kind}.a" for kind in ("task", "journal", "result", "dead")])

    @pytest.mark.parametrize("subject", ["antiphon.t.ask.a.b", "antiphon.t.event.x", "elsewhere"])
    async def test_uncovered(self, bus: Bus, subject: str) -> None:
        """No stream, or one that forgets, is an error that names the subject."""
        await ensure_streams(bus)
        with pytest.raises(ConfigurationError, match=f"{subject}' must be durable"):
            await check_durable(bus, [subject])

    async def test_missing_stream(self, bus: Bus) -> None:
        """Nobody has created it yet."""
        with pytest.raises(BusUnavailable, match="ANTIPHON_TASKS"):
            await check_durable(bus, ["antiphon.t.task.a.b"])


class TestAppend:
    """``append``."""

    async def test_sequences(self, bus: Bus) -> None:
        """Sequences count up over the stream, whatever the subject."""
        await bus.streams.ensure(SPEC)
        assert [await bus.streams.append(subject, b"") for subject in ("s.a", "s.b", "s.a")] == [1, 2, 3]

    async def test_duplicate(self, bus: Bus) -> None:
        """The same message id is stored once; the first one's sequence comes back."""
        await bus.streams.ensure(SPEC)
        assert await bus.streams.append("s.a", b"1", message_id="m") == 1
        assert await bus.streams.append("s.a", b"2") == 2
        assert await bus.streams.append("s.a", b"1", message_id="m") == 1
        assert [message.sequence async for message in bus.streams.read("S", "s.>")] == [1, 2]

    async def test_repeated_fenced_append(self, bus: Bus) -> None:
        """A fenced append repeated with its id (its confirmation was lost) succeeds until something newer is there."""
        await bus.streams.ensure(SPEC)
        assert await bus.streams.append("s.a", b"1", message_id="m", expected_last=0) == 1
        assert await bus.streams.append("s.a", b"1", message_id="m", expected_last=0) == 1
        await bus.streams.append("s.a", b"2")
        with pytest.raises(Conflict):
            await bus.streams.append("s.a", b"1", message_id="m", expected_last=0)
        assert [message.sequence async for message in bus.streams.read("S", "s.>")] == [1, 2]

    async def test_fence(self, bus: Bus) -> None:
        """``expected_last`` is the last sequence on exactly that subject; otherwise Conflict says which it is."""
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.a", b"1", expected_last=0)
        await bus.streams.append("s.b", b"2", expected_last=0)
        assert await bus.streams.append("s.a", b"3", expected_last=1) == 3
        with pytest.raises(Conflict) as refusal:
            await bus.streams.append("s.a", b"4", expected_last=1)
        assert refusal.value.details["last"] == "3"
        with pytest.raises(Conflict):
            await bus.streams.append("s.a", b"4", expected_last=0)

    async def test_one_of_many_wins(self, connect: Connect) -> None:
        """Of simultaneous appends with one fence exactly one is stored."""
        clients = [await connect() for _ in range(3)]
        await clients[0].streams.ensure(SPEC)
        outcomes = await asyncio.gather(
            *(client.streams.append("s.a", b"x", expected_last=0) for client in clients for _ in range(5)),
            return_exceptions=True,
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 14 + ["int"]

    async def test_fence_after_purge(self, bus: Bus) -> None:
        """A purged subject starts again at 0."""
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.a", b"1")
        await bus.streams.purge("S", subject="s.a")
        assert await bus.streams.append("s.a", b"2", expected_last=0) == 2

    async def test_no_stream(self, bus: Bus) -> None:
        """Nothing stores the subject: BusUnavailable names it."""
        with pytest.raises(BusUnavailable, match=r"no stream takes 'q\.a'"):
            await bus.streams.append("q.a", b"")

    async def test_full_stream_that_owes_work_refuses(self, bus: Bus) -> None:
        """A full stream refuses and forgets nothing."""
        await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=10_000, owes_work=True))
        stored = 0
        with pytest.raises(BusUnavailable, match=r"S is full: \d+ of 10000 bytes used, .* raise the limit") as refusal:
            for _ in range(1000):
                await bus.streams.append("s.a", b"x" * 500)
                stored += 1
        assert 8_000 < int(refusal.value.details["used"]) <= int(refusal.value.details["limit"]) == 10_000
        assert 5 < stored < 20
        assert [message.sequence async for message in bus.streams.read("S", "s.a")] == list(range(1, stored + 1))

    async def test_other_streams_drop_the_oldest(self, bus: Bus) -> None:
        """A stream that owes nothing takes everything and keeps the newest."""
        await bus.streams.ensure(StreamSpec(name="S", subjects=("s.>",), max_bytes=10_000))
        for _ in range(100):
            await bus.streams.append("s.a", b"x" * 500)
        sequences = [message.sequence async for message in bus.streams.read("S", "s.a")]
        assert sequences[-1] == 100
        assert sequences == list(range(sequences[0], 101))
        assert 5 < len(sequences) < 20

    async def test_listeners_hear_it(self, bus: Bus) -> None:
        """A stored message also reaches those who listen now, and a published one is stored."""
        await bus.streams.ensure(SPEC)
        heard: asyncio.Queue[Delivery] = asyncio.Queue()
        await bus.subscribe("s.a", heard.put)
        await bus.streams.append("s.a", b"1", {"k": "v"})
        assert (await asyncio.wait_for(heard.get(), 60)).body == b"1"
        await bus.publish("s.a", b"2")
        await asyncio.wait_for(heard.get(), 60)
        last = await bus.streams.last("s.a")
        assert last is not None and last.body == b"2"


class TestRollup:
    """Messages that replace, and messages that go away."""

    async def test_replaces_the_earlier_ones_on_its_subject(self, bus: Bus) -> None:
        """Only on exactly its subject, under the same fence as any append."""
        await bus.streams.ensure(SPEC)
        for subject in ("s.a", "s.a", "s.b"):
            await bus.streams.append(subject, b"")
        with pytest.raises(Conflict):
            await bus.streams.append("s.a", b"all", expected_last=1, rollup=True)
        assert await bus.streams.append("s.a", b"all", expected_last=2, rollup=True) == 4
        assert [message.sequence async for message in bus.streams.read("S", "s.>")] == [3, 4]
        assert await bus.streams.append("s.a", b"", expected_last=4) == 5

    async def test_goes_away_by_itself(self, bus: Bus) -> None:
        """After its time a message is gone, its subject starts again at 0, and the others stay."""
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.b", b"")
        await bus.streams.append("s.a", b"", ttl_s=1)
        assert await bus.streams.last("s.a") is not None
        async with asyncio.timeout(60):
            while await bus.streams.last("s.a") is not None:  # noqa: ASYNC110  # the server tells nobody
                await asyncio.sleep(0.05)
        assert await bus.streams.append("s.a", b"", expected_last=0) == 3
        assert [message.sequence async for message in bus.streams.read("S", "s.>")] == [1, 3]

    async def test_a_stream_of_an_older_version(self, bus: Bus) -> None:
        """Ensuring a stream again keeps both possible."""
        await bus.streams.ensure(SPEC)
        await bus.streams.ensure(SPEC)
        assert await bus.streams.append("s.a", b"", rollup=True, ttl_s=60) == 1


class TestRead:
    """``last`` and ``read``."""

    async def test_last(self, bus: Bus) -> None:
        """The newest message on exactly the subject, whole; None where there is none."""
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.a", b"1")
        await bus.streams.append("s.a", b"2", {"Antiphon-Type": "T", "x": "y"})
        await bus.streams.append("s.a.b", b"3")
        last = await bus.streams.last("s.a")
        assert last is not None
        assert (last.subject, last.body, last.sequence) == ("s.a", b"2", 2)
        assert dict(last.headers) == {"Antiphon-Type": "T", "x": "y"}
        assert last.unix_ms > 1_600_000_000_000
        assert await bus.streams.last("s.none") is None
        assert await bus.streams.last("nowhere.stored") is None

    async def test_read(self, bus: Bus) -> None:
        """Matching messages after a sequence, in order."""
        await bus.streams.ensure(SPEC)
        for number in range(10):
            await bus.streams.append(f"s.{number % 2}.x", str(number).encode(), {"n": str(number)})
        messages = [message async for message in bus.streams.read("S", "s.*.x", after=4)]
        assert [message.sequence for message in messages] == [5, 6, 7, 8, 9, 10]
        assert messages[0].headers["n"] == "4"
        assert [message.body async for message in bus.streams.read("S", "s.0.x")] == [b"0", b"2", b"4", b"6", b"8"]

    async def test_read_nothing(self, bus: Bus) -> None:
        """An empty stream, an unused subject and a position past the end end at once."""
        await bus.streams.ensure(SPEC)
        async with asyncio.timeout(60):
            assert [message async for message in bus.streams.read("S", "s.>")] == []
            await bus.streams.append("s.a", b"")
            assert [message async for message in bus.streams.read("S", "s.b")] == []
            assert [message async for message in bus.streams.read("S", "s.a", after=1)] == []
            assert [message async for message in bus.streams.read("S", "s.a", after=99)] == []

    async def test_read_many(self, bus: Bus) -> None:
        """More than one batch, with holes."""
        await bus.streams.ensure(SPEC)
        for start in range(0, 1400, 200):
            await asyncio.gather(*(bus.streams.append(f"s.{n % 3}", b"x") for n in range(start, start + 200)))
        await bus.streams.purge("S", subject="s.1")
        sequences = [message.sequence async for message in bus.streams.read("S", "s.>")]
        assert sequences == sorted(sequences)
        assert len(sequences) == len([n for n in range(1400) if n % 3 != 1])

    async def test_read_ends_while_it_grows(self, bus: Bus) -> None:
        """A reader that appends to what it reads comes to an end."""
        await bus.streams.ensure(SPEC)
        for _ in range(5):
            await bus.streams.append("s.a", b"")
        seen = 0
        async with asyncio.timeout(60):
            async for _ in bus.streams.read("S", "s.a"):
                seen += 1
                await bus.streams.append("s.a", b"")
        assert seen == 5

    async def test_read_missing_stream(self, bus: Bus) -> None:
        """A stream that is not there is an error that names it."""
        with pytest.raises(BusUnavailable, match="NONE"):
            async for _ in bus.streams.read("NONE", "s.a"):
                pass


class TestPurge:
    """``purge``."""

    async def test_by_subject_and_sequence(self, bus: Bus) -> None:
        """Only the subject, only below; the number that went."""
        await bus.streams.ensure(SPEC)
        for subject in ("s.a", "s.a", "s.b", "s.a"):
            await bus.streams.append(subject, b"")
        assert await bus.streams.purge("S", subject="s.a", below=4) == 2
        assert [message.sequence async for message in bus.streams.read("S", "s.>")] == [3, 4]
        assert await bus.streams.purge("S", below=4) == 1
        assert await bus.streams.purge("S") == 1
        assert await bus.streams.purge("S") == 0

    async def test_missing_stream(self, bus: Bus) -> None:
        """A stream that is not there is an error."""
        with pytest.raises(BusUnavailable, match="NONE"):
            await bus.streams.purge("NONE")


class TestDelete:
    """``delete``."""

    async def test_one_message(self, bus: Bus) -> None:
        """From the middle, the end and the front; its neighbours stay, and its sequence is not given again."""
        await bus.streams.ensure(SPEC)
        for n in range(1, 6):
            await bus.streams.append("s.a", b"%d" % n)
        for sequence, left in ((3, [1, 2, 4, 5]), (5, [1, 2, 4]), (1, [2, 4])):
            assert await bus.streams.delete("S", sequence)
            assert [message.sequence async for message in bus.streams.read("S", "s.>")] == left
        last = await bus.streams.last("s.a")
        assert last is not None and last.body == b"4"
        assert await bus.streams.append("s.a", b"6", expected_last=4) == 6

    async def test_what_is_not_there(self, bus: Bus) -> None:
        """Deleted before, purged, never stored: all the same."""
        await bus.streams.ensure(SPEC)
        for _ in range(4):
            await bus.streams.append("s.a", b"")
        await bus.streams.purge("S", below=2)
        assert await bus.streams.delete("S", 3)
        for sequence in (0, 1, 3, 99):
            assert not await bus.streams.delete("S", sequence)

    async def test_a_deleted_message_is_not_delivered(self, bus: Bus) -> None:
        """Also one that somebody was to get again."""
        await bus.streams.ensure(SPEC)
        consumer = await bus.streams.consume(ConsumerSpec(stream="S", name="c", subjects=("s.>",), ack_wait_s=30))
        for n in range(3):
            await bus.streams.append("s.a", b"%d" % n)
        (first,) = await consumer.fetch(1, 60)
        assert await bus.streams.delete("S", 1)
        assert await bus.streams.delete("S", 2)
        await first.nak(0)
        assert [lease.message.body for lease in await consumer.fetch(3, 60)] == [b"2"]
        assert await consumer.fetch(3, 0.2) == []

    async def test_missing_stream(self, bus: Bus) -> None:
        """A stream that is not there is an error."""
        with pytest.raises(BusUnavailable, match="NONE"):
            await bus.streams.delete("NONE", 1)
