"""Hedges, retries and batches in whole systems."""

import asyncio
from typing import Any

import pytest
from tests.runtime.policies.desk import MODEL, policy_of

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.errors import ConfigurationError, TaskDead
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_system, virtual_time
from antiphon.schemas.policy import Action, Batch, Hedge, Retry
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

HEDGE = Hedge(delay_s=1.0, budget=0.5)


class Text(Message):
    """Goes in and out."""

    text: str


class Kept:
    """The spans of a system."""

    def __init__(self) -> None:
        self.spans: list[SpanRecord] = []

    def __call__(self, batch: TelemetryBatch) -> None:
        """Keep a batch."""
        self.spans.extend(batch.spans)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Names and attributes of the events of operations, by time."""
        found = [event for span in self.spans if span.end_ns for event in span.events or ()]
        return [(event.name, dict(event.attributes)) for event in sorted(found, key=lambda event: event.unix_ns)]

    def values(self, name: str) -> list[Any]:
        """What ended spans say of an attribute, where they have it."""
        return [span.attributes[name] for span in self.spans if span.end_ns and name in span.attributes]


@virtual_time(seeds=range(3))
async def test_a_peer_that_lost_is_stopped() -> None:
    """An ask that is too slow is made again, of a peer that declares to read, and the slower handler is cancelled."""
    desk, clerk, kept = Agent("desk"), Agent("clerk"), Kept()
    began, stopped = list[float](), list[float]()
    loop = asyncio.get_running_loop()

    @clerk.handles(effect="read")
    async def find(message: Text, ctx: Context) -> Text:
        began.append(loop.time())
        try:
            await asyncio.sleep(20.0 if len(began) == 3 else 0.5)
        except asyncio.CancelledError:
            stopped.append(loop.time())
            raise
        return message

    @desk.handles
    async def do(message: Text, ctx: Context) -> Text:
        return await ctx.ask(find, message)

    system = System("s", agents=[desk, clerk], policies=[policy_of(HEDGE, "ask clerk.find")])
    async with memory_system(system, spans=kept) as client:
        for _ in range(2):
            await client.ask(do, Text(text="quick"))
        start_s = loop.time()
        await client.ask(do, Text(text="slow"))
        took_s = loop.time() - start_s
        await asyncio.sleep(1.0)
    assert took_s == pytest.approx(1.5, abs=0.2)
    assert len(began) == 4
    assert [each - start_s for each in stopped] == [pytest.approx(1.5, abs=0.3)]
    assert (names.HEDGE_EVENT, {names.HEDGE_WON: 2}) in kept.events()


def test_a_handler_that_may_write_is_not_hedged() -> None:
    """The policy is refused where it is given, and says what to declare."""
    clerk = Agent("clerk")

    @clerk.handles
    async def find(message: Text, ctx: Context) -> Text:
        return message

    with pytest.raises(ConfigurationError, match=r"clerk\.find may write, so hedge must not.*effect='read'"):
        System("s", agents=[clerk], policies=[policy_of(HEDGE, "ask clerk.find")])


@virtual_time(seeds=range(3))
async def test_a_model_call_that_lost_is_stopped() -> None:
    """Its instance works on nothing any more, and the reply is the quicker one's."""
    desk, kept = Agent("desk"), Kept()
    lengths_s = iter([0.1, 0.1, 30.0, 0.2])

    async def sleep(_: float) -> None:
        await asyncio.sleep(next(lengths_s))

    model = ScriptedModel(lambda request: "word", token_s=1.0, sleep=sleep)

    @desk.handles
    async def do(message: Text, ctx: Context) -> Text:
        return Text(text=await ctx.model.generate(str, message.text))

    system = System("s", agents=[desk], policies=[policy_of(HEDGE, f"model {MODEL}")])
    async with memory_system(system, models={MODEL: model}, spans=kept) as client:
        for _ in range(2):
            await client.ask(do, Text(text="a"))
        began_s = asyncio.get_running_loop().time()
        assert (await client.ask(do, Text(text="a"))).text == "word"
        assert asyncio.get_running_loop().time() - began_s == pytest.approx(1.2, abs=0.1)
        assert len(model.requests) == 4
        assert model.active == 0
    assert [each for each in kept.events() if each[0] == names.HEDGE_EVENT] == [
        (names.HEDGE_EVENT, {names.HEDGE_WON: 2})
    ]


