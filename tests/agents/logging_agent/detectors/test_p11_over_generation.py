"""P11 fires where most of what a model writes is never read, and nowhere else."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p11_over_generation import OverGeneration
from antiphon.schemas.finding import FindingState, Grade, QualityRisk

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents.logging_agent.conftest import Look

    from antiphon.agents.logging_agent.detectors.base import Observed
    from antiphon.runtime.whatif.testing import Traced

FIELDS = ["verdict:100", "essay:900"]


def runs(
    traced: "type[Traced]",
    *,
    count: int = 24,
    read: "Callable[[int], str | None]" = lambda number: "verdict",
    fields: list[str] | None = FIELDS,
    calls: int = 1,
    **model: Any,
) -> "list[Traced]":
    """Runs in which a judge's model writes 200 tokens in 1 s of decoding after 0.2 s, and a clerk reads the reply."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        root = trace.ask(None, "clerk.rule", 0, 1_500)
        judge = trace.ask(root, "judge.judge", 100, 1_400)
        timed = {"antiphon.model.prefill_s": 0.2, "antiphon.model.decode_s": 1.0, **model}
        texts = [trace.model(judge, 150 + 1_200 * i, 1_350, output=200, **timed) for i in range(calls)]
        if fields is not None:
            judge.attributes["antiphon.result.fields"] = fields
        judge.attributes["antiphon.result.causes"] = [text.span_id.hex() for text in texts]
        names = read(number)
        if names is not None:
            asked = trace.publish_of(judge).span_id.hex()
            root.attributes["antiphon.fields_read"] = [f"{asked}:{names}"]
        found.append(trace)
    return found


def test_a_reply_of_which_one_field_is_read_is_found(traced: "type[Traced]", look: "Look") -> None:
    """100 of 1,000 bytes are read: 20 of 200 tokens would do, and 90 % of 1 s of decoding is saved."""
    finding = look(runs(traced)).one("p11")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.quality_risk is QualityRisk.NEEDS_EVALUATION
    assert (finding.subject, finding.required, finding.support_unit) == ("judge.judge", 20, "replies")
    assert finding.remedy.proposal is None
    assert "clerk.rule uses at most 10%" in finding.remedy.text
    assert finding.saving is not None and finding.saving.latency_s is not None and finding.saving.tokens is not None
    assert finding.saving.latency_s.point == pytest.approx(0.9)
    assert finding.saving.tokens.point == pytest.approx(180)


def test_a_sample_of_the_runs_speaks_for_all(traced: "type[Traced]", look: "Look") -> None:
    """Fields are watched in some runs only; what they teach is estimated over all of them."""
    finding = look(runs(traced, count=50, read=lambda number: "verdict" if number % 2 else None)).one("p11")
    assert (finding.state, finding.support) == (FindingState.OPEN, 25)
    assert finding.prevalence == pytest.approx(1.0, abs=0.05)


def test_nineteen_replies_are_a_candidate(traced: "type[Traced]", look: "Look") -> None:
    """Below twenty replies nothing is claimed."""
    finding = look(runs(traced, count=19)).one("p11")
    assert (finding.state, finding.saving) == (FindingState.CANDIDATE, None)


def test_a_field_that_is_read_now_and_then_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """One reply in ten is read whole: the 95th percentile is the whole reply."""
    found = look(runs(traced, count=40, read=lambda number: "verdict,essay" if number % 10 == 1 else "verdict"))
    assert all(finding.state is FindingState.CANDIDATE for finding in found.of("p11"))


def test_what_was_said_is_taken_back(traced: "type[Traced]", look: "Look") -> None:
    """A consumer that begins to read the rest makes a candidate of the finding again."""
    finding = look(runs(traced, count=40, read=lambda n: "verdict" if n <= 24 else "verdict,essay")).one("p11")
    assert (finding.state, finding.saving) == (FindingState.CANDIDATE, None)


@pytest.mark.parametrize("names", ["verdict,essay", "essay", "", "unknown"])
def test_replies_that_are_read_are_left_alone(traced: "type[Traced]", look: "Look", names: str) -> None:
    """Most of it is read; or nothing, which is another pattern."""
    assert look(runs(traced, read=lambda number: names)).of("p11") == []


