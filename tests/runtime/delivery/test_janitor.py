"""Housekeeping: finished work goes after the window, unfinished work never, and a lost stream comes back."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import nats
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from antiphon.runtime.bus.base import Bus, ConsumerSpec, ConsumerState, Lease, StreamSpec
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.bus.topology import TASKS, ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.bodies import INLINE_MAX, pack
from antiphon.runtime.delivery.collector import GRACE_S, PERIOD_S
from antiphon.runtime.delivery.janitor import SAMPLES, Floors, Janitor, Purge
from antiphon.runtime.delivery.slots import Slot, Slots
from antiphon.runtime.delivery.worker import Worker
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.runtime.virtual_time import ManualClock

WINDOW_S = 100.0
A = ConsumerSpec(stream=TASKS.name, name="default_a", subjects=("antiphon.default.task.a.*",), ack_wait_s=1000)


def at(name: str, floor: int, *subjects: str) -> ConsumerState:
    """A durable."""
    return ConsumerState(name=name, subjects=subjects or (f"t.{name}.*",), floor=floor, pending=0, held=0)


class TestFloors:
    """What may be purged."""

    def test_only_what_was_settled_for_the_window(self) -> None:
        """The newest floor that is old enough counts."""
        floors = Floors(WINDOW_S)
        assert floors.observe(0, [at("a", 3)]) == []
        assert floors.observe(60, [at("a", 5)]) == []
        assert floors.observe(99, [at("a", 9)]) == []
        assert floors.observe(100, [at("a", 9)]) == [Purge(subject="t.a.*", below=4)]
        assert floors.observe(170, [at("a", 9)]) == [Purge(subject="t.a.*", below=6)]

    def test_each_durable_on_its_own_subjects(self) -> None:
        """One that stands still holds up nobody else."""
        floors = Floors(WINDOW_S)
        floors.observe(0, [at("a", 7), at("b", 0)])
        assert floors.observe(100, [at("a", 7), at("b", 0)]) == [Purge(subject="t.a.*", below=8)]

    def test_the_lowest_of_those_who_read_the_same(self) -> None:
        """A second durable on the same subjects must have had the message too, and for as long."""
        floors = Floors(WINDOW_S)
        both = [at("a", 7), at("all", 2, "t.>")]
        floors.observe(0, both)
        assert floors.observe(100, both) == [Purge(subject="t.a.*", below=3), Purge(subject="t.>", below=3)]
        assert floors.observe(200, [at("a", 7), at("all", 2, "t.>"), at("new", 7, "t.a.b")]) == []

    def test_a_durable_made_anew(self) -> None:
        """What it has not settled yet stays, whatever its predecessor had."""
        floors = Floors(WINDOW_S)
        floors.observe(0, [at("a", 7)])
        assert floors.observe(100, [at("a", 0)]) == []
        assert floors.observe(101, [at("a", 2)]) == [Purge(subject="t.a.*", below=3)]

    @given(
        st.lists(
            st.tuples(st.floats(0.1, 50), st.integers(0, 3), st.integers(0, 3), st.booleans()), min_size=1, max_size=80
        )
    )
    def test_never_what_was_unsettled_within_the_window(self, steps: list[tuple[float, int, int, bool]]) -> None:
        """Whatever the durables do, a purge stays at or below every overlapping floor a window ago, and now."""
        floors = Floors(WINDOW_S)
        now, one, two = 0.0, 0, 0
        seen: list[tuple[float, int, int]] = []
        for wait, first, second, reset in steps:
            now += wait
            one, two = (0 if reset else one + first), two + second
            seen.append((now, one, two))
            for purge in floors.observe(now, [at("a", one), at("b", two, "t.>")]):
                old = [(a, b) for when, a, b in seen if when <= now - WINDOW_S]
                assert old
                assert purge.below - 1 <= min(max(b for _, b in old), two, one)
        assert all(len(samples) <= SAMPLES + 2 for samples in floors._samples.values())


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    """A bus with its streams, on a clock that stands still."""
    found = MemoryBus(MemoryServer(clock=ManualClock()))
    await ensure_streams(found)
    yield found
    await found.close()


def janitor(bus: Bus, clock: ManualClock | SystemClock, window_s: float = WINDOW_S) -> Janitor:
    """Of one node."""
    return Janitor(bus, clock, "node-1", result_ttl_s=1000, replay_window_s=window_s)


async def test_acked_work_goes_and_the_rest_stays(bus: MemoryBus) -> None:
    """Below the floor and after the window only; held work, work of others and uncovered subjects stay."""
    clock = cast(ManualClock, bus.server.clock)
    tasks = "antiphon.default.task"
    for subject in (f"{tasks}.a.x", f"{tasks}.b.x", f"{tasks}.a.x.lane", f"{tasks}.a.y", f"{tasks}.a.x"):
        await bus.streams.append(subject, b"")
    consumer = await bus.streams.consume(A)
    first, second, _held = await consumer.fetch(3, 1)
    await first.ack()
    await second.ack()
    keeper = janitor(bus, clock)
    await keeper.tend()
    clock.advance(WINDOW_S - 1)
    await keeper.tend()
    assert (await bus.inspector.usage(TASKS.name)).messages == 5
    clock.advance(1)
    await keeper.tend()
    left = [(stored.sequence, stored.subject) async for stored in bus.streams.read(TASKS.name, f"{tasks}.>")]
    assert left == [(2, f"{tasks}.b.x"), (3, f"{tasks}.a.x.lane"), (5, f"{tasks}.a.x")]


async def test_blobs_are_collected_every_ten_minutes(bus: MemoryBus) -> None:
    """By whichever node comes first."""
    clock = cast(ManualClock, bus.server.clock)
    await pack(bus, b"x" * (INLINE_MAX + 1), {}, "default", None)
    keeper = janitor(bus, clock)
    clock.advance(PERIOD_S - 1)
    await keeper.tend()
    assert len(await bus.blobs.entries()) == 1
    clock.advance(max(1, GRACE_S - PERIOD_S + 2))
    await keeper.tend()
    assert await bus.blobs.entries() == []


async def test_rounds_go_on_after_a_failure(bus: MemoryBus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that somebody made forgetful is an error of one round; once it is gone, the next one makes it anew."""
    monkeypatch.setattr("antiphon.runtime.delivery.janitor.TICK_S", 0.001)
    del bus.server.streams[TASKS.name]
    await bus.streams.ensure(StreamSpec(name=TASKS.name, subjects=TASKS.subjects, max_bytes=0))
    rounds = asyncio.create_task(janitor(bus, SystemClock()).run())
    with capture_logs() as logs:
        async with asyncio.timeout(60):
            while not logs:  # noqa: ASYNC110  # structlog tells nobody
                await asyncio.sleep(0.001)
    assert logs[0]["event"] == "housekeeping_failed"
    assert "owes work" in logs[0]["error"]
    del bus.server.streams[TASKS.name]
    async with asyncio.timeout(60):
        while TASKS.name not in bus.server.streams:  # noqa: ASYNC110  # the server tells nobody
            await asyncio.sleep(0.001)
    rounds.cancel()
    await asyncio.wait([rounds])


