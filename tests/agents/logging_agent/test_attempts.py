"""Attempts at one request are told from other calls, and what was finished for nobody from what was stopped."""

from typing import TYPE_CHECKING, Any

from antiphon.agents.logging_agent.attempts import orphan, requests
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.telemetry import SpanEvent

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def closed(traced: "Traced") -> Trace:
    """The trace that the spans are."""
    trace = build([(span, traced.nodes[span.span_id]) for span in traced.spans])
    assert trace is not None
    return trace


def first_handler(trace: Trace) -> int:
    """The index of the first handler."""
    return next(step.index for step in trace.steps if step.operation == facts.PROCESS)


def test_equal_calls_after_a_failure_are_one_request(traced: "type[Traced]") -> None:
    """Two failures and a success with one input; another input is another request."""
    one = traced(1)
    root = one.ask(None, "planner.plan", 0, 400)
    for i, status in enumerate((2, 2, 0)):
        one.ask(root, "worker.do", 100 * i, 100 * i + 90, status=status, antiphon__input__sha256="x")
    one.ask(root, "worker.do", 300, 390, antiphon__input__sha256="y")
    trace = closed(one)
    found = list(requests(trace, trace.steps[first_handler(trace)]))
    assert sorted((len(r.calls), r.attempts, r.failed) for r in found) == [(1, 1, False), (3, 3, False)]


def test_equal_calls_that_succeed_or_overlap_are_not_attempts(traced: "type[Traced]") -> None:
    """Asking twice for the same is a repeat, not a retry; a failure beside it is not its first attempt."""
    one = traced(1)
    root = one.ask(None, "planner.plan", 0, 400)
    one.ask(root, "worker.do", 0, 100, antiphon__input__sha256="x")
    one.ask(root, "worker.do", 100, 200, status=2, antiphon__input__sha256="x")
    one.ask(root, "worker.do", 150, 300, antiphon__input__sha256="x")
    trace = closed(one)
    assert [r.attempts for r in requests(trace, trace.steps[first_handler(trace)])] == [1, 1, 1]


def test_attempts_of_a_policy_count(traced: "type[Traced]") -> None:
    """They are events on the one call."""
    one = traced(1)
    root = one.ask(None, "planner.plan", 0, 400)
    call = one.publish_of(one.ask(root, "worker.do", 0, 300, antiphon__input__sha256="x"))
    call.events += [SpanEvent(name=attr.RETRY_EVENT, unix_ns=call.start_ns)] * 2
    trace = closed(one)
    assert [r.attempts for r in requests(trace, trace.steps[first_handler(trace)])] == [3]


def test_an_orphan_is_known_by_its_end(traced: "type[Traced]") -> None:
    """Its handler ends well 250 ms after the caller gave up at its timeout; what follows is a repeat."""
    one = traced(1)
    root = one.ask(None, "planner.plan", 0, 400, node="n1")
    facts_: dict[str, Any] = {"antiphon__input__sha256": "x", "antiphon__timeout_s": 0.1}
    late = one.ask(root, "worker.do", 0, 100, **facts_)
    one.publish_of(late).status = 2
    late.end_ns += 250_000_000
    again = one.ask(root, "worker.do", 110, 390, **facts_)
    trace = closed(one)
    (request,) = requests(trace, trace.steps[first_handler(trace)])
    found = orphan(trace, request)
    assert found is not None
    assert (found.late_ns, found.served.span, found.call.span) == (250_000_000, late, one.publish_of(late))
    assert [step.span for step in found.repeats] == [one.publish_of(again)]
