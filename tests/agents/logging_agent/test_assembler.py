"""The assembler gives one trace whatever the order, and stays within its limits."""

from dataclasses import replace
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.agents.logging_agent.assembler import Limits, TraceAssembler
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

S = 1_000_000_000


def example(traced: "type[Traced]", number: int = 1) -> "Traced":
    """A run with two calls, a model and a tool."""
    trace = traced(number)
    root = trace.ask(None, "planner.plan", 0, 1_000)
    first = trace.ask(root, "writer.write", 100, 400)
    trace.model(first, 150, 350)
    trace.tool(trace.ask(root, "critic.review", 400, 800, node="n2", skew_ms=30), "look", 450, 500)
    return trace


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_order_and_repeats_do_not_matter(data: st.DataObject) -> None:
    """Any permutation with any repeats, start records included, gives the same trace."""
    spans = _plain_spans()
    everything = spans + [replace(span, end_ns=0) for span in spans]
    order = data.draw(st.permutations(everything))
    again = data.draw(st.lists(st.sampled_from(everything), max_size=10))
    reference, shuffled = TraceAssembler(), TraceAssembler()
    for span in spans:
        reference.add(span, "n", 0)
    for span in [*order, *again]:
        shuffled.add(span, "n", 0)
    assert reference.close(100 * S) == shuffled.close(100 * S)


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 30), st.integers(0, 30), st.integers(0, 3)),
        max_size=200,
    )
)
@settings(max_examples=60, deadline=None)
def test_limits_hold_for_any_input(rows: list[tuple[int, int, int, int]]) -> None:
    """Whatever comes, missing parents and parent cycles included, the counts stay within the limits."""
    limits = Limits(traces=4, spans=40, spans_per_trace=15)
    assembler = TraceAssembler(limits)
    for trace, span, parent, end in rows:
        assembler.add(
            SpanRecord(
                trace_id=bytes([trace]) * 16,
                span_id=bytes([span]) * 8,
                parent_id=bytes([parent]) * 8,
                name="x",
                start_ns=span,
                end_ns=end and span + end,
            ),
            "n",
            0,
        )
        assert assembler.open_traces <= 4
        assert assembler.open_spans <= 40
    for found in assembler.close(10_000 * S):
        assert len(found.steps) <= 15
    assert assembler.open_spans == 0


def _plain_spans() -> list[SpanRecord]:
    parents = {1: None, 2: 1, 3: 2, 4: 2, 5: 3, 6: 9}  # 6: its parent was lost
    return [
        SpanRecord(
            trace_id=b"t" * 16,
            span_id=bytes([number]) * 8,
            parent_id=None if parent is None else bytes([parent]) * 8,
            name=f"s{number}",
            start_ns=10 * number,
            end_ns=1_000 - number,
        )
        for number, parent in parents.items()
    ]


def test_a_complete_trace_closes_after_the_grace(traced: "type[Traced]") -> None:
    """Two seconds after the last span, not before."""
    assembler = TraceAssembler()
    for span in example(traced).spans:
        assembler.add(span, "n", 0)
    assert assembler.close(1 * S) == []
    assert len(assembler.close(2 * S)) == 1
    assert assembler.open_traces == 0


def test_an_incomplete_trace_waits_for_the_idle_timeout(traced: "type[Traced]") -> None:
    """Without its root a trace may still grow: it closes after 30 silent seconds."""
    assembler = TraceAssembler()
    for span in example(traced).spans[1:]:
        assembler.add(span, "n", 0)
    assert assembler.close(29 * S) == []
    assert len(assembler.close(30 * S)) == 1


def test_a_submitted_task_is_awaited(traced: "type[Traced]") -> None:
    """The span of a submit ends at once; the trace is not complete before the task was handled."""
    trace = traced(1)
    process = trace.ask(None, "planner.plan", 0, 1_000, operation="submit")
    assembler = TraceAssembler()
    assembler.add(trace.publish_of(process), "n", 0)
    assert assembler.close(3 * S) == []
    assembler.add(process, "n", 4 * S)
    assert len(assembler.close(6 * S)) == 1


def test_a_failed_attempt_owes_a_retry(traced: "type[Traced]") -> None:
    """A durable task that failed without a terminal state is tried again: the trace waits."""
    trace = traced(1)
    process = trace.ask(None, "planner.plan", 0, 1_000, operation="submit")
    process.status = 2
    process.attributes["antiphon.task"] = "t"
    assembler = TraceAssembler()
    for span in trace.spans:
        assembler.add(span, "n", 0)
    assert assembler.close(5 * S) == []
    assert len(assembler.close(31 * S)) == 1


def test_a_running_span_keeps_the_trace_open(traced: "type[Traced]") -> None:
    """A start record says that work goes on: models may take minutes; a killed node is given up at last."""
    trace = example(traced)
    assembler = TraceAssembler()
    assembler.add(replace(trace.spans[1], end_ns=0), "n", 0)
    assert assembler.close(599 * S) == []
    (found,) = assembler.close(600 * S)
    assert found.steps[0].excluded


def test_late_spans_are_counted_and_left_out(traced: "type[Traced]") -> None:
    """A span of a closed trace opens no second one."""
    trace = example(traced)
    assembler = TraceAssembler()
    for span in trace.spans:
        assembler.add(span, "n", 0)
    assembler.close(2 * S)
    assembler.add(trace.spans[0], "n", 3 * S)
    assert (assembler.late, assembler.open_traces) == (1, 0)


def test_an_overfull_trace_is_dropped_whole(traced: "type[Traced]") -> None:
    """A trace with more spans than fit is never analysed in part."""
    assembler = TraceAssembler(Limits(spans_per_trace=5))
    for span in example(traced).spans:
        assembler.add(span, "n", 0)
    assert assembler.close(100 * S) == []
    assert (assembler.evicted, assembler.closed) == (1, 0)


def test_the_least_recently_touched_trace_goes_first(traced: "type[Traced]") -> None:
    """When traces do not fit, the one that was silent longest is dropped."""
    assembler = TraceAssembler(Limits(traces=2))
    for number in (1, 2, 1, 3):
        assembler.add(example(traced, number).spans[0], "n", 0)
    for number in (1, 3):
        for span in example(traced, number).spans:
            assembler.add(span, "n", 0)
    assert [found.run for found in assembler.close(100 * S)] == ["run1", "run3"]
    assert assembler.evicted == 1


def test_a_tick_closes_a_bounded_number(traced: "type[Traced]") -> None:
    """Many due traces are spread over parts, and it says when there may be more."""
    spans = len(example(traced, 1).spans)
    assembler = TraceAssembler(Limits(spans_per_tick=2 * spans))
    for number in range(1, 6):
        for span in example(traced, number).spans:
            assembler.add(span, "n", 0)
    parts = [(len(assembler.close(100 * S)), assembler.is_behind) for _ in range(4)]
    assert parts == [(2, True), (2, True), (1, False), (0, False)]
