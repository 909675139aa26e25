"""Versions of an agent's code side by side: work that needs one of them finds it."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Any

import pytest
import structlog.testing

from antiphon import Agent, Context, Message, System, remote
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.client import Client
from antiphon.runtime.errors import ConfigurationError, TaskDead, VersionMismatch
from antiphon.runtime.memory_cluster import MemoryCluster
from antiphon.runtime.testing import memory_cluster, run_virtual
from antiphon.runtime.virtual_time import VirtualLoop


class Job(Message):
    """Which version did it, in which order of steps; ``kind`` says how."""

    kind: str = ""
    by: str = ""


work = remote("a.work", Job, Job)
added = remote("a.modern", Job, Job)


def agent(version: str, begun: "asyncio.Queue[str] | None" = None) -> Agent:
    """One version. ``modern`` came with 2, ``chat`` is keyed."""
    found = Agent("a", version=version, lease_s=1.0, first_retry_s=0.05)

    @found.handles
    async def work(job: Job, ctx: Context) -> Job:
        async def step(key: str) -> str:
            return version

        first = await ctx.run("first", step)
        if job.kind == "sleeps":
            await ctx.sleep(30.0)
        if job.kind == "hangs" and begun is not None and ctx.attempt == 1:
            begun.put_nowait(ctx.task_id)
            await asyncio.Event().wait()
        if job.kind == "calls":
            return await ctx.call(added, Job(), version="2")
        return Job(by=f"{first} {version}")

    @found.handles(key=lambda job: job.kind)
    async def chat(job: Job, ctx: Context) -> Job:
        return job

    if version != "1":

        @found.handles
        async def modern(job: Job, ctx: Context) -> Job:
            return Job(by=version)

    return found


def new_server() -> MemoryServer:
    """With the time of the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return MemoryServer(clock=loop.clock)


@asynccontextmanager
async def versions(
    *agents: Agent, server: MemoryServer | None = None
) -> AsyncGenerator[tuple[Client, list[MemoryCluster]], None]:
    """A client, and for each agent a cluster with a node named after its version."""
    server = server or new_server()
    async with AsyncExitStack() as stack:
        clusters = []
        for each in agents:
            system = System("s", agents=[each])
            cluster = await stack.enter_async_context(memory_cluster(system, nodes=0, server=server))
            await cluster.start(f"has-{each.version}")
            clusters.append(cluster)
        yield clusters[0].client, clusters


async def is_parked(client: Client, task: str) -> None:
    """Return when the task waits without a slot."""
    async with aclosing(client.host.parking.bucket.watch()) as entries:
        async for entry in entries:
            if entry.value is not None and entry.key.endswith(task):
                return


def play(main: Coroutine[Any, Any, None]) -> list[str]:
    """Under virtual time; the names of what was logged."""
    with structlog.testing.capture_logs() as lines:
        run_virtual(main)
    return [line["event"] for line in lines]


def test_a_version_that_is_asked_for_does_it() -> None:
    """Of two that are alive the one that was named, by a client and by a handler."""

    async def main() -> None:
        async with versions(agent("1"), agent("2")) as (client, _):
            for version in ("1", "2") * 4:
                task = await client.submit(work, Job(), version=version)
                assert (await task.result(timeout_s=60)).by == f"{version} {version}"
            task = await client.submit(work, Job(kind="calls"), version="1")
            assert (await task.result(timeout_s=60)).by == "2"

    play(main())


def test_a_version_that_nobody_has_is_refused_and_the_others_are_named() -> None:
    """Before anything is stored; and a keyed handler has one order for all versions."""

    async def main() -> None:
        async with versions(agent("1"), agent("2")) as (client, _):
            with pytest.raises(VersionMismatch, match=r"a.work in version '3' \(versions alive: 1, 2\)"):
                await client.submit(work, Job(), version="3")
            with pytest.raises(VersionMismatch, match=r"a.modern in version '1' \(versions alive: 2\)"):
                await client.submit(added, Job(), version="1")
            with pytest.raises(ConfigurationError, match=r"a\.chat is keyed"):
                await client.submit(remote("a.chat", Job, Job), Job(), version="1")

    play(main())


def test_crashed_tasks_go_at_once_to_a_node_that_has_their_version() -> None:
    """Whoever is given a redelivered message hands it over; first steps are not done again, by nobody."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun = asyncio.Queue[str]()
        server = new_server()
        async with versions(agent("1", begun), server=server) as (client, (old,)):
            tasks = [await client.submit(work, Job(kind="hangs")) for _ in range(12)]
            for _ in tasks:
                await begun.get()
            async with versions(agent("2"), server=server):
                await old.kill("has-1")
                await old.start("has-1-again")
                killed_s = loop.time()
                found = [await task.result(timeout_s=60) for task in tasks]
                assert {job.by for job in found} == {"1 1"}
                assert loop.time() - killed_s < 2.0  # a lease of 1 s, and no other wait

    handed = play(main())
    assert handed.count("task_handed_over") >= 2


def test_a_parked_task_is_woken_where_its_version_is() -> None:
    """Many of them, so that both nodes fetch wake-ups."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with versions(agent("1"), agent("2")) as (client, _):
            tasks = [await client.submit(work, Job(kind="sleeps")) for _ in range(20)]
            found = [(await task.result(timeout_s=60)).by for task in tasks]
            assert set(found) == {"1 1", "2 2"}
            assert loop.time() < 33  # a sleep of 30 s, and no waiting for the right node

    play(main())


def test_a_handler_that_came_with_a_version_is_reached_while_older_nodes_are_there() -> None:
    """A node that lacks it hands its work over."""

    async def main() -> None:
        async with versions(agent("1"), agent("2")) as (client, _):
            for _ in range(8):
                task = await client.submit(added, Job())
                assert (await task.result(timeout_s=60)).by == "2"

    play(main())


def test_work_of_a_version_that_has_gone_is_dead_after_a_minute() -> None:
    """Parked under the old version, asked for it, or begun by it: a person hears of it, and until then it waits."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        begun = asyncio.Queue[str]()
        async with versions(agent("2"), agent("1", begun)) as (client, (_, old)):
            parked = await client.submit(work, Job(kind="sleeps"), version="1")
            hung = await client.submit(work, Job(kind="hangs"), version="1")
            await begun.get()
            await is_parked(client, parked.id)
            await old.kill("has-1")
            queued = await client.submit(work, Job(), version="1")  # its lease has not lapsed yet
            for task in (hung, parked, queued):
                with pytest.raises(TaskDead, match=r"needs agent 'a' version 1, and no node serves that"):
                    await task.result(timeout_s=300)
            assert 60 < loop.time() < 130

    play(main())


def test_a_version_that_comes_back_in_time_goes_on() -> None:
    """A restart of its only node takes longer than a lease, and less than a minute."""

    async def main() -> None:
        async with versions(agent("2"), agent("1")) as (client, (_, old)):
            task = await client.submit(work, Job(kind="sleeps"), version="1")
            await is_parked(client, task.id)
            await old.kill("has-1")
            await asyncio.sleep(50)
            await old.start("has-1-again")
            assert (await task.result(timeout_s=60)).by == "1 1"

    play(main())


@pytest.mark.parametrize("version", ["", "1 2", "a/b", ".1", "1..2", "x" * 31, "ä"])
def test_a_version_that_cannot_be_a_name_is_refused(version: str) -> None:
    """With what it may be."""
    with pytest.raises(ConfigurationError, match="expected 1 to 30 of"):
        Agent("a", version=version)
