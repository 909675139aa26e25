"""Detectors on what the runtime records of programs that really run: the evidence is there as they expect it."""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest

from antiphon import Agent, Context, Message, System, tool
from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.runtime.errors import HandlerFailed, TaskDead
from antiphon.runtime.testing import memory_system
from antiphon.runtime.whatif import facts
from antiphon.schemas.finding import Finding, FindingState, Grade
from antiphon.schemas.policy import Level, Policy
from antiphon.schemas.telemetry import TelemetryBatch

S = 1_000_000_000
PASSAGE = "Air scatters blue light far more than red light. " * 4


class Note(Message):
    """A text."""

    text: str


class Verdict(Message):
    """A vote."""

    good: bool


@tool(effect="read", ttl=600)
async def rate(currency: str) -> str:
    """Slow, and the same for a long time."""
    await asyncio.sleep(0.06)
    return f"the rate of {currency} is 1.25"


@tool(effect="read")
async def search(query: str) -> str:
    """Finds nothing."""
    await asyncio.sleep(0.03)
    return "nothing was found"


async def several(calls: Sequence[dict[str, Any]]) -> list[str]:
    """The rows of many keys at once."""
    return [f"row {call['key']}" for call in calls]


@tool(effect="read", batch=several)
async def row(key: str) -> str:
    """One row."""
    await asyncio.sleep(0.02)
    return f"row {key}"


peer = Agent("peer")
planner = Agent("planner", tools=[rate, search, row])


@peer.handles
async def quick(message: Note, ctx: Context) -> Verdict:
    """Votes at once."""
    return Verdict(good=True)


@peer.handles
async def slow(message: Note, ctx: Context) -> Verdict:
    """Votes late."""
    await asyncio.sleep(0.12)
    return Verdict(good=True)


@peer.handles
async def survey(message: Note, ctx: Context) -> Note:
    """A long text."""
    await asyncio.sleep(0.12)
    return Note(text=PASSAGE[::-1])


@peer.handles
async def answer(message: Note, ctx: Context) -> Note:
    """Another."""
    return Note(text=PASSAGE)


@planner.handles
async def rows(message: Note, ctx: Context) -> Note:
    """One row after the other."""
    found = [await ctx.tool(row, f"{message.text}{i}") for i in range(6)]
    return Note(text=" ".join(found))


@planner.handles
async def again(message: Note, ctx: Context) -> Note:
    """Asks the same three times."""
    found = [await ctx.tool(search, message.text) for _ in range(3)]
    return Note(text=found[-1])


@planner.handles
async def convert(message: Note, ctx: Context) -> Note:
    """Asks for the same rate in every run."""
    return Note(text=await ctx.tool(rate, "euro"))


@planner.handles
async def ponder(message: Note, ctx: Context) -> Note:
    """Uses one of two answers."""
    _, used = await ctx.gather(ctx.ask(survey, message), ctx.ask(answer, message))
    return Note(text=used.text)


@planner.handles
async def vote(message: Note, ctx: Context) -> Verdict:
    """Waits for three though two decide."""
    async with ctx.group(at_least=2) as group:
        for voter in (quick, quick, slow):
            group.ask(voter, message)
    return Verdict(good=sum(one.good for one in group.values) > 1)


clerk = Agent("clerk", max_attempts=3, first_retry_s=0.01)


@peer.handles
async def refuse(message: Note, ctx: Context) -> Note:
    """Is never there."""
    await asyncio.sleep(0.02)
    raise ConnectionError("nobody is there")


@clerk.handles
async def file(message: Note, ctx: Context) -> Note:
    """Tries twice in each of its attempts."""
    with suppress(HandlerFailed):
        return await ctx.ask(refuse, message)
    return await ctx.ask(refuse, message)


@planner.handles
async def deliver(message: Note, ctx: Context) -> Note:
    """Has it filed, or goes without."""
    with suppress(TaskDead):
        return await ctx.call(file, message)
    return message


