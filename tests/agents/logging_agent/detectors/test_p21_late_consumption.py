"""P21 fires where a text is passed on only when it is complete, and nowhere else."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p21_late_consumption import LateConsumption
from antiphon.schemas.finding import FindingState, Grade

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.agents.logging_agent.conftest import Look

    from antiphon.agents.logging_agent.detectors.base import Observed
    from antiphon.runtime.whatif.testing import Traced


def runs(
    traced: "type[Traced]",
    *,
    count: int = 8,
    gap_ms: float = 0,
    consumer: dict[str, Any] | None = None,
    cause: bool = True,
    **model: Any,
) -> "list[Traced]":
    """Runs of a model that writes from 0 to 1,000 ms, first chunk at 200, and a tool that takes its text for 500."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        root = trace.ask(None, "clerk.tell", 0, 1_500 + gap_ms)
        said = {"causes": [], "gen_ai.response.time_to_first_chunk": 0.2, **model}
        text = trace.model(root, 0, 1_000, **said)
        at_ms = 1_000 + gap_ms
        causes = [text.span_id.hex()] if cause else []
        trace.tool(root, "speak", at_ms, at_ms + 500, causes=causes, **(consumer or {}))
        found.append(trace)
    return found


def test_a_text_that_is_passed_on_when_complete_is_found(traced: "type[Traced]", look: "Look") -> None:
    """From the first chunk at 200 ms the consumer would be done when the text is: 500 ms saved. In two halves it takes
    the second when the text is complete, until 1,250: 250 ms saved. The point lies midway."""
    finding = look(runs(traced)).one("p21")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.C
    assert finding.subject == "clerk.tell"
    assert finding.remedy.proposal is None
    assert "tool speak takes the text of model m" in finding.remedy.text
    assert "0.8 s after its first chunk" in finding.remedy.text
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.375)
    assert finding.saving.latency_s.low == pytest.approx(0.25 * 0.93, rel=0.02)
    assert finding.saving.latency_s.high == pytest.approx(0.5 * 1.07, rel=0.02)


def peers(traced: "type[Traced]", *, fields: list[str] | None, skew_ms: float = 0) -> "list[Traced]":
    """Runs of a peer that shows its text from 200 ms on, and a second one that takes it."""
    found = []
    for number in range(1, 9):
        trace = traced(number)
        root = trace.ask(None, "clerk.tell", 0, 1_500)
        first = trace.ask(root, "writer.write", 0, 1_000, causes=[], node="n2", skew_ms=skew_ms)
        first.attributes["antiphon.emit.first_ns"] = trace.at_ns + int((200 + skew_ms) * 1_000_000)
        first.attributes["antiphon.emit.count"] = 10
        if fields is not None:
            first.attributes["antiphon.result.fields"] = fields
        source = trace.publish_of(first).span_id.hex()
        trace.ask(root, "reader.read", 1_000, 1_500, causes=[source])
        found.append(trace)
    return found


@pytest.mark.parametrize("fields", [None, ["text:950", "title:50"]])
def test_a_peer_that_shows_its_text_is_found(traced: "type[Traced]", look: "Look", fields: list[str] | None) -> None:
    """What a handler emits counts from its first chunk, also where its clock is off."""
    finding = look(peers(traced, fields=fields, skew_ms=40)).one("p21")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.375, abs=0.03)


def test_a_typed_reply_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Of several fields nobody knows when each was complete."""
    assert look(peers(traced, fields=["text:500", "verdict:500"])).of("p21") == []


def test_json_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """What is parsed as a whole is needed as a whole."""
    assert look(runs(traced, gen_ai__output__type="json")).of("p21") == []


def test_a_model_that_needs_its_whole_prompt_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """A model cannot begin with half of its prompt."""
    found = runs(traced)
    for trace in found:
        tool = trace.spans.pop()
        trace.model(trace.spans[1], 1_000, 1_500, causes=tool.attributes["antiphon.msg.causes"])
    assert look(found).of("p21") == []


def test_a_consumer_that_writes_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """A text whose rest fails would have been half written."""
    assert look(runs(traced, consumer={"effect": "write"})).of("p21") == []


def test_a_step_without_the_text_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """The tool comes after the text and does not take it."""
    assert look(runs(traced, cause=False)).of("p21") == []


def test_inferred_causes_are_no_evidence(traced: "type[Traced]", look: "Look") -> None:
    """An edge that the runtime assumed says nothing."""
    assert look(runs(traced, consumer={"antiphon.msg.causes_inferred": True})).of("p21") == []


def test_thinking_before_the_consumer_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Something happened between the text and its use."""
    assert look(runs(traced, gap_ms=200)).of("p21") == []


def test_a_text_that_comes_at_once_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """The first chunk is nearly the last."""
    late: dict[str, Any] = {"gen_ai.response.time_to_first_chunk": 0.98}
    assert look(runs(traced, **late)).of("p21") == []


@pytest.mark.parametrize("first", [None, "0.2", -1, float("nan"), 1e300, True])
def test_without_a_first_chunk_nothing_is_said(traced: "type[Traced]", look: "Look", first: object) -> None:
    """Absent, and hostile in every type."""
    said: dict[str, Any] = {"gen_ai.response.time_to_first_chunk": first}
    assert look(runs(traced, **said)).of("p21") == []


def test_what_else_the_consumer_needs_bounds_its_start(traced: "type[Traced]", look: "Look") -> None:
    """A read that ends at 900 ms is in its input too, so the text is early by 100 ms at most."""
    found = runs(traced)
    for trace in found:
        other = trace.tool(trace.spans[1], "fetch", 0, 900, causes=[])
        trace.spans[3].attributes["antiphon.msg.causes"].append(other.span_id.hex())
    finding = look(found).one("p21")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.075)


def test_a_producer_that_often_fails_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """What the consumer did with the first half would be lost."""
    found = runs(traced, count=10)
    for trace in found[:2]:
        trace.spans[2].status = 2
    assert look(found).of("p21") == []


def test_its_memory_is_bounded(traced: "type[Traced]", observed: "Callable[[Traced], Observed]") -> None:
    """Hundreds of handlers leave no more than a fixed number of entries."""
    detector = LateConsumption(random.Random(1))
    for number in range(1, 700):
        trace = traced(number)
        root = trace.ask(None, f"clerk.tell{number}", 0, 1_500)
        text = trace.model(root, 0, 1_000, gen_ai__response__time_to_first_chunk=0.2)
        trace.tool(root, "speak", 1_000, 1_500, causes=[text.span_id.hex()])
        detector.trace(observed(trace))
    assert len(detector._calls) == len(detector._shown) == 512
