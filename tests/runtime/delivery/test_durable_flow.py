"""Durable work on the in-memory bus: what a crash, a wait and a retry leave behind."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.client import Client
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.errors import ConfigurationError, NotDurable, TaskCancelled, TaskDead
from antiphon.runtime.testing import memory_cluster, memory_system, virtual_time
from antiphon.schemas import subjects


class N(Message):
    n: int = 0


class Plan(Message):
    amount: int


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it holds; the test's own deadline ends a wait in vain."""
    while not await condition():  # noqa: ASYNC110  # what it asks is on the bus: nothing here could set an event
        await asyncio.sleep(0.01)


async def parked(client: Client, task: str) -> bool:
    return await client.host.parking.get(task) is not None


async def test_a_retry_does_not_repeat_what_was_recorded() -> None:
    """The first attempt fails after two operations; the second is given their results."""
    agent = Agent("a", first_retry_s=0.01)
    ran: list[str] = []

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        async def step(key: str) -> int:
            ran.append(key)
            return len(ran)

        one = await ctx.run("one", step)
        two = await ctx.run("two", step)
        if ctx.attempt == 1:
            raise RuntimeError("dies here")
        return N(n=one * 10 + two)

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(work, N())
        assert (await task.result(timeout_s=60)).n == 12
        assert ran == [f"{task.id}:1", f"{task.id}:2"]
        history, _ = await read_history(client.host.bus, "default", task.id)
        assert history.state == "succeeded" and set(history.entries) == {"1", "2"}


async def test_an_error_that_ended_the_attempt_is_tried_again_and_one_that_was_caught_is_not() -> None:
    """A caught error is part of what happened; the one that failed the attempt is what the retry is for."""
    agent = Agent("a", first_retry_s=0.01)
    tried: list[str] = []

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        async def bad(key: str) -> int:
            tried.append("bad")
            raise ValueError("no")

        async def flaky(key: str) -> int:
            tried.append("flaky")
            if tried.count("flaky") == 1:
                raise OSError("later")
            return 7

        try:
            await ctx.run("bad", bad)
        except ValueError as error:
            assert str(error) == "no"
        return N(n=await ctx.run("flaky", flaky))

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(work, N())
        assert (await task.result(timeout_s=60)).n == 7
    assert tried == ["bad", "flaky", "bad", "flaky"] or tried == ["bad", "flaky", "flaky"]


async def test_a_write_without_key_that_was_interrupted_is_in_doubt() -> None:
    """Nothing says whether it happened, so nobody guesses: the task is dead until a person decides."""
    agent = Agent("a", first_retry_s=0.01)
    begun = asyncio.Event()

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        async def charge() -> int:
            begun.set()
            await asyncio.Event().wait()
            return 1

        return N(n=await ctx.run("charge", charge))

    server = MemoryServer()
    async with memory_system(System("s", agents=[Agent("other")]), server=server) as client:
        async with memory_system(System("s", agents=[agent]), server=server, drain_s=0.01):
            task = await client.submit(work, N())
            await begun.wait()
        async with memory_system(System("s", agents=[agent]), server=server):
            with pytest.raises(TaskDead, match=r"InDoubt.*'charge'"):
                await task.result(timeout_s=60)


async def test_a_sleep_parks_and_survives_the_node() -> None:
    """The node that began the sleep is gone when it ends."""
    agent = Agent("a", slots=1)

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        before = ctx.now()
        await ctx.sleep(3.0)
        return N(n=round(ctx.now() - before))

    server = MemoryServer()
    async with memory_system(System("s", agents=[Agent("other")]), server=server) as client:
        async with memory_system(System("s", agents=[agent]), server=server):
            task = await client.submit(work, N())
            await until(lambda: parked(client, task.id))
        async with memory_system(System("s", agents=[agent]), server=server):
            assert (await task.result(timeout_s=60)).n in (3, 4)


async def test_an_approval_waits_parked_and_comes_back_edited() -> None:
    """The decision is typed, and may differ from the proposal."""
    agent = Agent("a", slots=1)

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        decision = await ctx.approve(Plan(amount=5), to="role:ops", timeout="1h", on_timeout="reject")
        return N(n=decision.value.amount if decision.approved else -1)

    async with memory_system(System("s", agents=[agent])) as client:
        tasks = [await client.submit(work, N()) for _ in range(5)]
        for task in tasks:
            await until(lambda task=task: parked(client, task.id))  # type: ignore[misc]  # mypy infers no lambda default
        approvals = await client.host.approvals.all()
        assert {a.task for a in approvals} == {t.id for t in tasks}
        for approval in approvals:
            await client.host.approvals.answer(approval.id, approved=True, by="ada", value={"amount": 9})
        assert [(await task.result(timeout_s=60)).n for task in tasks] == [9] * 5
        assert await client.host.approvals.all() == []


