"""P10 fires where prompts carry what is never of use, and nowhere else."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p10_dead_context import DeadContext
from antiphon.schemas.finding import FindingState, Grade, QualityRisk

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents.logging_agent.conftest import Look
    from tests.agents.logging_agent.detectors.conftest import Nested

    from antiphon.agents.logging_agent.detectors.base import Observed
    from antiphon.runtime.whatif.testing import Traced

OFFERED = ["search:400", "refund:1600"]


def runs(
    traced: "type[Traced]",
    *,
    count: int = 24,
    calls: "Callable[[int], tuple[str, ...]]" = lambda number: ("search",),
    offered: Any = OFFERED,
    cached: int | None = None,
    status: int = 0,
    operation: str = "tool",
    **model: Any,
) -> "list[Traced]":
    """Runs of a model that is offered two tools of 2,000 bytes beside a prompt of 2,000, together about 1,000 tokens.

    Prefill takes 1 ms for each token that is not cached, and decoding 0.2 s.
    """
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        tokens = 1_000 + 100 * (number % 5)
        prefill_ms = tokens - (cached or 0)
        end_ms = prefill_ms + 200
        root = trace.ask(None, "support.help", 0, end_ms + 100)
        said = {
            "gen_ai.response.finish_reasons": ["tool_calls" if calls(number) else "stop"],
            "gen_ai.usage.cache_read.input_tokens": cached,
            "antiphon.prompt.segments": [f"system:{4 * tokens - 2_000}:a"],
            "antiphon.prompt.tools": offered,
            "antiphon.model.prefill_s": prefill_ms / 1_000,
            "antiphon.model.decode_s": 0.2,
            **model,
        }
        trace.model(root, 0, end_ms, tokens=tokens, causes=[], **said)
        for name in calls(number):
            if operation == "tool":
                trace.tool(root, name, end_ms, end_ms + 20, causes=[], status=status)
            else:
                trace.ask(root, name, end_ms, end_ms + 20, causes=[])
        found.append(trace)
    return found


def test_a_tool_that_is_never_called_is_found(traced: "type[Traced]", look: "Look") -> None:
    """1,600 bytes are 400 tokens, and 0.4 s of prefill at 1 ms a token."""
    finding = look(runs(traced)).one("p10")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.quality_risk is QualityRisk.LOW
    assert (finding.subject, finding.required, finding.support_unit) == ("support.help", 20, "traces")
    assert "refund" in finding.remedy.text and "search" not in finding.remedy.text
    assert "20 traces (so at most 15.0% of runs do)" in finding.remedy.text
    assert finding.saving is not None and finding.saving.tokens is not None and finding.saving.latency_s is not None
    assert finding.saving.tokens.point == pytest.approx(400)
    assert finding.saving.latency_s.point == pytest.approx(0.4, rel=0.01)


def test_cached_tokens_count_little(traced: "type[Traced]", look: "Look") -> None:
    """Half of about 1,200 tokens is cached: half of 400 at the full price and half at a tenth."""
    finding = look(runs(traced, cached=600)).one("p10")
    assert finding.saving is not None and finding.saving.tokens is not None and finding.saving.latency_s is not None
    assert finding.saving.tokens.point == pytest.approx(400 * (0.5 + 0.05), rel=0.03)
    assert finding.saving.latency_s.point == pytest.approx(0.2, rel=0.05)


def test_a_cached_prompt_costs_no_time(traced: "type[Traced]", look: "Look") -> None:
    """Where all is cached, only the low price of the tokens is left."""
    found = runs(traced)
    for trace in found:
        trace.spans[2].attributes["gen_ai.usage.cache_read.input_tokens"] = 10_000
    finding = look(found).one("p10")
    assert finding.saving is not None and finding.saving.tokens is not None
    assert finding.saving.tokens.point == pytest.approx(40)
    assert finding.saving.latency_s is None or finding.saving.latency_s.point == 0


def test_nineteen_traces_are_a_candidate(traced: "type[Traced]", look: "Look") -> None:
    """Below twenty traces nothing is claimed."""
    finding = look(runs(traced, count=19)).one("p10")
    assert (finding.state, finding.saving, finding.support) == (FindingState.CANDIDATE, None, 19)


def test_many_executions_in_few_runs_are_few_traces(traced: "type[Traced]", look: "Look", nested: "Nested") -> None:
    """Six runs of four executions each bound a tool's use by 50 % of runs, not by 12.5 %; so for results."""
    for made, subject in ((runs(traced), "support.help"), (read(traced), "tool manual in support.help")):
        finding = next(f for f in look(nested(made, 4)).of("p10") if f.subject == subject)
        assert (finding.state, finding.support) == (FindingState.CANDIDATE, 6)


def test_three_runs_of_another_workflow_are_a_candidate(traced: "type[Traced]", look: "Look") -> None:
    """The handler is known to call nothing, but three runs say little of what their workflow would save."""
    found = look(runs(traced, count=27, calls=lambda n: ("search",) if n <= 24 else ("search", "audit"))).of("p10")
    assert sorted(finding.state for finding in found) == [FindingState.CANDIDATE, FindingState.OPEN]


@pytest.mark.parametrize("every", [2, 8, 19])
def test_a_rare_tool_is_left_alone(traced: "type[Traced]", look: "Look", every: int) -> None:
    """A tool that is called now and then is not dead, however long the pause after a call."""
    found = look(runs(traced, count=60, calls=lambda n: ("search", "refund") if n % every == 1 else ("search",)))
    assert all(finding.state is FindingState.CANDIDATE for finding in found.of("p10"))


