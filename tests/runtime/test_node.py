"""A node's life: it is in the directory while it serves, and leaving hands back what it cannot finish."""

import asyncio
from pathlib import Path

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.bus.base import Consumer, ConsumerSpec
from antiphon.runtime.compose import open_host
from antiphon.runtime.errors import BusUnavailable, NodeStopping, UnknownAgent
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryBus, MemoryServer, memory_cluster, memory_system, virtual_time


class Count(Message):
    """A number."""

    n: int


async def test_a_drained_node_s_task_is_finished_by_another_at_once(tmp_path: Path) -> None:
    """What does not end within the drain goes back without waiting for the lease, and that is no failed attempt."""
    agent = Agent("a", lease_s=30.0)
    begun = asyncio.Queue[int]()
    draining = True

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        begun.put_nowait(ctx.attempt)
        if draining:
            await asyncio.Event().wait()
        return Count(n=ctx.attempt)

    server = MemoryServer()
    async with memory_system(System("other", agents=[Agent("other")]), server=server) as client:
        async with open_host(Settings(home=tmp_path), node="first", bus=MemoryBus(server)) as host:
            async with Node(host, [agent], drain_s=0.05):
                assert {card.node for card in await client.host.directory.nodes()} >= {"first"}
                task = await client.submit(work, Count(n=1))
                asked = asyncio.create_task(client.ask(work, Count(n=0), timeout_s=60))
                for _ in range(2):
                    await asyncio.wait_for(begun.get(), 60)
            with pytest.raises(NodeStopping, match="node first is stopping"):
                await asked
            assert "first" not in {card.node for card in await client.host.directory.nodes()}
        draining = False
        async with memory_system(System("s", agents=[agent]), server=server):
            assert (await task.result(timeout_s=20)).n == 1
        with pytest.raises(UnknownAgent, match=r"no node serves a\.work now"):
            await client.ask(work, Count(n=1))


async def test_a_node_that_cannot_start_leaves_nothing_listening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bus that fails in the middle of starting: the error comes out, and nobody answers for the agent."""
    agent = Agent("a")

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        return message

    async def refuse(spec: ConsumerSpec) -> Consumer:
        raise BusUnavailable("no room")

    server = MemoryServer()
    async with memory_system(System("other", agents=[Agent("other")]), server=server) as client:
        async with open_host(Settings(home=tmp_path), node="n", bus=MemoryBus(server)) as host:
            monkeypatch.setattr(type(host.bus.streams), "consume", lambda _, spec: refuse(spec))
            with pytest.raises(BusUnavailable, match="no room"):
                await Node(host, [agent]).__aenter__()
            monkeypatch.undo()
        with pytest.raises(UnknownAgent, match=r"no node serves a\.work now"):
            await client.ask(work, Count(n=1))


@virtual_time(seeds=range(3))
async def test_a_draining_node_answers_the_asks_of_its_own_durable_work() -> None:
    """It is the only one that has the helper; the task ends as it would have, and after the drain nobody is asked."""
    boss, helper = Agent("boss"), Agent("helper")

    @helper.handles
    async def one(message: Count, ctx: Context) -> Count:
        await asyncio.sleep(0.5)
        return Count(n=message.n + 1)

    @boss.handles
    async def many(message: Count, ctx: Context) -> Count:
        for _ in range(6):
            message = await ctx.ask(one, message)
        return message

    async with memory_cluster(System("s", agents=[boss, helper]), drain_s=10.0) as cluster:
        task = await cluster.client.submit(many, Count(n=0))
        await asyncio.sleep(0.7)
        await cluster.stop("node-0")
        assert (await task.result(timeout_s=60)).n == 6
        with pytest.raises(UnknownAgent):
            await cluster.client.ask(one, Count(n=0))
