"""A trace puts spans on one clock and knows what failed."""

from typing import TYPE_CHECKING

import pytest

from antiphon.runtime.whatif.trace import Trace, build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

MS = 1_000_000


def closed(trace: "Traced") -> Trace:
    """The trace of all spans."""
    found = build([(span, trace.nodes[span.span_id]) for span in trace.spans])
    assert found is not None
    return found


@pytest.mark.parametrize("skew_ms", [-50.0, -5.0, 5.0, 50.0])
def test_a_skewed_child_is_shifted_into_its_call(traced: "type[Traced]", skew_ms: float) -> None:
    """A handler and what lies below keep their durations and lie inside the call they answer."""
    trace = traced(1)
    root = trace.ask(None, "a.b", 0, 1_000, node="n1")
    skewed = trace.ask(root, "c.d", 200, 600, node="n2", skew_ms=skew_ms)
    call = trace.model(skewed, 300 + skew_ms, 400 + skew_ms)
    trace.nodes[call.span_id] = "n2"
    steps = closed(trace).steps
    publish, process, model = steps[2], steps[3], steps[4]
    assert publish.start_ns <= process.start_ns <= process.end_ns <= publish.end_ns
    assert process.duration_ns == 400 * MS
    assert model.duration_ns == 100 * MS
    assert model.start_ns - process.start_ns == 100 * MS


def test_a_child_longer_than_its_call_is_clamped(traced: "type[Traced]") -> None:
    """Where shifting cannot help, the child is cut to its parent."""
    trace = traced(1)
    process = trace.ask(None, "a.b", 0, 1_000)
    process.start_ns -= 100 * MS
    process.end_ns += 100 * MS
    steps = closed(trace).steps
    assert (steps[1].start_ns, steps[1].end_ns) == (steps[0].start_ns, steps[0].end_ns)


def test_work_after_a_submit_is_not_clamped(traced: "type[Traced]") -> None:
    """Nobody waits for a submitted task: it may end long after the span that sent it."""
    trace = traced(1)
    process = trace.ask(None, "a.b", 0, 1_000, operation="submit")
    trace.publish_of(process).end_ns = trace.at_ns + 5 * MS
    found = closed(trace)
    assert found.steps[1].duration_ns == 1_000 * MS
    assert found.latency_ns == 1_000 * MS


@pytest.mark.parametrize("stated", [True, False])
def test_a_task_ends_with_the_attempt_that_ended_it(traced: "type[Traced]", stated: bool) -> None:
    """The first failed after a second and the second was fine after five: the run took five, and did not fail.

    What else was waked by the same message is another matter.
    """
    trace = traced(1)
    first = trace.ask(None, "a.b", 0, 1_000, operation="submit", status=2)
    first.attributes["antiphon.task"] = "t"
    sent = trace.publish_of(first)
    sent.end_ns, sent.status = trace.at_ns + 5 * MS, 0
    for start, end, attempt, task in ((1_500, 5_000, 2, "t"), (6_000, 9_000, 1, "u")):
        state = "succeeded" if stated and attempt == 2 else None
        trace.add(
            sent, "process", start, end, kind=4,
            antiphon__task=task, antiphon__attempt=attempt, antiphon__state=state,
        )  # fmt: skip
    found = closed(trace)
    assert found.latency_ns == 5_000 * MS
    assert found.steps[found.finish].span.status == 0


def test_failure_excludes_what_lies_below(traced: "type[Traced]") -> None:
    """What a failed or repeated attempt did is left out; its siblings stay."""
    trace = traced(1)
    root = trace.ask(None, "a.b", 0, 1_000)
    trace.model(trace.ask(root, "c.d", 100, 300, status=2), 100, 200)
    trace.model(trace.ask(root, "c.d", 300, 500, attempt=2), 300, 400)
    trace.model(trace.ask(root, "c.d", 500, 700), 500, 600)
    assert [s.excluded for s in closed(trace).steps] == [False] * 2 + [True] * 3 + [False, True, True] + [False] * 3


def test_a_parent_cycle_is_left_out(traced: "type[Traced]") -> None:
    """Spans that are each other's parents hang on no root."""
    trace = traced(1)
    first = trace.add(None, "a", 0, 1)
    second = trace.add(first, "b", 0, 1)
    assert len(closed(trace).steps) == 2
    first.parent_id = second.span_id
    assert build([(span, "n") for span in trace.spans]) is None


def test_values_of_the_wrong_type_read_as_absent(traced: "type[Traced]") -> None:
    """Spans of other writers do not break the reader."""
    trace = traced(1)
    process = trace.ask(None, "a.b", 0, 1_000)
    for key in list(process.attributes):
        process.attributes[key] = float("nan")
    found = closed(trace)
    assert found.label == "?.?"
    assert found.run == trace.trace_id.hex()
