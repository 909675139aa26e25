"""Two runs side by side: totals, critical paths and results, on traces as the runtime writes them."""

from typing import Any

import pytest

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.replay.critical import critical_path
from antiphon.runtime.replay.difference import difference
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif.testing import Traced
from antiphon.runtime.whatif.trace import build


def run(number: int, *, model_ms: float = 100.0, word: str = "a", swapped: bool = False, more: bool = False) -> Traced:
    """A handler with a tool beside a longer model call, then a short tool: 40 + (model_ms) + 20 ms."""
    trace = Traced(number, run=f"run-{number}")
    end = 60 + model_ms
    facts: dict[str, Any] = {attr.RESULT_HASH: word}
    top = trace.ask(None, "desk.answer", 0, end, **facts)
    said: dict[str, Any] = {attr.PATH: "1.b.1", attr.GENAI_OUTPUT_MESSAGES: word}
    begins = (45.0, 40.0) if swapped else (40.0, 45.0)
    trace.tool(top, "slow", begins[0], 90, content="t", **{attr.PATH: "1.a.1"})
    trace.model(top, begins[1], 40 + model_ms, content=word, **said)
    trace.tool(top, "short", 40 + model_ms, 60 + model_ms, content="s", **{attr.PATH: "2"})
    if more:
        trace.tool(top, "extra", 1, 5, **{attr.PATH: "3"})
    return trace


def test_equal_runs_do_not_differ() -> None:
    """Whichever branch of the gather began first."""
    found = difference(run(1).spans, run(2, swapped=True).spans)
    assert [(row.label, row.same) for row in found.rows if row.depth == 2] == [
        ("tool slow", True),
        ("model m", True),
        ("tool short", True),
    ]
    assert found.left.latency_s == found.right.latency_s == pytest.approx(0.16)
    assert found.left.cost.tokens == found.right.cost.tokens == 120


def test_a_slower_model_and_another_answer_are_shown() -> None:
    """On the critical path by its label, and with what both said."""
    found = difference(run(1).spans, run(2, model_ms=200, word="b").spans)
    assert found.right.latency_s - found.left.latency_s == pytest.approx(0.1)
    change = {label: found.right.critical_s[label] - found.left.critical_s[label] for label in found.left.critical_s}
    assert change["model m"] == pytest.approx(0.1)
    assert sum(change.values()) == pytest.approx(0.1)
    (row,) = [row for row in found.rows if row.label == "model m"]
    assert (row.same, row.said, row.left_tokens) == (False, ("a", "b"), 120)


def test_long_replies_are_shown_where_they_part() -> None:
    """With what leads to it, and cut after it; equal beginnings do not hide the difference."""
    left, right = "same " * 200 + "yes" + "." * 1_000, "same " * 200 + "no" + "." * 1_000
    rows = difference(run(1, word=left).spans, run(2, word=right).spans).rows
    (said,) = [row.said for row in rows if row.label == "model m"]
    assert said is not None
    assert [text[:1] + text[81:85] for text in said] == ["…yes.", "…no.."] and {len(text) for text in said} == {401}


def test_work_that_one_run_lacks_has_no_partner() -> None:
    """It says on which side it is."""
    rows = difference(run(1).spans, run(2, more=True).spans).rows
    assert [(row.label, row.left_s, row.same) for row in rows if row.left_s is None] == [("tool extra", None, None)]


def test_the_critical_path_is_what_the_end_waited_for() -> None:
    """By hand: 40 ms own time, then the model from 45 to 140, the short tool, and never the tool beside the model."""
    trace = build([(span, "n1") for span in run(1).spans])
    assert trace is not None
    found = critical_path(trace)
    ms = {label: ns / 1e6 for label, ns in found.items()}
    assert ms == {"model m": 95, "tool short": 20, "desk.answer": 45}
    assert sum(found.values()) == trace.latency_ns


def test_a_run_without_spans_is_refused() -> None:
    """With the reason."""
    with pytest.raises(Unanswerable, match="without spans"):
        difference([], run(1).spans)
