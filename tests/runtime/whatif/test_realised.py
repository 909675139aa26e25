"""Predictions against the system itself, changed and run again with the same draws (virtual time)."""

import asyncio
import math
import random
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.testing import memory_cluster
from antiphon.runtime.virtual_time import run_virtual
from antiphon.runtime.whatif.answer import answer
from antiphon.runtime.whatif.ensemble import Ensemble, assemble
from antiphon.runtime.whatif.estimate import quantile
from antiphon.runtime.whatif.question import parse
from antiphon.schemas.inference import Chunk, Finish, FinishReason, GenerateRequest, Pool, TextChunk, Timing, Usage
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

RUNS = 100
RATE_PER_S = 5.0


class Task(Message, name="WhatifTask"):
    """What a run is about."""

    n: int


class Text(Message, name="WhatifText"):
    """Words."""

    text: str


def lasts_s(mean_s: float, *names: object) -> float:
    """A log-normal time, the same for the same names."""
    return mean_s * random.Random(":".join(map(str, names))).lognormvariate(-0.18, 0.6)


class Batched(ScriptedModel):
    """Four slots; every other request at work slows decoding by 2 %."""

    def __init__(self, name: str, scale: float) -> None:
        super().__init__([])
        self._name, self._scale = name, scale
        self._free = asyncio.Semaphore(4)
        self._active = 0

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Chunk, None]:
        """Twenty to sixty words."""
        clock = asyncio.get_running_loop().time
        prompt = str(request.conversation)
        words = random.Random(prompt).randrange(20, 60)
        asked_s = clock()
        async with self._free:
            self._active += 1
            began_s, pool = clock(), Pool(id=f"model:{self._name}@x", capacity=4, active=self._active)
            await asyncio.sleep(self._scale * (0.02 + 0.00005 * len(prompt)))
            first_s = clock()
            for _ in range(words):
                await asyncio.sleep(self._scale * 0.006 * (1 + 0.02 * (self._active - 1)))
                yield TextChunk(text="word ")
            self._active -= 1
            yield Finish(
                reason=FinishReason.STOP,
                usage=Usage(input_tokens=len(prompt) // 4, output_tokens=words),
                timing=Timing(queue_s=began_s - asked_s, prefill_s=first_s - began_s, decode_s=clock() - first_s),
                model=self._name,
                pool=pool,
            )


def newsroom(*, slots: int = 2, big: float = 1.0, critic_model: str = "big", audited: bool = True) -> Any:
    """The system, the handler that runs ask, and its models."""

    @tool(effect="read")
    async def search(query: str) -> str:
        """Notes."""
        await asyncio.sleep(lasts_s(0.1, "search", query))
        return query

    @tool(effect="read")
    async def audit(text: str) -> str:
        """A check that nobody reads."""
        await asyncio.sleep(lasts_s(0.08, "audit", text))
        return "fine"

    critic = Agent("critic", model=critic_model, slots=slots)
    labeller = Agent("labeller", model="small")
    writer = Agent("writer", model="big", slots=64, tools=[search, audit])

    @critic.handles
    async def review(text: Text, ctx: Context) -> Text:
        """What the critic thinks."""
        return Text(text=await ctx.model.generate(str, f"Review {text.text}"))

    @labeller.handles
    async def label(text: Text, ctx: Context) -> Text:
        """A word for it, by the small model."""
        return Text(text=await ctx.model.generate(str, f"Label {text.text}"))

    @writer.handles
    async def write(task: Task, ctx: Context) -> Text:
        """Search, draft, audit, review, and sometimes a label."""
        notes = await ctx.tool(search, f"query {task.n}")
        await ctx.model.generate(str, f"Write {task.n} {notes}")
        if audited:
            await ctx.tool(audit, f"draft {task.n}")
        said = await ctx.ask(review, Text(text=f"draft {task.n}"))
        return await ctx.ask(label, Text(text=f"draft {task.n}")) if task.n % 3 == 0 else said

    system = System("newsroom", agents=[writer, critic, labeller])
    return system, write, {"big": Batched("big", big), "small": Batched("small", 0.4)}


def play(**changed: Any) -> tuple[list[float], list[list[SpanRecord]]]:
    """Seconds of each run, and the spans of each."""
    took = [math.nan] * RUNS
    batches: list[TelemetryBatch] = []

    async def runs() -> None:
        system, write, models = newsroom(**changed)
        async with memory_cluster(system, models=models, spans=batches.append) as cluster, asyncio.TaskGroup() as group:
            arrivals = random.Random(7)

            async def one(n: int) -> None:
                begun_s = asyncio.get_running_loop().time()
                await cluster.client.ask(write, Task(n=n), timeout_s=100.0)
                took[n] = asyncio.get_running_loop().time() - begun_s

            for n in range(RUNS):
                await asyncio.sleep(arrivals.expovariate(RATE_PER_S))
                group.create_task(one(n))

    run_virtual(runs(), seed=1)
    traces: dict[bytes, list[SpanRecord]] = {}
    for batch in batches:
        for span in batch.spans:
            if span.end_ns:
                traces.setdefault(span.trace_id, []).append(span)
    return took, list(traces.values())


@pytest.fixture(scope="module")
def recorded() -> tuple[list[float], Ensemble]:
    """The system as it is."""
    took, runs = play()
    return took, assemble(runs)


def test_unedited_replay_is_the_record(recorded: tuple[list[float], Ensemble]) -> None:
    """Every run is answered for, and its replay is within a microsecond of what was recorded."""
    took, ensemble = recorded
    assert len(ensemble.played) == RUNS
    assert not ensemble.left_out
    for program, timeline in (ensemble.cautious, ensemble.hopeful):
        assert len(timeline.end_ns) == len(program.tasks)
        for played in ensemble.played:
            assert played.latency_s(timeline) == pytest.approx(played.trace.latency_ns / 1e9, abs=1e-6)
    recorded_s = [played.trace.latency_ns / 1e9 for played in ensemble.played]
    assert sum(recorded_s) == pytest.approx(sum(took), rel=1e-3)


@pytest.mark.parametrize(
    ("changed", "asked"),
    [
        ({"slots": 8}, {"pool": ["agent:critic=8"]}),
        ({"big": 0.5}, {"scale": ["model:big=0.5"]}),
        ({"audited": False}, {"remove": ["tool:audit"]}),
        ({"critic_model": "small"}, {"swap": ["model:critic=small"]}),
        ({"slots": 8, "big": 0.5}, {"pool": ["critic=8"], "scale": ["model:big=0.5"]}),
    ],
)
def test_what_was_predicted_happens(
    recorded: tuple[list[float], Ensemble], changed: dict[str, Any], asked: dict[str, Any]
) -> None:
    """Mean latency within 1 %, the 95th percentile within 5 %, and the saving inside the interval."""
    before_s, ensemble = recorded
    after_s, _ = play(**changed)
    found = answer(parse(**asked), ensemble, [], random.Random(1))
    rows = {row.name: row for row in found.rows}
    mean, p95 = sum(after_s) / RUNS, quantile(after_s, 0.95)
    assert rows["latency, mean"].after == pytest.approx(mean, rel=0.01)
    assert rows["latency, p95"].after == pytest.approx(p95, rel=0.05)
    saving = rows["latency, mean"].saving
    assert saving.low <= sum(before_s) / RUNS - mean <= saving.high