@pytest.mark.nats
async def test_purges_on_a_real_server(tmp_path: Path) -> None:
    """The server's own floors, as the inspector reads them."""
    async with embedded_server(tmp_path) as address:
        bus = await NatsBus.connect(address.url, address.token)
        await ensure_streams(bus)
        consumer = await bus.streams.consume(A)
        for number in range(10):
            await bus.streams.append("antiphon.default.task.a.x", str(number).encode())
        leases = await consumer.fetch(10, 60)
        for lease in leases[:4] + leases[5:]:
            await lease.ack()
        clock = ManualClock()
        keeper = janitor(bus, clock)
        await keeper.tend()
        clock.advance(WINDOW_S)
        await keeper.tend()
        usage = await bus.inspector.usage(TASKS.name)
        assert (usage.first, usage.messages) == (5, 6)
        await leases[4].ack()
        clock.advance(WINDOW_S / 2)
        await keeper.tend()
        clock.advance(WINDOW_S)
        await keeper.tend()
        assert (await bus.inspector.usage(TASKS.name)).messages == 0
        await bus.close()


@pytest.mark.nats
async def test_work_flows_again_after_a_stream_was_deleted(tmp_path: Path) -> None:
    """Appends say what to do, a node's next round makes the stream again, and its workers bind to it."""
    async with embedded_server(tmp_path) as address:
        bus = await NatsBus.connect(address.url, address.token)
        await ensure_streams(bus)
        done: asyncio.Queue[bytes] = asyncio.Queue()

        async def process(lease: Lease, _: Slot) -> None:
            await lease.ack()
            done.put_nowait(lease.message.body)

        worker = Worker(bus, A, Slots("a", 1, 0), process)
        await worker.start()
        await bus.streams.append("antiphon.default.task.a.x", b"before")
        assert await asyncio.wait_for(done.get(), 60) == b"before"
        client = await nats.connect(address.url, token=address.token)
        await client.jetstream().delete_stream(TASKS.name)
        with pytest.raises(BusUnavailable, match=r"no stream takes .* ensure_streams"):
            await bus.streams.append("antiphon.default.task.a.x", b"lost")
        await janitor(bus, SystemClock()).tend()
        await bus.streams.append("antiphon.default.task.a.x", b"after")
        assert await asyncio.wait_for(done.get(), 60) == b"after"
        await asyncio.wait_for(worker.stop(), 60)
        await client.close()
        await bus.close()