def test_what_was_said_is_taken_back(traced: "type[Traced]", look: "Look") -> None:
    """The first call after a finding makes a candidate of it."""
    finding = look(runs(traced, count=40, calls=lambda n: ("search", "refund") if n == 30 else ("search",))).one("p10")
    assert (finding.state, finding.saving) == (FindingState.CANDIDATE, None)


def test_a_failed_call_is_a_call(traced: "type[Traced]", look: "Look") -> None:
    """The tool is wanted, whatever it does."""
    assert look(runs(traced, calls=lambda n: ("search", "refund"), status=2)).of("p10") == []


def test_a_tool_that_is_a_peer_is_seen(traced: "type[Traced]", look: "Look") -> None:
    """What models call tools may be asks of other agents."""
    assert look(runs(traced, calls=lambda n: ("search.run", "refund.run"), operation="ask")).of("p10") == []


def test_tools_that_are_called_off_the_record_are_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """The model asks for tools and no call of any is seen: the handler does it itself."""
    found = runs(traced)
    for trace in found:
        trace.spans.pop()
    assert look(found).of("p10") == []


def test_a_tool_that_is_seldom_offered_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """It is loaded on demand already."""
    found = runs(traced, count=40)
    for number, trace in enumerate(found):
        trace.spans[2].attributes["antiphon.prompt.tools"] = OFFERED if number % 4 == 0 else OFFERED[:1]
    assert all(finding.state is FindingState.CANDIDATE for finding in look(found).of("p10"))


@pytest.mark.parametrize("offered", [None, [], 7, ["refund"], ["refund:-1"], [f"t{i}:9" for i in range(9_999)]])
def test_without_tools_nothing_is_said(traced: "type[Traced]", look: "Look", offered: Any) -> None:
    """Absent, and hostile in several ways."""
    assert look(runs(traced, offered=offered)).of("p10") == []


def read(traced: "type[Traced]", *, cited: tuple[str, ...] = ("ticket",), **result: Any) -> "list[Traced]":
    """Runs that look up a manual of 2,000 bytes and a ticket of 400, and prompt a model with both and a question."""
    found = []
    for number in range(1, 25):
        trace = traced(number)
        tokens = 1_000 + 100 * (number % 5)
        root = trace.ask(None, "support.help", 0, tokens + 300)
        found_in = {"manual": trace.tool(root, "manual", 0, 50, causes=[]),
                    "ticket": trace.tool(root, "ticket", 0, 50, causes=[])}  # fmt: skip
        found_in["manual"].attributes["antiphon.result.size"] = 2_000
        found_in["ticket"].attributes["antiphon.result.size"] = 400
        sources = [page.span_id.hex() for page in found_in.values()]
        said: dict[str, Any] = {
            "antiphon.prompt.segments": [f"user:{4 * tokens}:a"],
            "antiphon.model.prefill_s": tokens / 1_000,
            "antiphon.model.decode_s": 0.2,
        }
        text = trace.model(root, 60, 260 + tokens, tokens=tokens, causes=sources, **said)
        quoted = [text.span_id.hex(), *(found_in[name].span_id.hex() for name in cited)]
        root.attributes.update({"antiphon.result.causes": quoted, **result})
        found.append(trace)
    return found


def test_a_document_without_a_trace_in_the_result_is_advice(traced: "type[Traced]", look: "Look") -> None:
    """2,000 bytes are 500 tokens and 0.5 s; that nothing cites them is no proof."""
    finding = look(read(traced)).one("p10")
    assert finding.grade is Grade.C
    assert finding.quality_risk is QualityRisk.NEEDS_EVALUATION
    assert finding.subject == "tool manual in support.help"
    assert finding.saving is not None and finding.saving.tokens is not None and finding.saving.latency_s is not None
    assert finding.saving.tokens.point == pytest.approx(500)
    assert finding.saving.latency_s.point == pytest.approx(0.5, rel=0.01)


@pytest.mark.parametrize("cited", [("manual", "ticket"), ()])
def test_a_document_that_is_cited_is_left_alone(traced: "type[Traced]", look: "Look", cited: tuple[str, ...]) -> None:
    """Words of it are in the result; or of none of the results is a word there, because the model paraphrases."""
    assert look(read(traced, cited=cited)).of("p10") == []


@pytest.mark.parametrize("result", [{"antiphon.result.causes": None}, {"antiphon.emit.count": 3}])
def test_without_a_record_of_the_result_nothing_is_said(
    traced: "type[Traced]", look: "Look", result: dict[str, Any]
) -> None:
    """What the result is made of is unknown, or part of it was shown on the way."""
    assert look(read(traced, **result)).of("p10") == []


def test_its_memory_is_bounded(traced: "type[Traced]", observed: "Callable[[Traced], Observed]") -> None:
    """Hundreds of handlers, or of tools, leave no more than a fixed number of entries."""
    detector = DeadContext(random.Random(1))
    for number in range(1, 400):
        trace = traced(number)
        root = trace.ask(None, f"support.help{max(number - 100, 0)}", 0, 100)
        trace.model(root, 0, 50, antiphon__prompt__tools=[f"t{number}-{i}:9" for i in range(9)])
        detector.trace(observed(trace))
        assert all(len(known.carried) <= 256 for known in detector._handlers._known.values())
    assert len(detector._handlers) == len(detector._shown) == 256