async def test_an_approval_that_nobody_answers_in_time_does_what_it_said() -> None:
    """Rejected, approved or failed."""
    agent = Agent("a")

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        how = ("reject", "approve")[message.n]
        decision = await ctx.approve(Plan(amount=5), timeout=0.2, on_timeout=how)  # type: ignore[arg-type]  # of a tuple
        return N(n=int(decision.approved) + 10 * decision.expired)

    async with memory_system(System("s", agents=[agent])) as client:
        rejected = await client.submit(work, N(n=0))
        approved = await client.submit(work, N(n=1))
        assert (await rejected.result(timeout_s=60)).n == 10
        assert (await approved.result(timeout_s=60)).n == 11


async def test_a_recursive_supervisor_with_one_slot_finishes() -> None:
    """Waiting for a child in its own pool gives the slot back."""
    agent = Agent("a", slots=1)

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        if message.n == 0:
            return N(n=0)
        below = await ctx.gather(ctx.call(work, N(n=message.n - 1)), ctx.call(work, N(n=message.n - 1)))
        return N(n=1 + sum(each.n for each in below))

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(work, N(n=4))
        assert (await task.result(timeout_s=60)).n == 15


async def test_children_end_with_a_cancelled_parent() -> None:
    """Running, queued and parked ones; a detached one goes on."""
    agent = Agent("a", slots=2)
    stopped: list[int] = []
    running = asyncio.Event()
    detached: list[str] = []

    @agent.handles
    async def parent(message: N, ctx: Context) -> N:
        detached.append(await ctx.submit(child, N(n=3)))
        await ctx.gather(*(ctx.call(child, N(n=n)) for n in range(3)))
        return N()

    @agent.handles
    async def child(message: N, ctx: Context) -> N:
        if message.n == 1:
            await ctx.sleep("1h")
        if message.n == 3:
            return N(n=3)
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(message.n)
        return N()

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(parent, N())
        await running.wait()
        assert await task.cancel()
        with pytest.raises(TaskCancelled):
            await task.result(timeout_s=60)

        async def all_ended() -> bool:
            states = []
            async for stored in client.host.bus.streams.read("ANTIPHON_RESULTS", subjects.every(subjects.Kind.RESULT)):
                states.append(stored)
            return len(states) == 5

        await asyncio.wait_for(until(all_ended), 60)
        assert 0 in stopped or 2 in stopped


async def test_approve_in_an_ask_says_that_it_needs_durable_work() -> None:
    """The error names the way out."""
    agent = Agent("a")

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        await ctx.approve(Plan(amount=1))
        return message

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(NotDurable, match="use submit or"):
            await client.ask(work, N())


async def test_a_pure_tool_that_is_not_is_found_out() -> None:
    """Two answers to the same arguments: nothing of it may ever be reused, and the author is told."""

    @tool(effect="pure")
    async def roll(sides: int) -> int:
        """A die."""
        rolls.append(sides)
        return len(rolls)

    rolls: list[int] = []
    agent = Agent("a", tools=[roll])

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        return N(n=await ctx.tool(roll, 6) + await ctx.tool(roll, 6))

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(work, N())
        with pytest.raises(ConfigurationError, match="'roll' is declared pure and gave two results"):
            await task.result(timeout_s=60)


@virtual_time(seeds=range(3))
async def test_a_rolling_restart_under_load_loses_nothing_and_diverges_nowhere() -> None:
    """Every node is drained and started again while tasks run; nobody counts that as a failed attempt."""
    agent = Agent("a", slots=8)

    @agent.handles
    async def work(message: N, ctx: Context) -> N:
        async def step(key: str) -> int:
            await asyncio.sleep(0.2)
            return 1

        total = 0
        for _ in range(4):
            total += await ctx.run("step", step)
        if message.n % 5 == 0:
            total += (await ctx.call(work, N(n=message.n + 1))).n
        await ctx.sleep(1.0)
        return N(n=total)

    async with memory_cluster(System("s", agents=[agent]), nodes=3, lag_s=0.002, drain_s=0.3) as cluster:
        tasks = [await cluster.client.submit(work, N(n=n)) for n in range(60)]
        for name in list(cluster.nodes):
            await asyncio.sleep(1.0)
            await cluster.stop(name)
            await cluster.start(name)
        for n, task in enumerate(tasks):
            assert (await task.result(timeout_s=120)).n == (8 if n % 5 == 0 else 4)
            outcome = await task.outcome()
            assert outcome is not None and outcome.attempts == 1
