"""The journals of a run: whole from the bus and from the store alike, large inputs and results too."""

import asyncio
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.bodies import INLINE_MAX
from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.replay import collect as subject
from antiphon.runtime.replay.collect import collect
from antiphon.runtime.replay.record import recorded
from antiphon.runtime.replay.strict import replay
from antiphon.runtime.settings import Settings
from antiphon.runtime.store.archive import Archiver
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store
from antiphon.runtime.testing import memory_system
from antiphon.schemas.envelope import Envelope


class Text(Message):
    text: str


def system() -> System:
    outer, inner = Agent("outer"), Agent("inner")

    @inner.handles
    async def twice(message: Text, ctx: Context) -> Text:
        async def one() -> int:
            return 2

        return Text(text=message.text * await ctx.run("one", one, effect="read"))

    @outer.handles
    async def ask(message: Text, ctx: Context) -> Text:
        return await ctx.call(twice, message)

    return System("pair", [outer, inner])


async def test_a_run_is_collected_from_the_bus_and_then_from_the_store(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same tasks with the same inputs and results, of which some are blobs; both are identical when replayed."""
    path = tmp_path / "store.db"
    pair = system()
    server = MemoryServer()
    large = Text(text="x" * (INLINE_MAX + 10))
    with closing(Store.open(path, clock=SystemClock())) as store, closing(Reader.open(path)) as reader:
        async with memory_system(pair, server=server) as client:
            bus = MemoryBus(server)
            task = await client.submit(pair.agents[0].handlers["ask"], large, labels={"who": "ann"})
            await task.result(timeout_s=60)
            async with asyncio.timeout(60):
                while True:
                    try:
                        before = await collect(bus, reader, "default", task.run)
                        break
                    except Unanswerable:  # the closing batch is sent after the result
                        await asyncio.sleep(0.01)
            archiving = asyncio.create_task(Archiver(store, bus, SystemClock(), replay_window_s=3600).run())
            async with asyncio.timeout(60):
                while len(reader.journals("default", task.run, limit=5)) < 2:  # noqa: ASYNC110  # in a file
                    await asyncio.sleep(0.01)
            archiving.cancel()
            await asyncio.gather(archiving, return_exceptions=True)
        after = await collect(None, reader, "default", task.run)
        assert list(after.tasks) == list(before.tasks) and len(after.tasks) == 2
        for mine, other in zip(before.tasks.values(), after.tasks.values(), strict=True):
            assert (mine.ended.body, mine.ended.value) == (other.ended.body, other.ended.value)
        assert len(after.root.ended.value) == 2 * len(large.text) + 11
        assert Envelope.from_headers(after.root.ended.headers).labels == {"who": "ann"}
        monkeypatch.setattr(subject, "MAX_TASKS", 1)
        with pytest.raises(Unanswerable, match="more than 1 tasks"):
            await collect(None, reader, "default", task.run)
    verdict = await asyncio.to_thread(replay, pair, settings, after)
    assert verdict.divergence is None and verdict.tasks == 2


def test_journals_that_cannot_be_replayed_are_refused_with_the_reason(record: object) -> None:
    """None, one that is open, and one of a version that did not keep inputs."""
    pair = system()
    run = record(pair, pair.agents[0].handlers["ask"], Text(text="a"))  # type: ignore[operator]
    batch = run.root.batch
    with pytest.raises(Unanswerable, match="an ask is not"):
        recorded("r", [])
    with pytest.raises(Unanswerable, match="has not ended"):
        recorded("r", [replace(batch, state="")])
    with pytest.raises(Unanswerable, match="does not say what the task was given"):
        recorded("r", [replace(batch, ended=None)])
