"""A small system whose handler does what it is told, so that a test says in one line what a run does."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from antiphon import Agent, Client, Context, Message, System, tool
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.scripted import Scripted, ScriptedModel
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.testing import memory_cluster
from antiphon.schemas.inference import GenerateRequest
from antiphon.schemas.policy import Action, Arms, Level, Policy, Proposal
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

MODEL = "smollm2-135m"
OTHER = "other"


class Steps(Message):
    """What to do, one after the other; ``search a | search a`` is done together."""

    steps: tuple[str, ...]


class Said(Message):
    """What came of each."""

    said: tuple[str, ...]


def policy_of(
    action: Action,
    target: str,
    *,
    id: str = "p",
    agent: str | None = None,
    level: Level = Level.ON,
    share: float = 0.5,
    arms: Arms = Arms.RUN,
    slice_s: float = 10.0,
    finding: str | None = None,
) -> Policy:
    """A policy, at work unless said otherwise."""
    proposal = Proposal(action=action, target=target, agent=agent)
    return Policy(id=id, proposal=proposal, level=level, share=share, arms=arms, slice_s=slice_s, finding=finding)


class Desk:
    """``desk.do`` with tools that take ``work_s`` and count their runs; ``clerk.do`` is the same under another name."""

    def __init__(self, *, work_s: float = 1.0, slots: int = 16) -> None:
        self.runs: Counter[str] = Counter()
        self.work_s = work_s
        self.broken = 0  # how many of the next runs fail
        self.begun = asyncio.Event()  # a tool runs, or has run
        self.spans: list[SpanRecord] = []
        self.models: dict[str, ModelInstance] = {
            MODEL: ScriptedModel(self._says("small")),
            OTHER: ScriptedModel(self._says("other")),
        }
        self.client: Client
        self.book: PolicyBook
        tools = self._tools()
        self.desk = Agent("desk", tools=tools, slots=slots)
        self.clerk = Agent("clerk", tools=tools)
        self.do, self.also = self._handler(self.desk), self._handler(self.clerk)

    @asynccontextmanager
    async def open(self, *policies: Policy, nodes: int = 1, **how: Any) -> AsyncGenerator["Desk", None]:
        """The system with these policies by hand."""
        system = System("s", agents=[self.desk, self.clerk], policies=policies)
        async with memory_cluster(system, models=self.models, nodes=nodes, spans=self._keep, **how) as cluster:
            self.client = cluster.client
            host = cluster.client.host
            self.book = await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)
            yield self

    async def run(self, *steps: str) -> tuple[str, ...]:
        """One run of ``desk.do``."""
        found: Said = await self.client.ask(self.do, Steps(steps=steps), timeout_s=600)
        return found.said

    async def together(self, *runs: Sequence[str]) -> list[tuple[str, ...]]:
        """Several runs at once."""
        return list(await asyncio.gather(*(self.run(*steps) for steps in runs)))

    def attribute(self, operation: str, name: str) -> list[Any]:
        """What the ended spans of an operation's kind say of one attribute, where they have it, by their start."""
        found = [span for span in self.spans if span.attributes.get("antiphon.operation") == operation and span.end_ns]
        found.sort(key=lambda span: span.start_ns)
        return [span.attributes[name] for span in found if name in span.attributes]

    def _keep(self, batch: TelemetryBatch) -> None:
        self.spans.extend(batch.spans)

    def _says(self, name: str) -> Callable[[GenerateRequest], Scripted]:
        def reply(request: GenerateRequest) -> Scripted:
            self.runs[name] += 1
            return Scripted(text=f"{name} says hello")

        return reply

    def _tools(self) -> list[Any]:
        async def work(name: str) -> None:
            self.runs[name] += 1
            self.begun.set()
            failing = self.broken > 0
            self.broken -= failing
            await asyncio.sleep(self.work_s)
            if failing:
                raise ValueError(f"{name} failed")

        @tool(effect="read", ttl="60s")
        async def search(words: str) -> str:
            """Look something up."""
            await work("search")
            return f"{words} {self.runs['search']}"

        @tool(effect="pure")
        async def count(words: str) -> int:
            """How long a text is."""
            await work("count")
            return len(words)

        @tool(effect="read")
        async def peek(words: str) -> str:
            """Look at something that changes at any time."""
            await work("peek")
            return words

        @tool(effect="pure")
        async def pair(words: str):  # type: ignore[no-untyped-def]
            """Gives what JSON has not: a tuple."""
            await work("pair")
            return words, words

        @tool()
        async def note(words: str) -> str:
            """Write something down."""
            await work("note")
            return words

        return [search, count, peek, pair, note]

    def _handler(self, agent: Agent) -> Any:
        @agent.handles
        async def do(message: Steps, ctx: Context) -> Said:
            said: list[str] = []
            for step in message.steps:
                together = [self._step(ctx, each.strip(), agent) for each in step.split("|")]
                said += [str(each) for each in await ctx.gather(*together)]
            return Said(said=tuple(said))

        return do

    async def _step(self, ctx: Context, step: str, agent: Agent) -> object:
        verb, _, rest = step.partition(" ")
        if verb == "sleep":
            await ctx.sleep(float(rest))
            return "slept"
        if verb == "model":
            return await ctx.model.generate(str, rest)
        if verb == "drawn":
            return await ctx.model.generate(str, rest, temperature=1.0)
        if verb in ("ask", "call"):
            send = ctx.ask if verb == "ask" else ctx.call
            return await send(self.also, Steps(steps=(rest,)))
        try:
            return await ctx.tool(agent.tools[verb], rest)
        except ValueError as error:
            return f"failed: {error}"
