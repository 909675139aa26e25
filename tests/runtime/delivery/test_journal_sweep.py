"""Journals whose closing message was lost are found and purged."""

import asyncio

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.bus.base import Headers
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.delivery.journal_sweep import GRACE_S, JournalSweep
from antiphon.runtime.delivery.outcome import store_result
from antiphon.runtime.testing import ManualClock, memory_system
from antiphon.schemas.task import TaskResult, TaskState


class N(Message):
    n: int = 0


async def test_what_was_not_closed_is_purged_when_its_task_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """An unfinished task's journal stays, however old."""
    agent = Agent("a")

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        async def step(key: str) -> int:
            return 1

        n = await ctx.run("step", step)
        if message.n:
            await ctx.sleep("1h")
        return N(n=n)

    async def lose(
        self: object,
        subject: str,
        body: bytes,
        headers: Headers | None,
        *,
        expected_last: int,
        rollup: bool,
        ttl_s: float,
    ) -> None:
        assert rollup and ttl_s

    server = MemoryServer()
    async with memory_system(System("s", agents=[agent]), server=server) as client:
        bus = client.host.bus
        monkeypatch.setattr(type(bus.streams), "offer", lose)
        done = await client.submit(work, N())
        await done.result(timeout_s=60)
        waiting = await client.submit(work, N(n=1))
        while await client.host.parking.get(waiting.id) is None:  # noqa: ASYNC110  # what it asks is on the bus
            await asyncio.sleep(0.01)
        clock = ManualClock(unix_s=client.host.clock.unix_ns() / 1e9 + GRACE_S / 2)
        sweep = JournalSweep(bus, clock)
        assert await sweep.sweep() == 0
        clock.advance(GRACE_S)
        assert await sweep.sweep() == 1
        assert (await read_history(bus, "default", done.id))[1] == 0
        assert (await read_history(bus, "default", waiting.id))[0].is_parked
        assert (await done.outcome()).state is TaskState.SUCCEEDED  # type: ignore[union-attr]  # it has one
        await waiting.cancel()


async def test_a_task_that_has_just_ended_keeps_its_journal_however_old_that_is() -> None:
    """Cancelled after a long parking: its worker has yet to find its children and spans there."""
    agent = Agent("a")

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        await ctx.sleep("1h")
        return message

    server = MemoryServer()
    system = System("s", agents=[agent])
    async with memory_system(system, server=server) as client:
        task = await client.submit(work, N())
        while await client.host.parking.get(task.id) is None:  # noqa: ASYNC110  # what it asks is on the bus
            await asyncio.sleep(0.01)
    async with memory_system(
        System("s", agents=[Agent("other")]), server=server
    ) as client:  # nobody is there to tidy up
        bus = client.host.bus
        clock = ManualClock(unix_s=client.host.clock.unix_ns() / 1e9 + 2 * GRACE_S)
        now_ms = clock.unix_ns() // 1_000_000
        ended = TaskResult(task=task.id, state=TaskState.CANCELLED, started_unix_ms=now_ms, finished_unix_ms=now_ms)
        await store_result(bus, "default", ended, ttl_s=600)
        sweep = JournalSweep(bus, clock)
        assert await sweep.sweep() == 0
        assert (await read_history(bus, "default", task.id))[0].is_parked
        clock.advance(GRACE_S)
        assert await sweep.sweep() == 1
