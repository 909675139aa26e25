"""P3 fires on repeatable work that is in flight twice at once, and on nothing else."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Proposal, SingleFlight
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced


def runs(traced: "type[Traced]", count: int, plan: "Callable[[Traced, SpanRecord], None]") -> "list[Traced]":
    """``count`` runs of planner.plan, each 1 s, filled by ``plan``."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        plan(trace, trace.ask(None, "planner.plan", 0, 1_000))
        found.append(trace)
    return found


def pair(trace: "Traced", root: SpanRecord, **kwargs: Any) -> None:
    """The same prompt twice at once: the second 400 ms later."""
    trace.model(root, 100, 600, content="q", **kwargs)
    trace.model(root, 500, 1_000, content="q", **kwargs)


def test_two_equal_calls_in_flight_are_found(traced: "type[Traced]", look: "Look") -> None:
    """The second would end with the first: 400 ms, its tokens and its model time saved."""
    finding = look(runs(traced, 5, pair)).one("p3")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.A
    assert finding.subject == "model m"
    assert finding.remedy.proposal == Proposal(action=SingleFlight(), target="model m")
    assert len(finding.evidence_spans) == 10
    saving = finding.saving
    assert saving is not None and saving.latency_s and saving.tokens and saving.model_s
    assert saving.latency_s.point == pytest.approx(0.4)
    assert saving.tokens.point == pytest.approx(120)
    assert saving.model_s.point == pytest.approx(0.5)


def test_duplicates_across_runs_are_found(traced: "type[Traced]", look: "Look") -> None:
    """A run that asks what another is just being told would get that answer, 100 ms after it began."""
    found = []
    for number in range(1, 13):
        trace = traced(number, at_ms=10_000 * (number // 2) + 400 * (number % 2))
        root = trace.ask(None, "planner.plan", 0, 700)
        trace.tool(root, "fetch", 100, 600, effect="pure", content=f"doc{number // 2}")
        found.append(trace)
    found.sort(key=lambda t: t.at_ns)
    finding = look(found).one("p3")
    assert finding.state is FindingState.OPEN
    assert finding.subject == "tool fetch"
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.4)


def test_a_duplicate_call_takes_its_whole_subtree_along(traced: "type[Traced]", look: "Look") -> None:
    """Two equal asks of a repeatable peer are one duplicate, not also one of the model below each."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for start in (100, 300):
            done = trace.ask(
                root,
                "translator.translate",
                start,
                start + 600,
                antiphon__input__sha256="x",
                antiphon__result__sha256="y",
                antiphon__deterministic=True,
            )
            trace.model(done, start + 50, start + 550, content="q")

    looked = look(runs(traced, 5, plan))
    finding = looked.one("p3")
    assert finding.subject == "ask translator.translate"
    assert finding.saving is not None and finding.saving.latency_s and finding.saving.tokens
    assert finding.saving.latency_s.point == pytest.approx(0.2)
    assert finding.saving.tokens.point == pytest.approx(120)


def test_one_run_is_a_candidate_without_a_saving(traced: "type[Traced]", look: "Look") -> None:
    """Support 1 of 5 runs claims nothing."""
    finding = look(runs(traced, 1, pair)).one("p3")
    assert finding.state is FindingState.CANDIDATE
    assert (finding.support, finding.required) == (1, 5)
    assert finding.saving is None


def _one_after_the_other(trace: "Traced", root: SpanRecord) -> None:
    trace.model(root, 100, 500, content="q")
    trace.model(root, 500, 900, content="q")


def _other_tenant(trace: "Traced", root: SpanRecord) -> None:
    trace.model(root, 100, 600, content="q", antiphon__tenant="a")
    trace.model(root, 500, 1_000, content="q", antiphon__tenant="b")


def _other_version(trace: "Traced", root: SpanRecord) -> None:
    first, second = (trace.model(root, start, start + 500, content="q") for start in (100, 500))
    first.attributes["gen_ai.response.model"] = "m-1"
    second.attributes["gen_ai.response.model"] = "m-2"


def _other_result(trace: "Traced", root: SpanRecord) -> None:
    first, second = (trace.model(root, start, start + 500, content="q") for start in (100, 500))
    first.attributes["antiphon.result.sha256"] = "yes"
    second.attributes["antiphon.result.sha256"] = "no"


def _read(trace: "Traced", root: SpanRecord) -> None:
    trace.tool(root, "look", 100, 600, content="q")
    trace.tool(root, "look", 500, 1_000, content="q")


def _write(trace: "Traced", root: SpanRecord) -> None:
    for start in (100, 500):
        trace.tool(root, "charge", start, start + 500, content="q", effect="write", antiphon__deterministic=True)


def _peer_that_writes(trace: "Traced", root: SpanRecord) -> None:
    for start in (100, 300):
        done = trace.ask(
            root,
            "clerk.file",
            start,
            start + 600,
            antiphon__input__sha256="x",
            antiphon__deterministic=True,
        )
        trace.tool(done, "store", start + 50, start + 100, effect="write")


def _failed_first(trace: "Traced", root: SpanRecord) -> None:
    trace.model(root, 100, 600, content="q", status=2)
    trace.model(root, 500, 1_000, content="q")


def _no_hash(trace: "Traced", root: SpanRecord) -> None:
    pair_start = (100, 500)
    for start in pair_start:
        trace.model(root, start, start + 500)


@pytest.mark.parametrize(
    "plan",
    [
        _one_after_the_other,
        _other_tenant,
        _other_version,
        _other_result,
        _read,
        _write,
        _peer_that_writes,
        _failed_first,
        _no_hash,
        lambda trace, root: pair(trace, root, deterministic=False),
    ],
)
def test_decoys_are_left_alone(
    traced: "type[Traced]", look: "Look", plan: "Callable[[Traced, SpanRecord], None]"
) -> None:
    """Sequential, sampled, foreign, differing, reading, writing or failed work is not shared, in any number."""
    assert look(runs(traced, 30, plan)).of("p3") == []


def test_a_second_attempt_is_not_a_duplicate(traced: "type[Traced]", look: "Look") -> None:
    """Work that a redelivered task repeats while the first attempt still runs is recovery, not waste."""
    found = []
    for number in range(1, 11):
        trace = traced(number)
        first = trace.ask(None, "planner.plan", 0, 1_000)
        trace.model(first, 100, 600, content="q")
        again = trace.add(trace.publish_of(first), "process", 300, 1_000, kind=4, antiphon__attempt=2)
        trace.model(again, 500, 1_000, content="q")
        found.append(trace)
    assert look(found).of("p3") == []


@pytest.mark.parametrize("seed", range(3))
def test_skewed_clocks_do_not_make_an_overlap(traced: "type[Traced]", look: "Look", seed: int) -> None:
    """Work on two nodes, 5 ms apart, may seem to overlap by 100 ms; that proves nothing."""
    rng = random.Random(seed)
    found = []
    for number in range(1, 31):
        trace = traced(number)
        root = trace.ask(None, "planner.plan", 0, 1_000)
        for start, node in ((100, "n1"), (405, "n2")):
            skew = rng.uniform(-50, 50)
            done = trace.ask(root, "reader.read", start, start + 300, node=node, skew_ms=skew)
            call = trace.model(done, start + skew, start + 300 + skew, content="q")
            trace.nodes[call.span_id] = node
        found.append(trace)
    assert look(found).of("p3") == []
