"""A policy takes effect on running nodes, on both buses: at once, for its tenant, and for its agent."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tests.runtime.policies.desk import Desk, Steps, policy_of

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.host import Host
from antiphon.runtime.node import Node
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.settings import Settings
from antiphon.schemas.policy import Cache, Concurrency, Policy

SOON_S = 1.0
TRIES = 3  # the best of them counts: the machine may be busy
Serve = Callable[..., Awaitable["Site"]]


class Site:
    """A node of one tenant, with a desk of its own, and a client."""

    def __init__(self, desk: Desk, host: Host, book: PolicyBook) -> None:
        self.desk = desk
        self.host = host
        self.book = book
        self.client = Client(host)

    async def run(self, *steps: str, by: str = "desk") -> tuple[str, ...]:
        """One run of the desk's or the clerk's handler."""
        handler = self.desk.do if by == "desk" else self.desk.also
        said: tuple[str, ...] = (await self.client.ask(handler, Steps(steps=steps))).said
        return said

    async def applied_s(self, policy: Policy | None, id: str) -> float:
        """How long it takes until this node has the policy, once it was stored by another connection."""
        loop, seen = asyncio.get_running_loop(), asyncio.Event()
        self.host.policies.on_change.append(seen.set)
        began_s = loop.time()
        if policy is None:
            await self.book.remove(id)
        else:
            await self.book.set(policy)
        async with asyncio.timeout(60):
            await seen.wait()
        self.host.policies.on_change.remove(seen.set)
        return loop.time() - began_s


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
async def serve(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Serve, None]:
    """``site = await serve("tenant")``: nodes of any tenants on one bus."""
    async with AsyncExitStack() as stack:
        server = MemoryServer()
        address = await stack.enter_async_context(embedded_server(tmp_path)) if request.param == "nats" else None

        async def connect() -> Bus:
            bus: Bus = MemoryBus(server) if address is None else await NatsBus.connect(address.url, address.token)
            stack.push_async_callback(bus.close)
            return bus

        async def start(tenant: str) -> Site:
            desk, bus = Desk(work_s=0.01), await connect()
            settings = Settings(home=tmp_path / "home", tenant=tenant, trace=0.0)
            host = await stack.enter_async_context(open_host(settings, node=f"node-{tenant}", bus=bus))
            await stack.enter_async_context(Node(host, [desk.desk, desk.clerk], drain_s=1.0))
            book = await PolicyBook.open(await connect(), host.directory, host.clock, tenant)
            return Site(desk, host, book)

        yield start


async def test_a_policy_takes_effect_within_a_second(serve: Serve) -> None:
    """Set, changed and removed, while the node runs."""
    site = await serve("default")
    assert await site.run("search a", "search a") == ("a 1", "a 2")
    took_s: list[float] = []
    for ttl_s in range(10, 10 + TRIES):
        took_s.append(await site.applied_s(policy_of(Cache(ttl_s=ttl_s), "tool search"), "p"))
    assert await site.run("search a", "search a") == ("a 3", "a 3")
    gone_s = await site.applied_s(None, "p")
    assert await site.run("search a", "search a") == ("a 4", "a 5")
    assert min(took_s) < SOON_S and min(gone_s, *took_s) < SOON_S


async def test_a_policy_is_its_tenant_s_and_its_agent_s(serve: Serve) -> None:
    """Another tenant's node and another agent's handler on the same node go on as before."""
    mine, theirs = await serve("mine"), await serve("theirs")
    await mine.applied_s(policy_of(Cache(ttl_s=60), "tool search", agent="desk"), "p")
    assert await mine.run("search a", "search a") == ("a 1", "a 1")
    assert await mine.run("search a", "search a", by="clerk") == ("a 2", "a 3")
    assert await theirs.run("search a", "search a") == ("a 1", "a 2")
    await theirs.applied_s(policy_of(Cache(ttl_s=60), "tool search"), "p")
    assert await theirs.run("search a", "search a") == ("a 3", "a 3")  # and never another tenant's result
    assert theirs.host.policies.table.policies != mine.host.policies.table.policies


async def test_slots_of_durable_work_follow_too(serve: Serve) -> None:
    """A worker that pulls takes as many as there are slots now."""
    site = await serve("default")
    site.desk.work_s = 0.3
    await site.applied_s(policy_of(Concurrency(slots=1), "desk"), "p")
    tasks = [await site.client.submit(site.desk.do, Steps(steps=("peek a",))) for _ in range(3)]
    await tasks[0].result(timeout_s=60)
    assert site.desk.runs["peek"] <= 2
    await site.applied_s(policy_of(Concurrency(slots=8), "desk"), "p")
    for task in tasks:
        await task.result(timeout_s=60)
