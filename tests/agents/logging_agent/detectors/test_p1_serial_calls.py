"""P1 fires on chains that could be gathered, and on nothing that only looks like one."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Parallelise, Proposal
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced

    Plan = Callable[[Traced, SpanRecord], None]


def runs(traced: "type[Traced]", count: int, plan: "Plan") -> "list[Traced]":
    """``count`` runs of planner.plan, each 1 s, filled by ``plan``."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        plan(trace, trace.ask(None, "planner.plan", 0, 1_000, node="n0"))
        found.append(trace)
    return found


def serial(trace: "Traced", root: SpanRecord, **kwargs: Any) -> None:
    """Four summaries of 200 ms, one after the other, on a model that was seen to serve four."""
    for i in range(4):
        start = 100 + 200 * i
        done = trace.ask(root, "summariser.summarise", start, start + 200, causes=[], **kwargs)
        trace.model(
            done,
            start,
            start + 200,
            antiphon__pool__id="model:m@n1",
            antiphon__pool__capacity=8,
            antiphon__pool__active=4,
        )


def test_four_independent_summaries_are_found(traced: "type[Traced]", look: "Look") -> None:
    """Five runs open a proven finding whose saving is what a gather would save: 3 x 200 ms of a second."""
    finding = look(runs(traced, 5, serial)).one("p1")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.A
    assert (finding.support, finding.required, finding.prevalence) == (5, 5, 1.0)
    assert finding.subject == "planner.plan"
    assert "ask summariser.summarise x4" in finding.remedy.text
    assert len(finding.evidence_traces) == 5
    assert len(finding.evidence_spans) == 20
    assert finding.saving is not None and finding.saving.latency_s is not None
    latency = finding.saving.latency_s
    assert (latency.low, latency.point, latency.high) == pytest.approx((0.559, 0.6, 0.641), rel=0.02)


@pytest.mark.parametrize(
    ("declared", "proposed"),
    [
        ({"antiphon__group": "5", "antiphon__group__width": 1}, True),
        ({"antiphon__group": "5"}, False),  # a fan-out with one place
        ({"antiphon__group": "5", "antiphon__group__width": 2}, False),  # they are run together already
        ({"antiphon__group__width": 1}, False),
        ({}, False),
    ],
)
def test_steps_that_are_declared_independent_have_a_policy(
    traced: "type[Traced]", look: "Look", declared: dict[str, Any], proposed: bool
) -> None:
    """Where the code leaves open how they run a policy runs them together; else a person has to change the code."""
    remedy = look(runs(traced, 5, lambda trace, root: serial(trace, root, **declared))).one("p1").remedy
    expected = Proposal(action=Parallelise(most=4), target="planner.plan")
    assert remedy.proposal == (expected if proposed else None)
    assert ("ctx.gather" in remedy.text) is not proposed


def test_a_model_never_seen_to_serve_two_widens_the_interval(traced: "type[Traced]", look: "Look") -> None:
    """Where batching was never measured, the low end has the calls queue at the model: nothing is saved."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for i in range(4):
            done = trace.ask(root, "summariser.summarise", 100 + 200 * i, 300 + 200 * i, causes=[])
            trace.model(done, 100 + 200 * i, 300 + 200 * i)

    finding = look(runs(traced, 5, plan)).one("p1")
    assert finding.saving is not None and finding.saving.latency_s is not None
    latency = finding.saving.latency_s
    assert (latency.low, latency.point, latency.high) == pytest.approx((0.0, 0.3, 0.641), rel=0.02)


def test_a_small_pool_bounds_the_saving(traced: "type[Traced]", look: "Look") -> None:
    """With two slots at the callee, four calls take two rounds: 400 ms saved and not 600."""
    finding = look(runs(traced, 5, lambda t, r: serial(t, r, capacity=2))).one("p1")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.4)


def test_one_run_is_a_candidate_without_a_saving(traced: "type[Traced]", look: "Look") -> None:
    """Below the required support nothing is claimed: support 1 of 5 runs, no saving."""
    finding = look(runs(traced, 1, serial)).one("p1")
    assert finding.state is FindingState.CANDIDATE
    assert (finding.support, finding.required, finding.support_unit) == (1, 5, "runs")
    assert finding.saving is None


def _by_cause(trace: "Traced", root: SpanRecord) -> None:
    before = ""
    for i in range(4):
        done = trace.ask(root, "writer.write", 100 + 200 * i, 300 + 200 * i, causes=[before] if before else [])
        before = trace.publish_of(done).span_id.hex()


def _unknown_cause(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.ask(root, "writer.write", 100 + 200 * i, 300 + 200 * i, causes=["feedfeedfeedfeed"] if i else [])


def _unrecorded(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.ask(root, "writer.write", 100 + 200 * i, 300 + 200 * i)


def _inferred(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.tool(root, "look", 100 + 200 * i, 300 + 200 * i, causes=[], antiphon__msg__causes_inferred=True)


def _model_between(trace: "Traced", root: SpanRecord) -> None:
    trace.tool(root, "look", 100, 300, causes=[])
    trace.model(root, 300, 500, causes=[])
    trace.tool(root, "look", 500, 700, causes=[])


def _writes(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.tool(root, "charge", 100 + 200 * i, 300 + 200 * i, causes=[], effect="write")


def _undeclared(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.tool(root, "charge", 100 + 200 * i, 300 + 200 * i, causes=[], effect=None)


def _writes_below(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        done = trace.ask(root, "clerk.file", 100 + 200 * i, 300 + 200 * i, causes=[])
        trace.tool(done, "store", 120 + 200 * i, 200 + 200 * i, effect="write")


def _short(trace: "Traced", root: SpanRecord) -> None:
    for i in range(10):
        trace.tool(root, "look", 100 + 25 * i, 125 + 25 * i, causes=[])


def _thinking_between(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.tool(root, "look", 100 + 200 * i, 280 + 200 * i, causes=[])


def _failed(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.tool(root, "look", 100 + 200 * i, 300 + 200 * i, causes=[], status=2)


def _parallel(trace: "Traced", root: SpanRecord) -> None:
    for i in range(4):
        trace.tool(root, "look", 100 + i, 300 + i, causes=[])


def _events_between(trace: "Traced", root: SpanRecord) -> None:
    for i in range(3):
        trace.tool(root, "look", 100 + 210 * i, 300 + 210 * i, causes=[])
        trace.add(root, "publish e", 300 + 210 * i, 310 + 210 * i, kind=3, antiphon__operation="publish")


def _small_effect(trace: "Traced", root: SpanRecord) -> None:
    for i in range(2):
        trace.tool(root, "look", 100 + 40 * i, 140 + 40 * i, causes=[])


@pytest.mark.parametrize(
    "plan",
    [
        _by_cause,
        _unknown_cause,
        _unrecorded,
        _inferred,
        _model_between,
        _writes,
        _undeclared,
        _writes_below,
        _short,
        _thinking_between,
        _failed,
        _parallel,
        _events_between,
        _small_effect,
    ],
)
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", plan: "Plan") -> None:
    """Dependent, writing, short, thoughtful, failed, parallel or trifling calls are no finding, in any number."""
    assert look(runs(traced, 30, plan)).of("p1") == []


def test_retried_handlers_are_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Calls made by a second attempt do not count."""
    found = []
    for number in range(1, 11):
        trace = traced(number)
        serial(trace, trace.ask(None, "planner.plan", 0, 1_000, attempt=2))
        found.append(trace)
    assert look(found).of("p1") == []


