"""From the bus into the store: finished journals only, once, and never in the way of a redrive or a stale worker."""

import asyncio
import random
import sqlite3
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import JOURNAL, ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.bodies import pack
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal_codec import decode_batch, encode_batch
from antiphon.runtime.errors import Conflict, UnknownTask
from antiphon.runtime.settings import Settings
from antiphon.runtime.store import archive as subject
from antiphon.runtime.store.archive import Archiver, find_journal
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store
from antiphon.runtime.testing import ScriptedModel, memory_system
from antiphon.runtime.tool import tool
from antiphon.schemas import subjects
from antiphon.schemas.envelope import FINAL
from antiphon.schemas.inference import Role, turn
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.task import TaskState

TURNS = 100
OUTPUT = 5_120  # bytes of a tool's output
LIMIT = 5_000_000  # bytes that the journal of such a conversation may take, wherever it lies


class N(Message):
    n: int = 0


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    bus = MemoryBus()
    await ensure_streams(bus)
    yield bus
    await bus.close()


@asynccontextmanager
async def archiving(store: Store, bus: Bus) -> AsyncGenerator[None, None]:
    running = asyncio.create_task(Archiver(store, bus, SystemClock(), replay_window_s=3600).run())
    try:
        yield
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    """Wait until it holds, for a minute at most."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # what it asks is in a file: nothing here could set an event
            await asyncio.sleep(0.01)


def batch(task: str, *paths: str, state: str = "", value: bytes = b"1") -> JournalBatch:
    entries = tuple(Entry(kind=EntryKind.OPERATION, path=path, value=value) for path in paths)
    return JournalBatch(
        task=task, run="r", agent="a", handler="h", version="1", origin=1, attempt=1, entries=entries, state=state
    )


async def finish(bus: Bus, found: JournalBatch) -> int:
    """As ``Journal.finish`` does; the sequence."""
    body, headers = await pack(bus, encode_batch(found), {FINAL: found.state}, "default", found.task)
    return await bus.streams.append(subjects.journal("default", found.task), body, headers, rollup=True, ttl_s=3600)


async def on_bus(bus: Bus, task: str) -> list[JournalBatch]:
    return [
        decode_batch(stored.body)
        async for stored in bus.streams.read(JOURNAL.name, subjects.journal("default", task))
        if stored.body
    ]


async def test_finished_journals_are_archived_and_open_ones_are_left(store: Store, bus: MemoryBus, path: Path) -> None:
    """Of the archived one a marker stays; of the open one, and of a dead one, everything."""
    reader = Reader.open(path)
    for part in ("1", "2"):
        await bus.streams.append(subjects.journal("default", "open"), encode_batch(batch("open", part)))
    await finish(bus, batch("done", "1", "2", state=TaskState.SUCCEEDED))
    async with archiving(store, bus):
        await until(lambda: reader.journal("default", "done"))
        await finish(bus, batch("later", "1", state=TaskState.SUCCEEDED))
        await until(lambda: reader.journal("default", "later"))
    found = await find_journal(bus, reader, "default", "done")
    assert [entry.path for entry in found.entries] == ["1", "2"] and found.state == "succeeded"
    assert [one.entries for one in await on_bus(bus, "done")] == [()]
    still = await find_journal(bus, reader, "default", "open")
    assert [entry.path for entry in still.entries] == ["1", "2"] and not still.state
    assert reader.journal("default", "open") is None
    with pytest.raises(UnknownTask, match="no journal of a task nobody"):
        await find_journal(bus, reader, "default", "nobody")


async def test_a_worker_that_slept_through_its_task_is_still_refused(store: Store, bus: MemoryBus) -> None:
    """It never appended, so it expects an empty subject: the marker says that the task is over."""
    sequence = await finish(bus, batch("t", "1", state=TaskState.SUCCEEDED))
    async with archiving(store, bus):
        async with asyncio.timeout(60):
            while True:
                last = await bus.streams.last(subjects.journal("default", "t"))
                assert last is not None
                if last.sequence > sequence:
                    assert last.headers[FINAL] == "succeeded"  # else the sweep would take it for an open journal
                    break
                await asyncio.sleep(0.01)
    with pytest.raises(Conflict):
        await bus.streams.append(subjects.journal("default", "t"), b"stale", expected_last=0)
    assert History.of(await on_bus(bus, "t")).state == "succeeded"


@pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED])
async def test_what_a_person_may_redrive_stays_on_the_bus(
    store: Store, bus: MemoryBus, path: Path, state: TaskState
) -> None:
    """It is archived as well, and expires with the replay window."""
    reader = Reader.open(path)
    await finish(bus, batch("t", "1", state=state))
    await finish(bus, batch("after", "1", state=TaskState.SUCCEEDED))
    async with archiving(store, bus):
        await until(lambda: reader.journal("default", "t") and reader.journal("default", "after"))
    assert [len(one.entries) for one in await on_bus(bus, "t")] == [1]


async def test_a_journal_that_travelled_as_a_blob_is_archived_whole(store: Store, bus: MemoryBus, path: Path) -> None:
    """Its body, and the values that its entries name."""
    reader = Reader.open(path)
    digest = await bus.blobs.put(b'"large"')
    noise = random.Random(1).randbytes(100_000)
    found = batch("t", "1", "2", "3", "4", state=TaskState.SUCCEEDED, value=noise)
    large = Entry(kind=EntryKind.OPERATION, path="5", digest=digest)
    await finish(bus, replace(found, entries=(*found.entries, large)))
    async with archiving(store, bus):
        await until(lambda: reader.journal("default", "t"))
    stored = reader.journal("default", "t")
    assert stored is not None
    assert [entry.value for entry in stored.entries] == [noise] * 4 + [b'"large"']


async def test_a_body_nobody_can_read_is_kept_aside(store: Store, bus: MemoryBus, path: Path) -> None:
    """It is counted, and those behind it are archived."""
    reader = Reader.open(path)
    await bus.streams.append(subjects.journal("default", "bad"), b"\xc1", {FINAL: "succeeded"})
    await finish(bus, batch("t", "1", state=TaskState.SUCCEEDED))
    async with archiving(store, bus):
        await until(lambda: reader.journal("default", "t"))
    assert reader.health().rejected == 1


async def test_a_full_disk_loses_nothing(
    store: Store, bus: MemoryBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be written comes again."""
    monkeypatch.setattr(subject, "RETRY_S", 0.01)
    put, failures = store.put_journals, iter((True, True))

    def failing(finished: Any) -> None:
        if next(failures, False):
            raise sqlite3.OperationalError("database or disk is full")
        put(finished)

    monkeypatch.setattr(store, "put_journals", failing)
    reader = Reader.open(path)
    await finish(bus, batch("t", "1", state=TaskState.SUCCEEDED))
    async with archiving(store, bus):
        await until(lambda: reader.journal("default", "t"))