@pytest.mark.parametrize("fields", [None, [], ["verdict:x"], ["verdict"], ["a:1"] * 1_000, ["essay:9" + "9" * 40]])
def test_without_sizes_nothing_is_said(traced: "type[Traced]", look: "Look", fields: list[str] | None) -> None:
    """Absent, and hostile in several ways."""
    assert look(runs(traced, fields=fields)).of("p11") == []


@pytest.mark.parametrize("read", [7, ["nonsense"], [":", "::"], "verdict"])
def test_hostile_reads_are_left_alone(traced: "type[Traced]", look: "Look", read: Any) -> None:
    """What is no list of reads is no evidence."""
    found = runs(traced)
    for trace in found:
        trace.spans[1].attributes["antiphon.fields_read"] = read
    assert look(found).of("p11") == []


def test_a_reply_of_two_model_calls_has_no_one_author(traced: "type[Traced]", look: "Look") -> None:
    """Which of them wrote the unread part cannot be told."""
    assert look(runs(traced, calls=2)).of("p11") == []


def test_without_times_only_tokens_are_claimed(traced: "type[Traced]", look: "Look") -> None:
    """The part of the decoding in the whole is unknown, and all calls are alike: no law, no seconds."""
    times: dict[str, Any] = {"antiphon.model.prefill_s": None, "antiphon.model.decode_s": None}
    finding = look(runs(traced, **times)).one("p11")
    assert finding.saving is not None and finding.saving.tokens is not None
    assert finding.saving.latency_s is None


def first_lines(traced: "type[Traced]", **result: Any) -> "list[Traced]":
    """Runs of one handler that returns 80 bytes of a text of 800, or 200 tokens."""
    found = []
    for number in range(1, 25):
        trace = traced(number)
        root = trace.ask(None, "clerk.title", 0, 1_300)
        text = trace.model(root, 0, 1_200, output=200, gen_ai__response__time_to_first_chunk=0.2)
        text.attributes["antiphon.result.size"] = 800
        said = {"antiphon.result.causes": [text.span_id.hex()], "antiphon.result.size": 80, **result}
        root.attributes.update(said)
        found.append(trace)
    return found


def test_a_handler_that_returns_the_first_line_is_found(traced: "type[Traced]", look: "Look") -> None:
    """A tenth is returned of 200 tokens that took 1 s after the first chunk."""
    finding = look(first_lines(traced)).one("p11")
    assert finding.subject == "clerk.title"
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.9)


@pytest.mark.parametrize(
    "result",
    [
        {"antiphon.result.size": 1_000},
        {"antiphon.result.size": None},
        {"antiphon.result.causes": []},
        {"antiphon.emit.count": 12},
    ],
)
def test_texts_that_are_used_or_shown_are_left_alone(
    traced: "type[Traced]", look: "Look", result: dict[str, Any]
) -> None:
    """The result is as long as the text, of unknown length, not made of it, or the text was shown as it came."""
    assert look(first_lines(traced, **result)).of("p11") == []


def test_a_text_that_is_worked_with_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Something happens after the text: a plan, for example, steers in ways that leave no trace."""
    found = first_lines(traced)
    for trace in found:
        trace.tool(trace.spans[1], "act", 1_210, 1_250, causes=[])
    assert look(found).of("p11") == []


def test_calls_at_their_limit_are_mentioned(traced: "type[Traced]", look: "Look") -> None:
    """A text that is cut off is worth knowing of."""
    finding = look(runs(traced, gen_ai__response__finish_reasons=["length"])).one("p11")
    assert "100% of the calls end at their limit" in finding.remedy.text


def test_its_memory_is_bounded(traced: "type[Traced]", observed: "Callable[[Traced], Observed]") -> None:
    """Hundreds of handlers leave no more than a fixed number of entries."""
    detector = OverGeneration(random.Random(1))
    for number in range(1, 400):
        trace = traced(number)
        root = trace.ask(None, f"clerk.title{number}", 0, 1_300)
        text = trace.model(root, 0, 1_200, output=200, antiphon__result__size=800)
        root.attributes.update({"antiphon.result.causes": [text.span_id.hex()], "antiphon.result.size": 60})
        detector.trace(observed(trace))
    assert len(detector._sites) == len(detector._shown) == 256
