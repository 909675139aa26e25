"""Strict replay: the same code says the same, other code is caught at its first other operation."""

import asyncio
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.client import Client
from antiphon.runtime.errors import UnknownAgent, VersionMismatch
from antiphon.runtime.replay.record import RecordedRun
from antiphon.runtime.replay.strict import replay
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import ScriptedModel
from antiphon.runtime.tool import tool
from antiphon.schemas.approval import ApprovalState


class Order(Message):
    item: str = "tea"
    cups: int = 2


class Price(Message):
    cents: int


class Receipt(Message):
    text: str


class Offer(Message):
    cents: int


def shop(
    log: list[str],
    *,
    asks_first: str = "stock",
    sleep: str = "10m",
    extra: bool = False,
    version: str = "1",
    says: str = "",
) -> tuple[System, Any]:
    """A shop with tools, a gather, a sleep, an approval, children and a model; ``log`` has its real effects."""

    @tool(effect="read")
    async def stock(item: str) -> int:
        """How much there is."""
        log.append(f"stock {item}")
        return 7

    @tool(effect="read")
    async def supplier(item: str) -> int:
        """How much there is elsewhere."""
        log.append(f"supplier {item}")
        return 7

    @tool(effect="write")
    async def charge(cents: int, idempotency_key: str = "") -> str:
        """Take the money."""
        log.append(f"charge {cents}")
        return f"charged {cents}"

    pricing = Agent("pricing")
    till = Agent("till", tools=[stock, supplier, charge], model="scripted", version=version)

    @pricing.handles
    async def price(message: Order, ctx: Context) -> Price:
        async def look() -> int:
            log.append(f"list {message.item}")
            await asyncio.sleep(3.0 if message.item == "tea" else 1.0)
            return 150

        return Price(cents=await ctx.run("list", look, effect="read") * message.cups)

    @till.handles
    async def sell(message: Order, ctx: Context) -> Receipt:
        order: list[str] = []

        async def priced(item: str) -> int:
            found = await ctx.call(price, Order(item=item, cups=message.cups))
            order.append(item)
            return found.cents

        there = await ctx.tool(stock if asks_first == "stock" else supplier, item=message.item)
        began = ctx.now()
        first, second = await ctx.gather(priced("tea"), priced("cake"))
        await ctx.sleep(sleep)
        decision = await ctx.approve(Offer(cents=first + second))
        async with ctx.group(quorum=1) as group:
            group.call(price, Order(item="tea"))
            group.call(price, Order(item="jam"))
        paid = await ctx.tool(charge, cents=decision.value.cents)
        if extra:
            await ctx.tool(stock, item="more")
        word = await ctx.model.generate(str, f"Thank for {paid}")
        return Receipt(text=says or f"{word} {there} {order} {ctx.random.random():.3f} {began > 0} {len(group.values)}")

    return System("shop", [pricing, till]), sell


async def approve(client: Client) -> None:
    """Answer the first question with a lower price."""
    approvals = client.host.approvals
    while not (found := await approvals.all(ApprovalState.OPEN)):  # noqa: ASYNC110  # virtual time
        await asyncio.sleep(60.0)
    await approvals.answer(found[0].id, approved=True, by="ann", value={"cents": 500})


@pytest.fixture(scope="module")
def run(record: Any) -> RecordedRun:
    """A whole purchase."""
    system, sell = shop([])
    found: RecordedRun = record(
        system, sell, Order(), models={"scripted": ScriptedModel(["thanks"])}, meanwhile=approve
    )
    return found


def test_the_same_code_is_identical_and_has_no_effects(run: RecordedRun, settings: Settings) -> None:
    """Tools, gather, sleep, approval, quorum, children, model and random numbers; the order of branches too."""
    log: list[str] = []
    system, _ = shop(log)
    verdict = replay(system, settings, run)
    assert verdict.divergence is None
    assert (verdict.tasks, verdict.operations) == (len(run.tasks), sum(len(t.operations) for t in run.tasks.values()))
    assert verdict.operations >= 11
    assert log == []
    assert b"['tea', 'cake']" in run.root.ended.value  # it was woken after both had ended


def test_branches_end_in_the_order_in_which_they_ended(record: Any, settings: Settings) -> None:
    """Also where a handler lets its result depend on it, and was never put aside."""
    agent = Agent("race")

    @agent.handles
    async def race(message: Order, ctx: Context) -> Receipt:
        order: list[str] = []

        async def lap(name: str, length_s: float) -> None:
            await ctx.sleep(length_s)
            order.append(name)

        await ctx.gather(lap("slow", 1.5), lap("quick", 0.5), lap("middle", 1.0))
        return Receipt(text=" ".join(order))

    system = System("race", [agent])
    run = record(system, race, Order())
    assert run.root.ended.value == b'{"text":"quick middle slow"}'
    assert replay(system, settings, run).divergence is None


