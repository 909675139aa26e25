"""The table of needs holds: without any one of them a detector is silent, and with them alone it speaks."""

import random
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import pytest
from tests.agents.logging_agent.detectors import test_p1_serial_calls as p1
from tests.agents.logging_agent.detectors import test_p2_n_plus_one as p2
from tests.agents.logging_agent.detectors import test_p3_concurrent_duplicates as p3
from tests.agents.logging_agent.detectors import test_p4_repeated_work as p4
from tests.agents.logging_agent.detectors import test_p6_no_progress as p6
from tests.agents.logging_agent.detectors import test_p8_unstable_prefix as p8
from tests.agents.logging_agent.detectors import test_p9_no_affinity as p9
from tests.agents.logging_agent.detectors import test_p10_dead_context as p10
from tests.agents.logging_agent.detectors import test_p11_over_generation as p11
from tests.agents.logging_agent.detectors import test_p12_over_powered_model as p12
from tests.agents.logging_agent.detectors import test_p14_retry_or_timeout as p14
from tests.agents.logging_agent.detectors import test_p15_unused_results as p15
from tests.agents.logging_agent.detectors import test_p16_straggler as p16
from tests.agents.logging_agent.detectors import test_p17_queue_bound as p17
from tests.agents.logging_agent.detectors import test_p19_blocked_behind_long_runs as p19
from tests.agents.logging_agent.detectors import test_p20_missed_batching as p20
from tests.agents.logging_agent.detectors import test_p21_late_consumption as p21
from tests.agents.logging_agent.detectors import test_p25_over_strict_barrier as p25

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.agents.logging_agent.detectors.catalogue import catalogue
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.needs import NEEDS
from antiphon.schemas.finding import Finding
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

S = 1_000_000_000
NAMES = {  # what a span is and whose: on every span of ours
    attr.OPERATION, attr.AGENT, attr.HANDLER, attr.RUN, attr.PATH, attr.ATTEMPT, attr.MESSAGING_DESTINATION,
    attr.GENAI_REQUEST_MODEL, attr.GENAI_RESPONSE_MODEL, attr.GENAI_OPERATION, attr.GENAI_TOOL_NAME,
}  # fmt: skip

Runs = list["Traced"]
Plant = Callable[[type["Traced"]], Runs]


def gathered_tools(traced: type["Traced"]) -> Runs:
    """Five lookups at once, of which one of twenty takes a second."""
    found = []
    for number in range(1, 26):
        trace = traced(number)
        slow = 1_000 if number % 4 == 0 else 100
        root = trace.ask(None, "planner.plan", 0, slow)
        for i in range(5):
            trace.tool(root, "look", 0, slow if i == 4 else 100, antiphon__result__size=100)
        found.append(trace)
    return found


def votes_given_up(traced: type["Traced"]) -> Runs:
    """The third of three voters always comes after the quorum, and pays a model for it."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for letter, end in (("a", 500), ("b", 600), ("c", 990)):
            voted = p15.branch(trace, root, "voter.vote", 50, end, antiphon__group="1", antiphon__path=f"1.{letter}.1")
            if letter == "c":
                voted.attributes[attr.RESULT_CONSUMED] = False

    return p15.runs(traced, 25, plan)


def asked_again(traced: type["Traced"]) -> Runs:
    """A peer is asked the same three times, and each time asks a model."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for i in range(3):
            done = trace.ask(root, "reader.read", 300 * i, 300 * i + 300, antiphon__input__sha256="q")
            done.attributes[attr.RESULT_HASH] = "nothing"
            trace.model(done, 300 * i, 300 * i + 300, content=f"{i}")

    return p6.runs(traced, 5, plan)


def answered_twice(traced: type["Traced"]) -> Runs:
    """A model is asked the same twice in each run."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for start in (100, 500):
            trace.model(root, start, start + 400, content=f"q{trace.number}")

    return p4.runs(traced, 40, plan)


# Each way in which a detector can see its pattern; the first with no more than what it needs.
PLANTED: dict[str, tuple[Plant, ...]] = {
    "p1": (
        lambda traced: p1.runs(traced, 20, lambda t, r: either_way(t, r)),
        lambda traced: p1.runs(traced, 5, p1.serial),
    ),
    "p2": (lambda traced: p2.runs(traced, 5, p2.loop),),
    "p3": (lambda traced: p3.runs(traced, 5, p3.pair),),
    "p4": (answered_twice, lambda traced: p4.runs(traced, 40, p4.price)),
    "p6": (asked_again, lambda traced: p6.runs(traced, 5, lambda trace, root: p6.turns(trace, root, [p6.SAME] * 3))),
    "p8": (lambda traced: p8.runs(traced, 30),),
    "p9": (p9.runs,),
    "p10": (p10.runs, p10.read),
    "p11": (p11.runs, p11.first_lines),
    "p12": (p12.runs,),
    "p14": (lambda traced: [p14.layers(traced, n) for n in range(1, 8)], p14.many),
    "p15": (lambda traced: p15.runs(traced, 25, p15.two), votes_given_up),
    "p16": (p16.fan_outs, gathered_tools),
    "p17": (lambda traced: [p17.burst(traced, n) for n in range(1, 6)],),
    "p19": (p19.many,),
    "p20": (p20.bursts,),
    "p21": (lambda traced: p21.peers(traced, fields=None), p21.runs),
    "p25": (lambda traced: p25.runs(traced, 20, asked_at_once),),
}


def either_way(trace: "Traced", root: SpanRecord) -> None:
    """Two peers one after the other, now in this order and now in that."""
    names = ("one.do", "two.do") if trace.number % 2 else ("two.do", "one.do")
    for i, name in enumerate(names):
        trace.model(trace.ask(root, name, 100 + 300 * i, 400 + 300 * i), 100 + 300 * i, 400 + 300 * i)


def asked_at_once(trace: "Traced", root: SpanRecord) -> None:
    """Three reviewers who use a model, and of whom two decide."""
    p25.vote(trace, root)
    for span in trace.spans:
        if attr.EFFECT in span.attributes:
            span.attributes = {attr.OPERATION: "model", attr.GENAI_REQUEST_MODEL: "m"}


def said(
    pattern: str, runs: Runs, *, without: Collection[str] = (), only: Collection[str] | None = None
) -> list[Finding]:
    """What the detector says of the runs without some attributes, or with some only."""
    core = LoggingCore(rng=random.Random(1), using=[catalogue()[pattern](random.Random(1))])
    found: list[Finding] = []
    for run in runs:
        for span in run.spans:
            span.attributes = {
                name: value
                for name, value in span.attributes.items()
                if name not in without and (only is None or name in only)
            }
        core.feed(TelemetryBatch(node="n1", sequence=1, spans=run.spans), run.at_ns + 9 * S)
        found += core.tick(run.at_ns + 12 * S)
    return found + core.tick(run.at_ns + 100 * S)


@pytest.mark.parametrize("pattern", NEEDS)
def test_without_any_one_need_there_is_silence(traced: type["Traced"], pattern: str) -> None:
    """However else the pattern shows: what is called missing would not be found."""
    for plant in PLANTED[pattern]:
        for either in NEEDS[pattern]:
            assert said(pattern, plant(traced), without=either) == []


@pytest.mark.parametrize("pattern", NEEDS)
def test_what_is_needed_is_enough(traced: type["Traced"], pattern: str) -> None:
    """With nothing else on record but names, the detector speaks."""
    named = {name for either in NEEDS[pattern] for name in either}
    assert said(pattern, PLANTED[pattern][0](traced), only=named | NAMES)
