import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.bus.base import ConsumerSpec
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import EVENTS, FINDINGS, TELEMETRY
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.store import writer as subject
from antiphon.runtime.store.query import Reader, RunFilter
from antiphon.runtime.store.sqlite import Store, Written
from antiphon.runtime.store.writer import StoreWriter
from antiphon.runtime.telemetry.codec import encode
from antiphon.schemas import subjects
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy
from antiphon.schemas.telemetry import TelemetryBatch

FINDING = Finding(
    id="f1",
    pattern="p3",
    title="The same read twice",
    cohort="c",
    subject="writer",
    state=FindingState.CANDIDATE,
    grade=Grade.A,
    support=1,
    required=5,
    remedy=Remedy(text="Share it."),
    first_seen_unix_ms=1,
    last_seen_unix_ms=1,
)


class Heard:
    """Remembers what the writer told."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.findings: list[str] = []
        self.found_one = asyncio.Event()

    def written(self, written: Written) -> None:
        self.runs += [run.run for run in written.runs]

    def found(self, findings: Sequence[Finding]) -> None:
        self.findings += [item.id for item in findings]
        self.found_one.set()


@pytest.fixture
async def bus() -> AsyncIterator[MemoryBus]:
    bus = MemoryBus()
    for stream in (TELEMETRY, FINDINGS, EVENTS):
        await bus.streams.ensure(stream)
    yield bus
    await bus.close()


@asynccontextmanager
async def _running(store: Store, bus: MemoryBus, heard: Heard | None = None) -> AsyncIterator[StoreWriter]:
    writer = StoreWriter(store, bus.streams, SystemClock(), heard)
    task = asyncio.create_task(writer.run())
    try:
        yield writer
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _send(bus: MemoryBus, batch: TelemetryBatch) -> None:
    await bus.streams.append(subjects.telemetry("default", batch.node), encode(batch))


async def test_batches_reach_the_store(make: Any, store: Store, bus: MemoryBus, path: Path) -> None:
    """What was published before and after the writer started is stored, in order of nothing; listeners hear."""
    heard = Heard()
    await _send(bus, make.batch(make.process(1), sequence=1))
    async with _running(store, bus, heard) as writer:
        await _send(bus, make.batch(make.process(1, trace=2, run="r2"), sequence=2))
        assert await writer.settle(10)
    assert {run.run for run in Reader.open(path).runs(RunFilter(), limit=9).runs} == {"r1", "r2"}
    assert set(heard.runs) == {"r1", "r2"}


async def test_what_is_stored_does_not_wait_for_threads_that_read(make: Any, store: Store, bus: MemoryBus) -> None:
    """All threads that everybody shares are taken; what arrives is written, and kept up, in the store's own."""
    loop, reading = asyncio.get_running_loop(), threading.Event()
    loop.set_default_executor(ThreadPoolExecutor(1))
    reader = loop.run_in_executor(None, reading.wait)
    try:
        async with _running(store, bus) as writer:
            await _send(bus, make.batch(make.process(1), sequence=1))
            assert await writer.settle(10) and not reader.done()
    finally:
        reading.set()
        await reader


async def test_nothing_is_handed_out_twice_after_a_restart(make: Any, store: Store, bus: MemoryBus, path: Path) -> None:
    """Stored batches are acked: the next writer on the same durable goes on after them."""
    for sequence in (1, 2):
        await _send(bus, make.batch(make.process(sequence), sequence=sequence))
        async with _running(store, bus) as writer:
            assert await writer.settle(10)
    node = Reader.open(path).health().nodes[0]
    assert (node.batches, node.missing) == (2, 0)


async def test_gaps_are_counted(make: Any, store: Store, bus: MemoryBus, path: Path) -> None:
    """Batches that never came are counted for their node, beside what the node says it dropped."""
    for sequence in (1, 2, 6):
        await _send(bus, make.batch(make.process(sequence), sequence=sequence, dropped=4, node="b"))
    async with _running(store, bus) as writer:
        assert await writer.settle(10)
    node = Reader.open(path).health().nodes[0]
    assert (node.node, node.missing, node.dropped) == ("b", 3, 4)


@pytest.mark.parametrize("poison", [b"", b"\xc1", b"{}", encode(TelemetryBatch(node="a", sequence=-1))])
async def test_a_poisoned_batch_is_kept_aside(
    make: Any, store: Store, bus: MemoryBus, path: Path, poison: bytes
) -> None:
    """It is counted and kept, and those around it are stored."""
    await _send(bus, make.batch(make.process(1), sequence=1))
    await bus.streams.append(subjects.telemetry("default", "a"), poison)
    await _send(bus, make.batch(make.process(2), sequence=2))
    async with _running(store, bus) as writer:
        assert await writer.settle(10)
    reader = Reader.open(path)
    assert reader.health().rejected == 1
    assert reader.runs(RunFilter(), limit=1).runs[0].spans == 2


async def test_findings_are_stored(store: Store, bus: MemoryBus, path: Path) -> None:
    """A finding is kept and told; one that cannot be read is kept aside."""
    heard = Heard()
    async with _running(store, bus, heard):
        await bus.streams.append(subjects.finding("default", "p3"), b"nonsense")
        await bus.streams.append(subjects.finding("default", "p3"), FINDING.model_dump_json().encode())
        async with asyncio.timeout(60):
            await heard.found_one.wait()
    reader = Reader.open(path)
    assert (reader.findings(), heard.findings, reader.health().rejected) == ((FINDING,), ["f1"], 1)


async def test_a_full_disk_loses_nothing(
    make: Any, store: Store, bus: MemoryBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that fails is tried again until it succeeds."""
    monkeypatch.setattr(subject, "RETRY_S", 0.01)
    write, failures = store.write, iter((True, True))

    def failing(received: Any) -> Written:
        if next(failures, False):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return write(received)

    monkeypatch.setattr(store, "write", failing)
    heard = Heard()
    await _send(bus, make.batch(make.process(1)))
    async with _running(store, bus, heard) as writer:
        async with asyncio.timeout(60):
            while not heard.runs:
                await writer.settle(10)
    assert Reader.open(path).runs(RunFilter(), limit=1).runs[0].spans == 1


async def test_settle_waits_for_what_a_lost_connection_took_along(
    make: Any, store: Store, bus: MemoryBus, path: Path
) -> None:
    """A batch that was handed out to a writer that is gone is not stored; it counts until it comes again."""
    spec = ConsumerSpec(stream=TELEMETRY.name, name=subject.DURABLE, subjects=TELEMETRY.subjects)
    await _send(bus, make.batch(make.process(1)))
    (lost,) = await (await bus.streams.consume(spec)).fetch(1, 60)
    async with _running(store, bus) as writer:
        assert not await writer.settle(0.2)
        await lost.nak(0)
        assert await writer.settle(10)
    assert Reader.open(path).runs(RunFilter(), limit=1).runs[0].spans == 1


async def test_settle_gives_up_in_time(store: Store, bus: MemoryBus) -> None:
    """A writer that is not running never settles; the caller is told after the time it gave."""
    assert not await StoreWriter(store, bus.streams, SystemClock()).settle(0.05)