def test_another_tool_is_shown_with_both_sides(run: RecordedRun, settings: Settings) -> None:
    """The first operation that differs: what was recorded, and what the code asks for now."""
    system, _ = shop([], asks_first="supplier")
    found = replay(system, settings, run).divergence
    assert found is not None and found.recorded is not None and found.found is not None
    assert (found.handler, found.path) == ("till.sell", "1")
    assert (found.recorded.operation, found.recorded.target) == ("tool", "stock")
    assert (found.found.target, found.found.content) == ("supplier", '{"item":"tea"}')
    assert found.recorded.request == found.found.request


def test_a_changed_argument_is_found_by_its_request(run: RecordedRun, settings: Settings) -> None:
    """The same kind and target with another request: a sleep of another length."""
    system, _ = shop([], sleep="20m")
    found = replay(system, settings, run).divergence
    assert found is not None and found.recorded is not None and found.found is not None
    assert (found.path, found.found.operation, found.found.content) == ("4", "sleep", "1200.0")
    assert found.recorded.request != found.found.request


def test_an_operation_more_shows_that_the_record_has_another_there(run: RecordedRun, settings: Settings) -> None:
    """What was the model call is a tool now."""
    system, _ = shop([], extra=True)
    found = replay(system, settings, run).divergence
    assert found is not None and found.recorded is not None and found.found is not None
    assert (found.path, found.recorded.operation, found.found.operation) == ("10", "model", "tool")
    assert "Thank for charged 500" in found.recorded.content


def test_another_result_is_a_divergence_without_a_path(run: RecordedRun, settings: Settings) -> None:
    """Every operation is the same, and the reply is not."""
    system, _ = shop([], says="no thanks")
    found = replay(system, settings, run).divergence
    assert found is not None and found.recorded is not None and found.found is not None
    assert (found.path, found.found.content) == ("", '{"text":"no thanks"}')
    assert "thanks 7" in found.recorded.content


def test_operations_the_record_lacks_and_those_the_code_lacks(record: Any, settings: Settings) -> None:
    """One more at the end, and one fewer."""

    def system(times: int) -> tuple[System, Any]:
        agent = Agent("counter")

        @agent.handles
        async def count(message: Order, ctx: Context) -> Price:
            async def one() -> int:
                return 1

            for _ in range(times):
                await ctx.run("one", one, effect="read")
            return Price(cents=1)

        return System("counter", [agent]), count

    two, handler = system(2)
    run = record(two, handler, Order())
    more = replay(system(3)[0], settings, run).divergence
    assert more is not None and (more.path, more.recorded) == ("3", None)
    fewer = replay(system(1)[0], settings, run).divergence
    assert fewer is not None and (fewer.path, fewer.found) == ("2", None)
    assert replay(two, settings, run).divergence is None


def test_a_handler_that_failed_then_fails_again_alike(record: Any, settings: Settings) -> None:
    """An error is a result: its type and message count."""

    def system(word: str) -> tuple[System, Any]:
        agent = Agent("broken", max_attempts=2)

        @agent.handles
        async def work(message: Order, ctx: Context) -> Price:
            async def one() -> int:
                return 1

            await ctx.run("one", one, effect="read")
            from antiphon.runtime.errors import Refused

            raise Refused(f"no {word}")

        return System("broken", [agent]), work

    then, handler = system("tea")
    run = record(then, handler, Order())
    assert run.root.batch.state == "failed"
    assert replay(then, settings, run).divergence is None
    found = replay(system("cake")[0], settings, run).divergence
    assert found is not None and found.found is not None
    assert (found.found.operation, found.found.content) == ("error", "Refused: no cake")


def test_a_system_without_the_agent_and_another_version_are_refused(run: RecordedRun, settings: Settings) -> None:
    """Both by type, naming what is missing."""
    with pytest.raises(UnknownAgent, match="no agent 'till'"):
        replay(System("pricing", [shop([])[0].agents[0]]), settings, run)
    with pytest.raises(VersionMismatch, match="till@1, the system has 2"):
        replay(shop([], version="2")[0], settings, run)


def test_a_subscriber_is_replayed_too(record: Any, settings: Settings) -> None:
    """The task that an event became: it has an input and operations, and no result."""
    agent = Agent("clerk")

    @agent.on("orders")
    async def note(message: Order, ctx: Context) -> None:
        async def one() -> str:
            return message.item

        await ctx.run("note", one, effect="read")

    @agent.handles
    async def place(message: Order, ctx: Context) -> Receipt:
        await ctx.publish("orders", message)
        return Receipt(text="placed")

    system = System("office", [agent])
    found = record(system, place, Order(), events=["clerk.note"])
    assert {str(task.address) for task in found.tasks.values()} == {"clerk.place", "clerk.note"}
    assert replay(system, settings, found).divergence is None
