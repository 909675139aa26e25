"""A trace as a program reproduces the trace."""

import random
from typing import TYPE_CHECKING

import pytest

from antiphon.runtime.whatif import program
from antiphon.runtime.whatif.program import compile_run
from antiphon.runtime.whatif.simulator import replay
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def _fill(rng: random.Random, trace: "Traced", parent: SpanRecord, start: float, end: float, depth: int) -> None:
    """Random calls, tools and models below a handler, in a row or together."""
    at = start + rng.uniform(0, 5)
    while at < end - 20:
        last = min(at + rng.uniform(5, (end - start) / 2), end)
        kind = rng.randrange(4 if depth else 3)
        if kind == 0:
            trace.tool(parent, "t", at, last)
        elif kind == 1:
            trace.model(parent, at, last, antiphon__model__queue_s=(last - at) / 4_000)
        elif kind == 2:
            trace.add(parent, "publish e", at, at, kind=3, antiphon__operation="publish")
        else:
            wait = rng.uniform(0, (last - at) / 3)
            done = trace.ask(parent, f"a{depth}.h", at, last, wait_ms=wait, capacity=rng.choice((1, 2, 16)))
            _fill(rng, trace, done, at + wait, last, depth - 1)
        at = last + rng.uniform(0, 3) if rng.random() < 0.7 else at + rng.uniform(0, 3)


def _closed(trace: "Traced") -> Trace:
    found = build([(span, trace.nodes[span.span_id]) for span in trace.spans])
    assert found is not None
    return found


@pytest.mark.parametrize("seed", range(25))
def test_identity_replay_reproduces_recorded_times(traced: "type[Traced]", seed: int) -> None:
    """Every step of a random workflow ends in the replay when it ended in the record, on both bounds."""
    trace = traced(1)
    root = trace.ask(None, "a.b", 0, 500)
    _fill(random.Random(seed), trace, root, 0, 500, 2)
    closed = _closed(trace)
    run = compile_run(closed)
    assert run is not None
    for each in (run.program, run.cautious):
        timeline = replay(each)
        assert timeline is not None
        for step in closed.steps:
            assert timeline.end_ns[run.last[step.index]] == step.end_ns
        assert run.latency_ns(timeline) == closed.latency_ns


def test_a_submitted_run_ends_with_its_handler(traced: "type[Traced]") -> None:
    """The run of a submit takes until the task is done, not until it was stored."""
    trace = traced(1)
    process = trace.ask(None, "a.b", 0, 1_000, operation="submit", wait_ms=100)
    trace.publish_of(process).end_ns = trace.at_ns + 5_000_000
    trace.tool(process, "t", 200, 900)
    closed = _closed(trace)
    run = compile_run(closed)
    assert run is not None
    timeline = replay(run.program)
    assert timeline is not None
    assert run.latency_ns(timeline) == closed.latency_ns == 1_000_000_000


def test_wide_handlers_have_a_bounded_number_of_dependencies(
    traced: "type[Traced]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a wide front only the last to end are waited for, and the replay is still the record."""
    monkeypatch.setattr(program, "EDGES", 100)
    monkeypatch.setattr(program, "WIDTH", 4)
    trace = traced(1)
    root = trace.ask(None, "a.b", 0, 500)
    for index in range(40):
        trace.tool(root, "map", 0, 100 + index)
    for index in range(40):
        trace.tool(root, "reduce", 200, 300 + index)
    closed = _closed(trace)
    run = compile_run(closed)
    assert run is not None
    assert sum(len(task.after) for task in run.program.tasks) < 400
    timeline = replay(run.program)
    assert timeline is not None
    assert [timeline.end_ns[run.last[step.index]] for step in closed.steps] == [step.end_ns for step in closed.steps]


def test_a_full_pool_is_not_taken_for_a_larger_one(traced: "type[Traced]") -> None:
    """A caller's span ends a little after the slot was free again; a real overlap counts."""
    trace = traced(1)
    root = trace.ask(None, "a.b", 0, 300)
    trace.model(root, 0, 100.5, antiphon__pool__id="p")
    trace.model(root, 100, 200, antiphon__pool__id="p")
    trace.model(root, 150, 300, antiphon__pool__id="q")
    trace.model(root, 200, 300, antiphon__pool__id="q")
    _, active = program.capacities(_closed(trace).steps)
    assert (active["p"], active["q"]) == (1, 2)


def test_a_call_that_another_result_answered_takes_no_slot(traced: "type[Traced]") -> None:
    """It waits beside the call whose reply it gets, at a model that serves one at a time."""
    trace = traced(1)
    root = trace.ask(None, "a.b", 0, 500)
    trace.model(root, 0, 400)
    trace.model(root, 100, 400, antiphon__answered_by="p3")
    run = compile_run(_closed(trace))
    assert run is not None
    assert run.cautious.pools["model m"] == 1
    assert [task.pool for task in run.cautious.tasks].count("model m") == 1
