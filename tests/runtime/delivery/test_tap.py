"""A tap is shown what was on the bus before it, then what comes, each batch once, through failures of the bus."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from antiphon.runtime.agent import Agent
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.delivery import tap as taps
from antiphon.runtime.delivery.tap import TapContext
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.memory_cluster import memory_cluster
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.telemetry.codec import encode
from antiphon.runtime.virtual_time import VirtualLoop, run_virtual
from antiphon.schemas import subjects
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch


class Diary:
    """An agent that notes what its tap is shown."""

    def __init__(self, failures: int = 0) -> None:
        self.agent = Agent("diary", observes=True)
        self.batches: list[tuple[int, bool, int]] = []  # sequence, whether past, at which second
        self.ticks: list[tuple[bool, int]] = []
        self.firsts: set[str] = set()  # nodes that had the first shard
        self._nodes: list[str] = []
        self._failures = failures

        @self.agent.tap(tick_s=1.0)
        def make() -> Callable[[TelemetryBatch | None, TapContext], Awaitable[None]]:
            return self._see

    async def _see(self, batch: TelemetryBatch | None, ctx: TapContext) -> None:
        if self._failures:
            self._failures -= 1
            raise BusUnavailable("no server; start one")
        if batch is None:
            self.ticks.append((ctx.past, ctx.now_ns() // 10**9))
            self.firsts |= {ctx.host.node} if ctx.first else set()
        elif batch.node == "n1":
            self.batches.append((batch.sequence, ctx.past, ctx.now_ns() // 10**9))
            self._nodes.append(ctx.host.node)

    def seen(self, node: str) -> list[int]:
        """The batches that one node was shown."""
        return [number for number, by in zip(self.sequences, self._nodes, strict=True) if by == node]

    @property
    def sequences(self) -> list[int]:
        """Of the batches, in the order in which they were shown."""
        return [sequence for sequence, _, _ in self.batches]


async def publish(bus: MemoryBus, *sequences: int, shard: int = 0) -> None:
    """Batches of one span, a second apart."""
    for sequence in sequences:
        span = SpanRecord(trace_id=b"t" * 16, span_id=b"s" * 8, name="x", start_ns=1, end_ns=2)
        batch = TelemetryBatch(node="n1", sequence=sequence, spans=[span])
        await bus.streams.append(subjects.telemetry("default", "n1", shard), encode(batch))
        await asyncio.sleep(1)


Play = Callable[[MemoryServer, MemoryBus], Awaitable[None]]


@pytest.fixture
def play() -> Callable[[Play], None]:
    """Run a play in virtual time, with a bus."""

    def run(what: Play) -> None:
        async def main() -> None:
            loop = asyncio.get_running_loop()
            assert isinstance(loop, VirtualLoop)
            server = MemoryServer(clock=loop.clock)
            bus = MemoryBus(server)
            await ensure_streams(bus)
            await what(server, bus)
            await bus.close()

        run_virtual(main())

    return run


def test_a_restart_is_shown_the_past_at_its_own_times_and_nothing_twice(play: Callable[[Play], None]) -> None:
    """Then what came while nobody was there, then the present."""

    async def script(server: MemoryServer, bus: MemoryBus) -> None:
        first, second = Diary(), Diary()
        async with memory_cluster(System("s", [first.agent]), server=server):
            await publish(bus, 1, 2, 3)
        await publish(bus, 4, 5)
        async with memory_cluster(System("s", [second.agent]), server=server):
            await publish(bus, 6)
            await asyncio.sleep(60)
        assert first.sequences == [1, 2, 3]
        assert second.sequences == [1, 2, 3, 4, 5, 6]
        assert [past for _, past, _ in second.batches] == [True] * 5 + [False]
        began = second.batches[0][2]
        assert [at - began for _, _, at in second.batches] == [0, 1, 2, 3, 4, 5]
        assert sum(past for past, _ in second.ticks) >= 4

    play(script)


def test_a_bus_that_fails_meanwhile_is_tried_again(play: Callable[[Play], None]) -> None:
    """What was shown is not shown again, whether it was the past or the present."""

    async def script(server: MemoryServer, bus: MemoryBus) -> None:
        diary = Diary(failures=2)
        await publish(bus, 1, 2, 3)
        async with memory_cluster(System("s", [diary.agent]), server=server):
            await asyncio.sleep(60)
            await publish(bus, 4)
            await asyncio.sleep(60)
        assert diary.sequences == [1, 2, 3, 4]

    play(script)


def test_only_the_newest_of_the_past_is_read_again(
    play: Callable[[Play], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As much as fits, however old it is: an experiment lasts for days."""

    async def script(server: MemoryServer, bus: MemoryBus) -> None:
        await publish(bus, *range(1, 9))
        await asyncio.sleep(20 * 3_600)
        all, few = Diary(), Diary()
        async with memory_cluster(System("s", [all.agent]), server=server):
            await asyncio.sleep(60)
        assert all.sequences == [*range(1, 9)]
        usage = await bus.inspector.usage("ANTIPHON_TELEMETRY")
        monkeypatch.setattr(taps, "AGAIN_BYTES", 3 * usage.bytes // usage.messages)
        async with memory_cluster(System("s", [few.agent]), server=server):
            await asyncio.sleep(60)
        assert 1 <= len(few.sequences) <= 3
        assert few.sequences[-1] == 8

    play(script)


def test_replicas_share_the_shards_and_take_over_from_the_dead(play: Callable[[Play], None]) -> None:
    """Each shard is one node's; a dead node's is read by the other, its past included, and nothing twice."""

    async def script(server: MemoryServer, bus: MemoryBus) -> None:
        diary = Diary()
        settings = Settings(home=Path("no-such-home"), trace=0.0, trace_shards=2)
        async with memory_cluster(System("s", [diary.agent]), nodes=2, settings=settings, server=server) as cluster:
            await asyncio.sleep(5)
            for sequence in range(1, 7):
                await publish(bus, sequence, shard=sequence % 2)
            assert diary.seen("node-0") == [2, 4, 6]
            assert diary.seen("node-1") == [1, 3, 5]
            assert diary.firsts == {"node-0"}
            await cluster.kill("node-0")
            await asyncio.sleep(30)
            assert diary.seen("node-1") == [1, 3, 5, 2, 4, 6]
            await publish(bus, 7, shard=0)
            assert diary.seen("node-1")[-1] == 7
            assert diary.firsts == {"node-0", "node-1"}

    play(script)


def test_a_stream_that_is_made_anew_is_read_from_its_beginning(play: Callable[[Play], None]) -> None:
    """Its sequences begin at one again."""

    async def script(server: MemoryServer, bus: MemoryBus) -> None:
        diary = Diary()
        await publish(bus, 1, 2, 3)
        async with memory_cluster(System("s", [diary.agent]), server=server):
            await asyncio.sleep(5)
            del server.streams["ANTIPHON_TELEMETRY"]
            await ensure_streams(bus)
            await asyncio.sleep(10)
            await publish(bus, 4)
            await asyncio.sleep(5)
        assert diary.sequences == [1, 2, 3, 4]

    play(script)
