"""A node dies at every operation that it makes for a tool agent: the same answer, and nothing recorded done again."""

import asyncio
from collections import Counter
from collections.abc import Generator
from typing import Any
from unittest import mock

import pytest
import structlog

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime import memory_cluster as clusters
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.client import Client
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.distance import Travel, distant
from antiphon.runtime.models.scripted import Scripted
from antiphon.runtime.testing import MemoryCluster, ScriptedModel, memory_cluster, run_virtual
from antiphon.schemas.inference import GenerateRequest, Role, ToolCall, ToolResult


class Wish(Message):
    item: str


class Outcome(Message):
    """Everything that the tools have said, so that two runs that differ anywhere end differently."""

    said: tuple[str, ...]


class World:
    """What happened outside: each execution by name, before the crash and after it."""

    def __init__(self) -> None:
        self.is_after = False
        self.before: Counter[str] = Counter()
        self.after: Counter[str] = Counter()
        self.orders: dict[str, int] = {}

    def note(self, name: str) -> None:
        (self.after if self.is_after else self.before)[name] += 1


def said(request: GenerateRequest) -> list[str]:
    return [
        f"{part.name}: {part.content}"
        for turn in request.conversation
        for part in turn.parts
        if isinstance(part, ToolResult)
    ]


def shop(world: World) -> tuple[System, ScriptedModel, Any]:
    """An agent that reads two things at once, makes every mistake, orders with a person's consent, and answers."""

    @tool(effect="read")
    async def price(item: str) -> int:
        """In cents."""
        world.note("price")
        return 250

    @tool(effect="read")
    async def stock(item: str) -> int:
        """How many there are."""
        world.note("stock")
        raise KeyError(item)

    @tool(effect="read", timeout="1s")
    async def supplier(item: str) -> str:
        """Who sells it."""
        world.note("supplier")
        await asyncio.Event().wait()
        return ""

    @tool(approve="role:ops")
    async def order(item: str, n: int, idempotency_key: str = "") -> int:
        """Order some; a receipt."""
        world.note("order")
        return world.orders.setdefault(idempotency_key, n)

    def script(request: GenerateRequest) -> Scripted | Outcome:
        answered = sum(turn.role is Role.TOOL for turn in request.conversation)
        world.note(f"model@{1 + 2 * answered}")
        tea = {"item": "tea"}
        if answered == 0:
            names = ("price", "stock", "supplier", "nonsense")
            return Scripted(calls=tuple(ToolCall(id=name, name=name, arguments=tea) for name in names))
        if answered == 1:
            return Scripted(calls=(ToolCall(id="o", name="order", arguments={**tea, "n": 2}),))
        return Outcome(said=tuple(said(request)))

    agent = Agent("shop", tools=[price, stock, supplier, order], lease_s=1.0)

    @agent.handles
    async def buy(wish: Wish, ctx: Context) -> Outcome:
        return await ctx.model.run(Outcome, f"Buy {wish.item}.", max_steps=4)

    return System("s", agents=[agent]), ScriptedModel(script), buy


async def consent(client: Client) -> None:
    """The person: says yes to whatever is asked, and makes it three."""
    while True:
        for approval in await client.host.approvals.all():
            if approval.state == "open":
                value = {**approval.proposal, "arguments": {"item": "tea", "n": 3}}
                await client.host.approvals.answer(approval.id, approved=True, by="ada", value=value)
        await asyncio.sleep(0.2)


def did(history: History) -> set[str]:
    """The executions that a journal has the results of."""
    return {
        entry.target if entry.operation == "tool" else f"model@{entry.path}"
        for entry in history.entries.values()
        if entry.operation in ("tool", "model")
    }


async def bought(cut: int) -> tuple[Outcome, World, set[str], int]:
    """One purchase; ``node-0`` dies at its operation number ``cut`` (0: never).

    The outcome, what happened, what was recorded when it died, and how many operations it made.
    """
    world = World()
    system, model, buy = shop(world)
    server = MemoryServer(clock=asyncio.get_running_loop().clock)  # type: ignore[attr-defined]  # a virtual loop
    made = 0
    is_counting = False
    died = asyncio.Event()
    recorded: set[str] = set()

    def cutting(bus: MemoryBus, travel: Travel) -> Bus:
        async def step() -> None:
            nonlocal made
            made += is_counting
            if is_counting and made == cut:
                died.set()
                await cluster.kill("node-0")

        process = clusters._HERE.get()
        return distant(bus, step) if process is not None and process.name == "node-0" else bus

    async def takeover(cluster: MemoryCluster, task: str) -> None:
        await died.wait()
        world.is_after = True
        history, _ = await read_history(MemoryBus(server), "default", task)
        recorded.update(did(history))
        await cluster.start("node-1")

    with mock.patch.object(clusters, "distant", cutting):
        async with memory_cluster(system, models={"smollm2-135m": model}, server=server, lag_s=0.001) as cluster:
            is_counting = True
            task = await cluster.client.submit(buy, Wish(item="tea"))
            helpers = [asyncio.create_task(consent(cluster.client)), asyncio.create_task(takeover(cluster, task.id))]
            outcome = await task.result(timeout_s=60)
            is_counting = False
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
    return outcome, world, recorded, made


@pytest.fixture(autouse=True)
def quiet() -> Generator[None, None, None]:
    """Log lines cost more than everything else here."""
    with structlog.testing.capture_logs():
        yield


def test_a_crash_at_every_operation_of_a_tool_agent_changes_nothing() -> None:
    """The same answer from the same results, one order, and no execution of what the journal already had."""
    expected, world, _, operations = run_virtual(bought(0))
    assert list(expected.said) == [
        "price: 250",
        "stock: KeyError: tea",
        "supplier: tool 'supplier' was stopped: it may take 1 s; raise its timeout= or have it do less",
        "nonsense: there is no tool 'nonsense'; there are: order, price, stock, supplier",
        "order: 3",
    ]
    assert world.before == Counter(
        {"model@1": 1, "price": 1, "stock": 1, "supplier": 1, "model@3": 1, "order": 1, "model@5": 1}
    )
    seen: set[frozenset[str]] = set()
    for cut in range(1, operations + 1):
        outcome, world, recorded, _ = run_virtual(bought(cut))
        assert outcome == expected, cut
        assert len(world.orders) == 1, cut
        assert not recorded & world.after.keys(), cut
        assert all(count == 1 for count in (*world.before.values(), *world.after.values())), cut
        seen.add(frozenset(recorded))
    # Every state that a crash can leave was there, from nothing recorded to everything.
    assert {frozenset(), frozenset(world.before) | frozenset(world.after)} <= seen
    assert len(seen) >= 5