def _either_way(trace: "Traced", root: SpanRecord, causes: list[str] | None) -> None:
    names = ("a", "b") if trace.number % 2 else ("b", "a")
    trace.tool(root, names[0], 100, 400, causes=causes)
    trace.tool(root, names[1], 400, 700, causes=causes)


def test_both_orders_stand_in_for_missing_causes(traced: "type[Traced]", look: "Look") -> None:
    """Without causes, five traces in each order make a statistical finding whose low end is nothing saved."""
    few = look(runs(traced, 9, lambda t, r: _either_way(t, r, None)))
    assert few.of("p1") == []
    finding = look(runs(traced, 20, lambda t, r: _either_way(t, r, None))).one("p1")
    assert finding.grade is Grade.B
    assert finding.saving is not None and finding.saving.latency_s is not None
    latency = finding.saving.latency_s
    assert (latency.low, latency.point) == pytest.approx((0.0, 0.15))


def test_a_decision_between_two_calls_shows_in_the_long_run(traced: "type[Traced]", look: "Look") -> None:
    """A second call that is made only sometimes hangs on the first, whatever the causes say."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        trace.tool(root, "check", 100, 400, causes=[])
        if trace.number % 2:
            trace.tool(root, "repair", 400, 700, causes=[])

    assert all(f.state is FindingState.CANDIDATE for f in look(runs(traced, 30, plan)).of("p1"))


def _noise(seed: int) -> "Callable[[list[SpanRecord]], list[SpanRecord]]":
    rng = random.Random(seed)

    def disturb(spans: list[SpanRecord]) -> list[SpanRecord]:
        kept = [span for span in spans if rng.random() > 0.03]
        kept += rng.sample(kept, len(kept) // 3)
        rng.shuffle(kept)
        return kept

    return disturb


@pytest.mark.parametrize("plan", [_by_cause, _unrecorded, _writes_below, _model_between, _thinking_between])
@pytest.mark.parametrize("seed", range(3))
def test_noise_makes_no_false_alarm(traced: "type[Traced]", look: "Look", plan: "Plan", seed: int) -> None:
    """Lost, repeated and disordered spans do not turn a decoy into a finding."""
    assert look(runs(traced, 60, plan), noise=_noise(seed)).of("p1") == []


@pytest.mark.parametrize("seed", range(3))
def test_noise_does_not_hide_the_pattern(traced: "type[Traced]", look: "Look", seed: int) -> None:
    """Lost, repeated and disordered spans and 50 ms of clock skew leave the finding and its estimate."""
    skewed = runs(traced, 40, lambda t, r: serial(t, r, skew_ms=random.Random(seed).choice((-50, 50))))
    found = [f for f in look(skewed, noise=_noise(seed)).of("p1") if f.state is FindingState.OPEN]
    assert found
    best = max(found, key=lambda f: f.support)
    assert best.saving is not None and best.saving.latency_s is not None
    assert best.saving.latency_s.point == pytest.approx(0.6, abs=0.06)
