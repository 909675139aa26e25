"""P15 fires on branches whose results are hardly ever used, and on nothing else."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced

TEXT = {"antiphon.result.size": 400, "antiphon.result.fields": ["summary:360"]}


def runs(traced: "type[Traced]", count: int, plan: "Callable[[Traced, SpanRecord], object]") -> "list[Traced]":
    """``count`` runs of planner.plan, each 1 s, filled by ``plan``."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        plan(trace, trace.ask(None, "planner.plan", 0, 1_000))
        found.append(trace)
    return found


def branch(
    trace: "Traced", root: SpanRecord, target: str, start: float, end: float, *, tool: str | None = None, **kwargs: Any
) -> SpanRecord:
    """An ask whose handler calls a model for all its time (120 tokens) and gives back what that said."""
    done = trace.ask(root, target, start, end, causes=[], **kwargs)
    model = trace.model(done, start, end, content=f"{target}{trace.number}", causes=[])
    if tool is not None:
        trace.tool(done, "note", end - 1, end, effect=tool, content=f"{trace.number}")
    done.attributes |= {**TEXT, "antiphon.result.causes": [model.span_id.hex()]}
    return trace.publish_of(done)


def two(trace: "Traced", root: SpanRecord, *, used: bool = False, **kwargs: Any) -> SpanRecord:
    """A search of 600 ms that the result is made of, beside a survey of 900 ms."""
    search = branch(trace, root, "searcher.search", 50, 650)
    survey = branch(trace, root, "surveyor.survey", 50, 950, **kwargs)
    root.attributes["antiphon.result.causes"] = [s.span_id.hex() for s in ((search, survey) if used else (search,))]
    return survey


def test_an_unused_branch_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Without the survey a run takes 300 ms less, as the join waits for it, and 120 tokens and 0.9 s of the model."""
    finding = look(runs(traced, 25, two)).one("p15")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.subject == "ask surveyor.survey in planner.plan"
    saving = finding.saving
    assert saving is not None and saving.latency_s and saving.tokens and saving.model_s
    assert saving.latency_s.point == pytest.approx(0.3)
    assert saving.tokens.point == pytest.approx(120)
    assert saving.model_s.point == pytest.approx(0.9)


def test_a_branch_that_nobody_waited_for_is_proven(traced: "type[Traced]", look: "Look") -> None:
    """The third of three always comes after the quorum: it costs tokens, and no run is faster without it."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        root.attributes["antiphon.result.causes"] = []
        for letter, end in (("a", 500), ("b", 600), ("c", 990)):
            voted = branch(trace, root, "voter.vote", 50, end, antiphon__group="1", antiphon__path=f"1.{letter}.1")
            if letter == "c":
                voted.attributes["antiphon.result.consumed"] = False
        trace.tool(root, "publish", 600, 1_000, effect="write", content=f"{trace.number}")

    finding = look(runs(traced, 25, plan)).one("p15")
    assert finding.grade is Grade.A
    assert finding.subject == "ask voter.vote #3 in planner.plan"
    assert finding.saving is not None and finding.saving.latency_s and finding.saving.tokens
    assert finding.saving.latency_s.point == pytest.approx(0.0)
    assert finding.saving.tokens.point == pytest.approx(120)


def test_a_cancelled_loser_is_proven(traced: "type[Traced]", look: "Look") -> None:
    """An operation that was cancelled because its group had gone on failed for no fault of its own."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        two(trace, root, status=2).attributes["antiphon.result.consumed"] = False

    assert look(runs(traced, 25, plan)).one("p15").grade is Grade.A


def test_freed_slots_count_as_latency(traced: "type[Traced]", look: "Look") -> None:
    """The used call waited 400 ms for the only slot of the model, which the unused one had."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        pool: dict[str, Any] = {
            "antiphon__pool__id": "model:m@n1",
            "antiphon__pool__capacity": 1,
            "antiphon__pool__active": 1,
            "gen_ai__output__type": "text",
            "gen_ai__response__finish_reasons": ["stop"],
        }
        trace.model(root, 0, 400, content=f"a{trace.number}", model="n", causes=[], **pool)
        used = trace.model(root, 0, 1_000, content=f"b{trace.number}", causes=[], antiphon__model__queue_s=0.4, **pool)
        root.attributes["antiphon.result.causes"] = [used.span_id.hex()]

    finding = look(runs(traced, 25, plan)).one("p15")
    assert finding.subject == "model n in planner.plan"
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.4)


