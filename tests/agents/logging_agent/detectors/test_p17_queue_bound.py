"""P17 fires where the recorded use of an agent's slots explains the waiting, and only there."""

from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Concurrency, Proposal

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced


def burst(traced: "type[Traced]", number: int, *, calls: int = 4, slots: int = 1, **kwargs: Any) -> "Traced":
    """One run that asks a critic ``calls`` times at once; each takes 200 ms, ``slots`` at a time."""
    trace = traced(number)
    rounds = -(-calls // slots)
    root = trace.ask(None, "writer.write", 0, 100 + 200 * rounds, node="n0")
    for i in range(calls):
        wait = 200 * (i // slots)
        settings = {"capacity": slots, "active": slots, "depth": calls - 1 - i, "wait_ms": wait, **kwargs}
        trace.ask(root, "critic.review", 50, 250 + wait, causes=[], **settings)
    return trace


def test_a_single_slot_with_four_callers_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Waiting is 60 % of the time; with three slots the last of four waits one round: 400 ms saved."""
    finding = look([burst(traced, n) for n in range(1, 6)]).one("p17")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.subject == "critic"
    assert (finding.support, finding.required, finding.prevalence) == (5, 5, 1.0)
    assert finding.remedy.proposal == Proposal(action=Concurrency(slots=3), target="critic")
    assert "60%" in finding.remedy.text
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.4)


def test_one_run_is_a_candidate_without_a_saving(traced: "type[Traced]", look: "Look") -> None:
    """Support 1 of 5 runs claims nothing."""
    finding = look([burst(traced, 1)]).one("p17")
    assert finding.state is FindingState.CANDIDATE
    assert (finding.support, finding.required) == (1, 5)
    assert finding.saving is None


def test_waiting_caused_by_other_runs_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Runs of one call each wait for one another: only a replay of all of them together explains it."""
    found = []
    for number in range(1, 21):
        trace = traced(number, at_ms=10_000 * (number // 4) + (number % 4))
        wait = 200 * (number % 4) - (number % 4)
        root = trace.ask(None, "writer.write", 0, 300 + wait, node="n0")
        trace.ask(root, "critic.review", 50, 250 + wait, capacity=1, active=1, depth=3 - number % 4, wait_ms=wait)
        found.append(trace)
    finding = look(found).one("p17")
    assert finding.state is FindingState.OPEN
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point > 0.2


def test_a_full_model_downstream_makes_more_slots_useless(traced: "type[Traced]", look: "Look") -> None:
    """Where the model serves one at a time, the queue would only move: nothing is reported."""
    found = []
    for number in range(1, 11):
        trace = burst(traced, number)
        for span in [s for s in trace.spans if s.attributes.get("antiphon.agent") == "critic"]:
            begin = (span.start_ns - trace.at_ns) / 1e6
            trace.model(
                span,
                begin,
                begin + 199,
                antiphon__pool__id="model:m@n1",
                antiphon__pool__capacity=1,
                antiphon__pool__active=1,
            )
        found.append(trace)
    assert look(found).of("p17") == []


def _mild(traced: "type[Traced]", number: int) -> "Traced":
    trace = traced(number)
    root = trace.ask(None, "writer.write", 0, 1_000, node="n0")
    trace.ask(root, "critic.review", 50, 450, capacity=1)
    trace.ask(root, "critic.review", 400, 900, capacity=1, wait_ms=50)
    return trace


def _slow_hop(traced: "type[Traced]", number: int) -> "Traced":
    trace = traced(number)
    root = trace.ask(None, "writer.write", 0, 600, node="n0")
    trace.ask(root, "critic.review", 50, 550, capacity=1, active=1, wait_ms=300)
    return trace


@pytest.mark.parametrize(
    "make",
    [
        _mild,
        _slow_hop,
        lambda traced, number: burst(traced, number, capacity=None),
        lambda traced, number: burst(traced, number, capacity=16, active=1),
        lambda traced, number: burst(traced, number, status=2),
        lambda traced, number: burst(traced, number, attempt=2),
        lambda traced, number: burst(traced, number, depth=50),
    ],
    ids=["share below 30 %", "nobody held the slot", "no capacity", "slots free", "failed", "retried", "odd depth"],
)
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", make: Any) -> None:
    """Little waiting, waiting that no use explains, unknown pools and failures are no finding."""
    assert look([make(traced, n) for n in range(1, 31)]).of("p17") == []


@pytest.mark.parametrize("skew_ms", [-50.0, 50.0])
def test_skewed_clocks_do_not_make_a_queue(traced: "type[Traced]", look: "Look", skew_ms: float) -> None:
    """A node 50 ms ahead seems to leave short messages waiting; with free time before them there is no queue."""
    found = []
    for number in range(1, 31):
        trace = traced(number)
        root = trace.ask(None, "writer.write", 0, 500, node="n0")
        for i in range(4):
            trace.ask(root, "critic.review", 100 * i, 100 * i + 80, capacity=1, active=1, skew_ms=skew_ms)
        found.append(trace)
    assert look(found).of("p17") == []