Findings = Callable[..., Any]


async def recorded(
    handler: Any, *, runs: int = 24, at_once: int = 6, policies: Sequence[Policy] = (), durable: bool = False
) -> list[TelemetryBatch]:
    """What nodes record of so many runs, ``at_once`` of them at a time."""
    batches: list[TelemetryBatch] = []
    system = System("s", agents=[peer, planner, clerk], policies=policies)
    async with memory_system(system, spans=batches.append) as client:
        for first in range(0, runs, at_once):
            notes = [Note(text=f"question {i}") for i in range(first, first + at_once)]
            if durable:
                await asyncio.gather(*[(await client.submit(handler, note)).result(timeout_s=60) for note in notes])
            else:
                await asyncio.gather(*(client.ask(handler, note) for note in notes))
    return batches


@pytest.fixture
def findings() -> Findings:
    """``findings(handler, pattern)``: what is said of the runs that are ``recorded``."""

    async def run(handler: Any, pattern: str, **settings: Any) -> list[Finding]:
        core = LoggingCore(rng=random.Random(1))
        last: dict[str, Finding] = {}
        for batch in await recorded(handler, **settings):
            core.feed(batch, S)
        for second in range(100, 103):
            last.update((finding.id, finding) for finding in core.tick(second * S))
        return [finding for finding in last.values() if finding.pattern == pattern]

    return run


async def test_p2_sees_a_loop_over_rows(findings: Findings) -> None:
    """Six calls of one tool that takes many keys, each with another one."""
    (finding,) = await findings(rows, "p2")
    assert (finding.subject, finding.grade) == ("tool row", Grade.A)
    assert finding.saving.latency_s.high == pytest.approx(0.1, rel=0.4)


async def test_p4_sees_a_rate_that_is_asked_for_in_every_run(findings: Findings) -> None:
    """The tool declares how long its results stay good."""
    (finding,) = await findings(convert, "p4", at_once=1)
    assert (finding.subject, finding.grade) == ("tool rate", Grade.A)
    assert finding.saving.latency_s.point == pytest.approx(0.06, rel=0.3)


async def test_p6_sees_the_same_search_three_times(findings: Findings) -> None:
    """Nothing new came of the second and the third."""
    (finding,) = await findings(again, "p6")
    assert finding.subject == "tool search"
    assert finding.saving.latency_s.point == pytest.approx(0.06, rel=0.3)


async def test_p14_sees_retries_of_retries_and_its_remedy_ends_them(findings: Findings) -> None:
    """Three attempts of a task make two requests each; with the policy that is proposed there is one attempt."""
    (finding,) = await findings(deliver, "p14", runs=12, durable=True)
    assert (finding.state, finding.subject) == (FindingState.OPEN, "call clerk.file")
    assert finding.saving.latency_s.point > 0.08
    policy = Policy(id="once", proposal=finding.remedy.proposal, level=Level.ON)
    for policies, attempts in (([], 3), ([policy], 1)):
        batches = await recorded(deliver, runs=2, at_once=2, policies=policies, durable=True)
        spans = [span for batch in batches for span in batch.spans if span.end_ns]
        assert sum(facts.label(span) == "clerk.file" for span in spans) == 2 * attempts


async def test_p15_sees_an_answer_that_nothing_is_made_of(findings: Findings) -> None:
    """The gather waits for it all the same."""
    (finding,) = await findings(ponder, "p15")
    assert finding.subject == "ask peer.survey in planner.ponder"
    assert finding.saving.latency_s.point == pytest.approx(0.12, rel=0.3)


async def test_p25_sees_a_vote_that_two_decide(findings: Findings) -> None:
    """The code declares that two would do."""
    (finding,) = await findings(vote, "p25")
    assert (finding.subject, finding.grade) == ("planner.vote", Grade.A)
    assert finding.saving.latency_s.point == pytest.approx(0.12, rel=0.3)
