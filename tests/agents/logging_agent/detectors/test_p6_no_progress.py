"""P6 fires on calls that bring nothing new, and on nothing else."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade, QualityRisk
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced

Call = tuple[str, str, str]  # tool, input, result


def runs(traced: "type[Traced]", count: int, plan: "Callable[[Traced, SpanRecord], None]") -> "list[Traced]":
    """``count`` runs of planner.plan, each 2 s, filled by ``plan``."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        plan(trace, trace.ask(None, "planner.plan", 0, 2_000))
        found.append(trace)
    return found


def turns(trace: "Traced", root: SpanRecord, calls: "list[Call]", **kwargs: Any) -> None:
    """A model call of 100 ms and 120 tokens, then a tool of 100 ms, for each of ``calls``; a last model call."""
    for i, (name, content, result) in enumerate(calls):
        trace.model(root, 200 * i, 200 * i + 100, content=f"{trace.number}.{i}")
        tool = trace.tool(root, name, 200 * i + 100, 200 * i + 200, content=content, **kwargs)
        tool.attributes["antiphon.result.sha256"] = result
    trace.model(root, 200 * len(calls), 200 * len(calls) + 100, content=f"{trace.number}.last")


SAME: "Call" = ("search", "q", "nothing")


def test_three_equal_calls_are_a_loop(traced: "type[Traced]", look: "Look") -> None:
    """The second and third search and the model call between them go: 300 ms, 120 tokens, 0.1 s of the model.

    The model call that asks for the second search stays: without it there is nothing to answer with a note.
    """
    finding = look(runs(traced, 5, lambda trace, root: turns(trace, root, [SAME] * 3))).one("p6")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.quality_risk is QualityRisk.NEEDS_EVALUATION
    assert finding.subject == "tool search"
    saving = finding.saving
    assert saving is not None and saving.latency_s and saving.tokens and saving.model_s
    assert saving.latency_s.point == pytest.approx(0.3)
    assert saving.tokens.point == pytest.approx(120)
    assert saving.model_s.point == pytest.approx(0.1)


def test_two_calls_in_turn_are_a_loop(traced: "type[Traced]", look: "Look") -> None:
    """Of read, list, read, list the second pair goes: 300 ms and the model call in it."""
    calls = [("read", "a", "1"), ("list", "b", "2")] * 2
    finding = look(runs(traced, 5, lambda trace, root: turns(trace, root, calls))).one("p6")
    assert finding.subject == "tool read and tool list"
    assert finding.saving is not None and finding.saving.latency_s and finding.saving.tokens
    assert finding.saving.latency_s.point == pytest.approx(0.3)
    assert finding.saving.tokens.point == pytest.approx(120)


def test_calls_before_and_after_the_loop_stay(traced: "type[Traced]", look: "Look") -> None:
    """Only the repeats go, whatever surrounds them."""
    calls = [("read", "a", "1"), SAME, SAME, SAME, ("read", "b", "3")]
    finding = look(runs(traced, 5, lambda trace, root: turns(trace, root, calls))).one("p6")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.3)