async def test_a_conversation_of_a_hundred_turns_stays_small(store: Store, path: Path, tmp_path: Path) -> None:
    """Turns are stored once: 100 model calls with 5 KB of tool output each take less than 5 MB on the bus and here."""
    naive = 0

    @tool(effect="read")
    async def look(n: int) -> str:
        """Text that hardly compresses."""
        return random.Random(n).randbytes(OUTPUT // 2).hex()

    agent = Agent("a", tools=[look])

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        nonlocal naive
        turns = [turn(Role.USER, "Find it.")]
        for number in range(message.n):
            naive += sum(len(one.model_dump_json()) for one in turns)
            turns.append(turn(Role.ASSISTANT, await ctx.model.generate(str, turns)))
            turns.append(turn(Role.USER, await ctx.tool(look, n=number)))
        return N(n=len(turns))

    reader = Reader.open(path)
    settings = Settings(home=tmp_path, trace=0.0)
    models = {"smollm2-135m": ScriptedModel(lambda _: "Look at the next one.")}
    async with memory_system(System("s", agents=[agent]), models=models, settings=settings) as client:
        task = await client.submit(work, N(n=TURNS))
        assert (await task.result(timeout_s=60)).n == 2 * TURNS + 1
        bus = client.host.bus
        on_the_bus = sum(blob.size for blob in await bus.blobs.entries())
        on_the_bus += (await bus.inspector.usage(JOURNAL.name)).bytes
        async with archiving(store, bus):
            await until(lambda: reader.journal("default", task.id))
    found = reader.journal("default", task.id)
    assert found is not None and len(found.entries) == 2 * TURNS
    assert sum(len(entry.blocks or {}) for entry in found.entries) == TURNS + 1
    store.close()
    in_the_store = (await asyncio.to_thread(path.stat)).st_size
    assert naive > 5 * LIMIT
    assert 1_000_000 < on_the_bus < LIMIT
    assert in_the_store < LIMIT