@virtual_time()
async def test_a_tool_that_fails_now_and_then_is_tried_again() -> None:
    """Its handler sees the result alone; the span has the attempt that failed. Without the policy the error is seen."""
    runs = 0

    @tool(effect="read")
    async def look(words: str) -> str:
        """Fails at first."""
        nonlocal runs
        runs += 1
        if runs % 2:
            raise ConnectionError("gone")
        return words

    desk, kept = Agent("desk", tools=[look]), Kept()

    @desk.handles
    async def do(message: Text, ctx: Context) -> Text:
        return Text(text=await ctx.tool(look, message.text))

    system = System("s", agents=[desk], policies=[policy_of(Retry(attempts=2), "tool look")])
    async with memory_system(system, spans=kept) as client:
        assert (await client.ask(do, Text(text="a"))).text == "a"
    [(name, about)] = kept.events()
    assert (name, about[names.ERROR_TYPE]) == (names.RETRY_EVENT, "ConnectionError")
    async with memory_system(System("s", agents=[desk])) as client:
        with pytest.raises(Exception, match="gone"):
            await client.ask(do, Text(text="a"))


@virtual_time()
async def test_durable_work_is_not_tried_again_where_a_policy_says_so() -> None:
    """A child that fails is dead at once; its agent's number of attempts counts without the policy, and otherwise."""
    desk, clerk, runs = Agent("desk", max_attempts=1), Agent("clerk", max_attempts=3, first_retry_s=0.1), list[str]()

    @clerk.handles
    async def find(message: Text, ctx: Context) -> Text:
        runs.append(message.text)
        raise ConnectionError("gone")

    @desk.handles
    async def do(message: Text, ctx: Context) -> Text:
        return await ctx.call(find, message)

    for policies, attempts in (([policy_of(Retry(attempts=1), "call clerk.find")], 1), ([], 3)):
        async with memory_system(System("s", agents=[desk, clerk], policies=policies)) as client:
            for submitted in (await client.submit(do, Text(text="a")), await client.submit(find, Text(text="b"))):
                with pytest.raises(TaskDead):
                    await submitted.result(timeout_s=60)
        assert (runs.count("a"), runs.count("b")) == (attempts, 3)
        runs.clear()


def shop(batches: list[list[Any]]) -> tuple[Agent, Any, Any]:
    """An agent that asks the price of every word in the text, and one that embeds it."""

    async def together(calls: list[dict[str, Any]]) -> list[int]:
        batches.append([call["item"] for call in calls])
        return [len(call["item"]) for call in calls]

    @tool(effect="read", batch=together)
    async def price(item: str) -> int:
        """What it costs."""
        return (await together([{"item": item}]))[0]

    agent = Agent("shop", tools=[price])

    @agent.handles
    async def total(message: Text, ctx: Context) -> Text:
        found = await ctx.gather(*(ctx.tool(price, item) for item in message.text.split()))
        return Text(text=str(sum(found)))

    @agent.handles
    async def embed(message: Text, ctx: Context) -> Text:
        return Text(text=str((await ctx.model.embed([message.text])).vectors[0][0]))

    return agent, total, embed


@pytest.mark.parametrize(
    ("action", "batches", "sizes"),
    [(Batch(window_s=0.02), [["a", "bb", "ccc"]], [3, 3, 3]), (None, [["a"], ["bb"], ["ccc"]], [])],
)
def test_calls_of_a_tool_become_one(action: Action | None, batches: list[list[str]], sizes: list[int]) -> None:
    """Also in durable work; without a policy each is a call of its own."""

    @virtual_time()
    async def buy() -> None:
        seen, kept = list[list[Any]](), Kept()
        agent, total, _ = shop(seen)
        policies = [] if action is None else [policy_of(action, "tool price")]
        async with memory_system(System("s", agents=[agent], policies=policies), spans=kept) as client:
            task = await client.submit(total, Text(text="a bb ccc"))
            assert (await task.result(timeout_s=60)).text == "6"
        assert [sorted(each) for each in seen] == batches or sorted(seen) == batches
        assert kept.values(names.BATCH_SIZE) == sizes
        assert kept.values(names.TOOL_BATCH) == [True] * 3

    buy()


@virtual_time()
async def test_texts_of_several_runs_become_one_request() -> None:
    """Each run gets its own vector."""
    asked: list[str] = []

    def vector(text: str) -> list[float]:
        asked.append(text)
        return [float(len(text))]

    agent, _, embed = shop([])
    kept = Kept()
    model = ScriptedModel([], embed=vector)
    system = System("s", agents=[agent], policies=[policy_of(Batch(window_s=0.05), f"model {MODEL}")])
    async with memory_system(system, models={MODEL: model}, spans=kept) as client:
        found = await asyncio.gather(*(client.ask(embed, Text(text="x" * length)) for length in (1, 2, 3)))
    assert [each.text for each in found] == ["1.0", "2.0", "3.0"]
    assert kept.values(names.BATCH_SIZE) == [3, 3, 3]