def test_a_peer_that_is_asked_again_takes_its_work_along(traced: "type[Traced]", look: "Look") -> None:
    """The result of a peer is on its handler's span; the model call in each repeat is saved as well."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for i in range(3):
            done = trace.ask(root, "reader.read", 300 * i, 300 * i + 300, antiphon__input__sha256="q")
            done.attributes["antiphon.result.sha256"] = "nothing"
            trace.model(done, 300 * i, 300 * i + 300, content=f"{i}")

    finding = look(runs(traced, 5, plan)).one("p6")
    assert finding.subject == "ask reader.read"
    assert finding.saving is not None and finding.saving.latency_s and finding.saving.tokens
    assert finding.saving.latency_s.point == pytest.approx(0.6)
    assert finding.saving.tokens.point == pytest.approx(240)


def test_a_loop_that_no_model_is_in_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Code that asks three times in a row does not wait between: 400 ms are saved."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for i in range(3):
            trace.tool(root, "search", 200 * i, 200 * i + 200, content="q")

    saving = look(runs(traced, 5, plan)).one("p6").saving
    assert saving is not None and saving.latency_s is not None
    assert saving.latency_s.point == pytest.approx(0.4)


def test_one_run_is_a_candidate_without_a_saving(traced: "type[Traced]", look: "Look") -> None:
    """Support 1 of 5 runs claims nothing."""
    finding = look(runs(traced, 1, lambda trace, root: turns(trace, root, [SAME] * 3))).one("p6")
    assert finding.state is FindingState.CANDIDATE
    assert finding.saving is None


def _write_between(trace: "Traced", root: SpanRecord) -> None:
    for i in range(3):
        trace.tool(root, "search", 300 * i, 300 * i + 100, content="q")
        trace.tool(root, "store", 300 * i + 100, 300 * i + 200, effect="write", content=f"{i}")


def _failed(trace: "Traced", root: SpanRecord) -> None:
    """Two failures and a success are retries."""
    for i in range(3):
        trace.tool(root, "search", 300 * i, 300 * i + 200, content="q", status=0 if i == 2 else 2)


def _long_gap(trace: "Traced", root: SpanRecord) -> None:
    for i in range(3):
        trace.model(root, 1_000 + 61_000 * i, 2_000 + 61_000 * i, content=f"{trace.number}.{i}")
        trace.tool(root, "search", 2_000 + 61_000 * i, 2_300 + 61_000 * i, content="q")


def _polls(trace: "Traced", root: SpanRecord) -> None:
    """Every 300 ms for 100 ms."""
    for i in range(5):
        trace.tool(root, "job_state", 300 * i, 300 * i + 100, content="job")


def _polls_with_a_span_lost(trace: "Traced", root: SpanRecord) -> None:
    for i in (0, 1, 3, 4):
        trace.tool(root, "job_state", 300 * i, 300 * i + 100, content="job")


def _at_once(trace: "Traced", root: SpanRecord) -> None:
    for _ in range(4):
        trace.tool(root, "search", 100, 1_100, content="q")


def _no_result(trace: "Traced", root: SpanRecord) -> None:
    turns(trace, root, [SAME] * 4)
    for span in trace.spans:
        span.attributes.pop("antiphon.result.sha256", None)


def _in_turn_without_a_model(trace: "Traced", root: SpanRecord) -> None:
    for i in range(6):
        name = ("read", "list")[i % 2]
        trace.tool(root, name, 200 * i, 200 * i + 200, content=name)


@pytest.mark.parametrize(
    "plan",
    [
        _write_between,
        _failed,
        _long_gap,
        _polls,
        _polls_with_a_span_lost,
        _at_once,
        _no_result,
        _in_turn_without_a_model,
        lambda trace, root: turns(trace, root, [SAME] * 2),
        lambda trace, root: turns(trace, root, [("search", f"{i}", "nothing") for i in range(4)]),
        lambda trace, root: turns(trace, root, [("search", "q", f"{i}") for i in range(4)]),
        lambda trace, root: turns(trace, root, [SAME, SAME, SAME, ("search", "q", "done")]),
        lambda trace, root: turns(trace, root, [SAME] * 4, effect="write"),
        lambda trace, root: turns(trace, root, [SAME] * 4, effect=None),
    ],
)
def test_decoys_are_left_alone(
    traced: "type[Traced]", look: "Look", plan: "Callable[[Traced, SpanRecord], None]"
) -> None:
    """Progress, writes, retries, polling, and work without effect or result on record are no loop, in any number."""
    assert look(runs(traced, 30, plan)).of("p6") == []


def test_a_tool_that_was_seen_to_change_may_be_asked_again(traced: "type[Traced]", look: "Look") -> None:
    """Once one run has waited with success for another result, waiting in vain is no loop."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        turns(trace, root, [SAME, SAME, ("search", "q", "done" if trace.number == 1 else "nothing")])

    assert look(runs(traced, 30, plan)).of("p6") == []


@pytest.mark.parametrize("value", [7, "x" * 100_000, [1, 2], True, float("nan")])
def test_hostile_values_are_survived(traced: "type[Traced]", look: "Look", value: Any) -> None:
    """Hashes of a wrong type read as absent; a long text is compared as any other."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        turns(trace, root, [SAME] * 3)
        for span in trace.spans:
            span.attributes["antiphon.input.sha256"] = value

    found = look(runs(traced, 5, plan)).of("p6")
    assert bool(found) == isinstance(value, str)