def test_fields_that_nothing_was_made_of_show_disuse(traced: "type[Traced]", look: "Look") -> None:
    """Where the fields' use was recorded, even a small result is known to be unused."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        survey = two(trace, root)
        handler = next(s for s in trace.spans if s.parent_id == survey.span_id)
        handler.attributes |= {"antiphon.result.size": 30, "antiphon.result.fields": None}
        root.attributes["antiphon.fields_read"] = [f"{survey.span_id.hex()}:"]

    assert look(runs(traced, 25, plan)).one("p15").grade is Grade.B


def test_few_results_say_nothing(traced: "type[Traced]", look: "Look") -> None:
    """19 results that were not used may be chance."""
    assert look(runs(traced, 19, two)).of("p15") == []


def _used_at_times(trace: "Traced", root: SpanRecord) -> None:
    """Used in every tenth run."""
    two(trace, root, used=trace.number % 10 == 1)


def _used_by_a_reached_call(trace: "Traced", root: SpanRecord) -> None:
    survey = branch(trace, root, "surveyor.survey", 50, 500)
    search = branch(trace, root, "searcher.search", 550, 950)
    search.attributes["antiphon.msg.causes"] = [survey.span_id.hex()]
    root.attributes["antiphon.result.causes"] = [search.span_id.hex()]


def _logged(trace: "Traced", root: SpanRecord) -> None:
    survey = two(trace, root)
    trace.tool(root, "audit", 950, 990, effect="write", causes=[survey.span_id.hex()])


def _published(trace: "Traced", root: SpanRecord) -> None:
    survey = two(trace, root)
    trace.add(
        root,
        "publish",
        950,
        951,
        kind=3,
        antiphon__operation="publish",
        antiphon__msg__causes=[survey.span_id.hex()],
    )


def _causes_missing_later(trace: "Traced", root: SpanRecord) -> None:
    """A write whose causes are not on record may have anything in it."""
    two(trace, root)
    trace.tool(root, "store", 960, 990, effect="write")


def _no_result_causes(trace: "Traced", root: SpanRecord) -> None:
    two(trace, root)
    del root.attributes["antiphon.result.causes"]


def _decides(trace: "Traced", root: SpanRecord) -> None:
    """The result shows no origin at all: it may be a decision."""
    two(trace, root)
    root.attributes["antiphon.result.causes"] = []


def _unknown_cause(trace: "Traced", root: SpanRecord) -> None:
    two(trace, root)
    root.attributes["antiphon.result.causes"] = ["lost"]


def _shown_in_chunks(trace: "Traced", root: SpanRecord) -> None:
    two(trace, root)
    root.attributes["antiphon.emit.count"] = 3


def _result(trace: "Traced", root: SpanRecord, **attributes: Any) -> None:
    survey = two(trace, root)
    handler = next(s for s in trace.spans if s.parent_id == survey.span_id)
    handler.attributes |= attributes


def _small_result(trace: "Traced", root: SpanRecord) -> None:
    _result(trace, root, **{"antiphon.result.size": 30, "antiphon.result.fields": None})


def _result_with_a_decision(trace: "Traced", root: SpanRecord) -> None:
    _result(trace, root, **{"antiphon.result.fields": ["reason:360", "approved:4"]})


def _field_read(trace: "Traced", root: SpanRecord) -> None:
    survey = two(trace, root)
    root.attributes["antiphon.fields_read"] = [f"{survey.span_id.hex()}:summary"]


def _model(trace: "Traced", root: SpanRecord, **kwargs: Any) -> None:
    two(trace, root, used=True)
    kwargs = {"gen_ai__output__type": "text", "gen_ai__response__finish_reasons": ["stop"], **kwargs}
    trace.model(root, 50, 950, content=f"{trace.number}", causes=[], **kwargs)


@pytest.mark.parametrize(
    "plan",
    [
        _used_at_times,
        _used_by_a_reached_call,
        _logged,
        _published,
        _causes_missing_later,
        _no_result_causes,
        _decides,
        _unknown_cause,
        _shown_in_chunks,
        _small_result,
        _result_with_a_decision,
        _field_read,
        lambda trace, root: two(trace, root, used=True),
        lambda trace, root: two(trace, root, tool="write"),
        lambda trace, root: two(trace, root, tool=""),
        lambda trace, root: two(trace, root, status=2),
        lambda trace, root: _model(trace, root, gen_ai__response__finish_reasons=["tool_calls"]),
        lambda trace, root: _model(trace, root, gen_ai__output__type="json"),
        lambda trace, root: _model(trace, root, output=3),
    ],
)
def test_decoys_are_left_alone(
    traced: "type[Traced]", look: "Look", plan: "Callable[[Traced, SpanRecord], object]"
) -> None:
    """Results that were used, logged, written or shown, that may decide, and branches that write are no waste."""
    assert look(runs(traced, 40, plan)).of("p15") == []


def test_more_branches_than_are_kept_are_missed(
    traced: "type[Traced]", look: "Look", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: with room for one branch, two in turn never have enough results."""
    monkeypatch.setattr("antiphon.agents.logging_agent.detectors.p15_unused_results._BRANCHES", 1)
    assert look(runs(traced, 40, two)).of("p15") == []


@pytest.mark.parametrize("value", [7, "x" * 100_000, [1, 2], True, float("nan"), ["", ":", "a:b:c"]])
def test_hostile_values_are_survived(traced: "type[Traced]", look: "Look", value: Any) -> None:
    """Evidence of a wrong type reads as missing, and then nothing is said."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        survey = two(trace, root)
        keys = ("msg.causes", "result.causes", "result.fields", "result.size", "fields_read", "group", "path")
        for span in (root, survey):
            span.attributes |= {f"antiphon.{key}": value for key in keys}

    assert look(runs(traced, 25, plan)).of("p15") == []
