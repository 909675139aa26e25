"""P16 fires where a call of a fan-out is slow by chance, and not where size explains it or load or effects forbid."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p16_straggler import Stragglers
from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Hedge

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look
    from tests.agents.logging_agent.detectors.conftest import Spoiled, Stripped

    from antiphon.runtime.whatif.testing import Traced


def fan_out(
    traced: "type[Traced]",
    number: int,
    *,
    every: int = 4,
    slow_size: int | None = 100,
    size: int | None = 100,
    **kwargs: Any,
) -> "Traced":
    """One run that asks five workers at once, 100 ms each; in every fourth run the last one takes a second."""
    trace = traced(number)
    straggles = number % every == 0
    root = trace.ask(None, "planner.plan", 0, 1_000 if straggles else 100, node="n0")
    for i in range(5):
        slow = straggles and i == 4
        trace.ask(
            root,
            "worker.do",
            0,
            1_000 if slow else 100,
            messaging__message__body__size=slow_size if slow else size,
            **kwargs,
        )
    return trace


def fan_outs(traced: "type[Traced]", **kwargs: Any) -> "list[Traced]":
    """25 of them: 125 calls, of which six straggle."""
    return [fan_out(traced, number, **kwargs) for number in range(1, 26)]


@pytest.mark.parametrize("grouped", [True, False])
def test_a_call_in_twenty_that_is_slow_by_chance_is_found(traced: "type[Traced]", look: "Look", grouped: bool) -> None:
    """After 145 ms (between 100 and 1,000, at the 95th percentile) a second attempt of 100 ms: 245 ms, not 1,000.

    One in twenty second attempts is slow as well, and saves nothing.
    """
    group = {"antiphon__group": "1", "antiphon__group__needed": 5} if grouped else {}
    finding = look(fan_outs(traced, **group)).one("p16")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.subject == "ask worker.do"
    assert finding.support >= 5
    assert finding.prevalence == pytest.approx(0.25, abs=0.02)
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.target == "ask worker.do"
    action = finding.remedy.proposal.action
    assert isinstance(action, Hedge)
    assert action.delay_s == pytest.approx(0.145)
    assert action.budget == 0.05
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.95 * 0.755, rel=0.2)
    assert finding.saving.latency_s.point <= 0.7551


def test_a_branch_may_make_several_calls(traced: "type[Traced]", look: "Look") -> None:
    """Five branches that look something up before they ask are five, and all are waited for: no quorum."""
    runs = fan_outs(traced, antiphon__group="1", antiphon__group__needed=5)
    for run in runs:
        asks = [s for s in run.spans if s.attributes.get("antiphon.group")]
        root = next(s for s in run.spans if s.attributes.get("antiphon.agent") == "planner")
        for letter, ask in zip("abcde", asks, strict=True):
            ask.attributes["antiphon.path"] = f"1.{letter}.2"
            run.tool(root, "search", 0, 0.1, antiphon__group="1", antiphon__group__needed=5,
                     antiphon__path=f"1.{letter}.1")  # fmt: skip
    assert look(runs).one("p16").subject == "ask worker.do"


def test_too_few_calls_say_nothing(traced: "type[Traced]", look: "Look") -> None:
    """Of 15 calls no 95th percentile can be told."""
    assert look([fan_out(traced, number, every=3) for number in range(1, 4)]).of("p16") == []


def _with_tool(traced: "type[Traced]", effect: str) -> "list[Traced]":
    found = fan_outs(traced)
    for trace in found:
        for span in [s for s in trace.spans if s.attributes.get("antiphon.agent") == "worker"]:
            begin = (span.start_ns - trace.at_ns) / 1e6
            trace.tool(span, "store", begin, begin + 50, effect=effect)
    return found


def _in_a_row(traced: "type[Traced]") -> "list[Traced]":
    found = []
    for number in range(1, 21):
        trace = traced(number)
        root = trace.ask(None, "planner.plan", 0, 1_400, node="n0")
        for i in range(5):
            trace.ask(root, "worker.do", 100 * i, 100 * i + (1_000 if i == 4 and number % 4 == 0 else 100),
                      messaging__message__body__size=100)  # fmt: skip
        found.append(trace)
    return found


def test_work_that_only_reads_may_be_done_twice(traced: "type[Traced]", look: "Look") -> None:
    """A tool that is declared as reading does not stand in the way."""
    assert look(_with_tool(traced, "read")).of("p16")


@pytest.mark.parametrize(
    "make",
    [
        lambda traced: fan_outs(traced, slow_size=1_200),
        lambda traced: fan_outs(traced, every=100),
        lambda traced: fan_outs(traced, size=None),
        lambda traced: fan_outs(traced, active=12),
        lambda traced: fan_outs(traced, capacity=None),
        lambda traced: fan_outs(traced, antiphon__group="1", antiphon__group__needed=4),
        lambda traced: fan_outs(traced, status=2),
        lambda traced: _with_tool(traced, "write"),
        _in_a_row,
    ],
    ids=["longer job", "no tail", "size unknown", "busy", "load unknown", "quorum", "failed", "writes", "in a row"],
)
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", make: Any) -> None:
    """A call that is slow because it has more to do, overload, effects and missing records are no finding."""
    assert look(make(traced)).of("p16") == []


def test_sizes_that_vary_are_taken_off_before_the_tail_is_judged(traced: "type[Traced]", look: "Look") -> None:
    """Jobs of 1 to 9 units at 100 ms each: the longest is always 3 times the typical one, and never a straggler."""
    found = []
    for number in range(1, 21):
        trace = traced(number)
        root = trace.ask(None, "planner.plan", 0, 900, node="n0")
        for units in (1, 2, 3, 3, 9):
            trace.ask(root, "worker.do", 0, 100 * units, messaging__message__body__size=1_000 * units)
        found.append(trace)
    assert look(found).of("p16") == []


@pytest.mark.parametrize("wrong", ["large", -1, True, 1e308, [1]])
def test_hostile_sizes_are_survived(traced: "type[Traced]", look: "Look", wrong: Any) -> None:
    """A size that cannot be one is none; one that is absurd breaks nothing."""
    look(fan_outs(traced, size=wrong, slow_size=wrong))


def test_foreign_spans_are_left_alone(traced: "type[Traced]", look: "Look", stripped: "Stripped") -> None:
    """The same work without our facts on record says nothing."""
    assert look(stripped(fan_outs(traced))).of("p16") == []


def test_hostile_values_break_nothing(traced: "type[Traced]", spoiled: "Spoiled") -> None:
    """Whatever attributes say, each in turn, the detector goes on."""
    spoiled(Stragglers(random.Random(0)), fan_outs(traced))
