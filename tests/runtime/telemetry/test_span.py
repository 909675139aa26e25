"""OpenTelemetry's span interface, as our span keeps it."""

import asyncio
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState

from antiphon.runtime.telemetry.attributes import EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE, EXCEPTION_TYPE
from antiphon.runtime.telemetry.propagation import RemoteParent
from antiphon.runtime.telemetry.tracer import LightTracer

OTHER = SpanContext(5, 6, False)


class Broken(Exception):
    pass


def test_a_span_is_one_of_opentelemetrys(tracer: LightTracer) -> None:
    """Any instrumentation takes it for a span, with an identity of its own."""
    span = tracer.start_span("work")
    context = span.get_span_context()
    assert isinstance(span, trace.Span) and context.is_valid and context.trace_flags.sampled
    assert context is span.get_span_context()
    assert context.span_id.to_bytes(8, "big") == span.span_id and span.is_recording()


def test_attributes_are_recorded_in_opentelemetrys_types(tracer: LightTracer, recorded: Any) -> None:
    """Setting one or several works alike; a value of no OpenTelemetry type becomes text, None is no value."""
    span = tracer.start_span("work", attributes={"a": 1})
    span.set_attribute("b", ["x", "y"])
    span.set_attributes({"c": {"k": 1}, "d": b"\x01", "e": None})
    span.end()
    assert recorded.spans["work"].attributes == {"a": 1, "b": ["x", "y"], "c": "{'k': 1}", "d": "01"}


def test_nothing_changes_after_the_end(tracer: LightTracer, recorded: Any) -> None:
    """Everything but reading the identity is ignored once a span has ended, a second end included."""
    span = tracer.start_span("work")
    span.end(recorded.unix_ns())
    before = recorded.rows[0].record()
    span.set_attribute("late", 1)
    span.set_attributes({"late": 1})
    span.add_event("late")
    span.add_link(OTHER)
    span.update_name("late")
    span.set_status(StatusCode.ERROR, "late")
    span.record_exception(Broken())
    span.end()
    span.finish({"late": 1}, 2, "late")
    assert not span.is_recording() and span.get_span_context().is_valid
    assert [row.record() for row in recorded.rows] == [before]


def test_times_are_kept_and_never_negative(tracer: LightTracer, recorded: Any) -> None:
    """Given times are used, times that cannot be are replaced by now, and a span ends after its start."""
    span = tracer.start_span("given", start_time=100)
    span.add_event("e", timestamp=150)
    span.end(200)
    tracer.start_span("backwards", start_time=100).end(50)
    tracer.start_span("seconds", start_time=1.5e9).end(2**70)  # type: ignore[arg-type]  # a common mistake
    given, backwards, seconds = recorded.rows
    assert (given.start_ns, given.events[0].unix_ns, given.end_ns) == (100, 150, 200)
    assert (backwards.start_ns, backwards.end_ns) == (100, 100)
    assert type(seconds.start_ns) is int and seconds.end_ns > seconds.start_ns > 10**18


def test_a_span_may_be_renamed(tracer: LightTracer, recorded: Any) -> None:
    """The last name counts."""
    span = tracer.start_span("work")
    span.update_name("better")
    span.end()
    assert list(recorded.spans) == ["better"]


def test_links_name_other_spans(tracer: LightTracer, recorded: Any) -> None:
    """Links from the start and later ones are kept; one that names nobody is not."""
    span = tracer.start_span("work", links=[Link(OTHER, {"why": "fan-in"}), Link(trace.INVALID_SPAN_CONTEXT)])
    span.add_link(SpanContext(7, 8, True))
    span.add_link(trace.INVALID_SPAN_CONTEXT)
    span.end()
    first, second = recorded.spans["work"].links
    assert first.span_id == bytes(7) + b"\x06" and first.attributes == {"why": "fan-in"}
    assert second.trace_id == bytes(15) + b"\x07"


@pytest.mark.parametrize(
    ("calls", "expected"),
    [
        ([(StatusCode.ERROR, "why")], (2, "why")),
        ([(Status(StatusCode.ERROR, "why"), None)], (2, "why")),
        ([(StatusCode.OK, "ignored")], (1, "")),
        ([(StatusCode.OK, None), (StatusCode.ERROR, "late")], (1, "")),
        ([(StatusCode.ERROR, "why"), (StatusCode.UNSET, None)], (2, "why")),
        ([(StatusCode.ERROR, "why"), (StatusCode.OK, None)], (1, "")),
        ([], (0, "")),
    ],
)
def test_status_follows_the_specification(
    tracer: LightTracer, recorded: Any, calls: list[Any], expected: tuple[int, str]
) -> None:
    """Ok is final, unset changes nothing, only errors have a description."""
    span = tracer.start_span("work")
    for status, description in calls:
        span.set_status(status, description)
    span.end()
    assert (recorded.spans["work"].status, recorded.spans["work"].status_message) == expected


def test_an_exception_is_an_event(tracer: LightTracer, recorded: Any) -> None:
    """It carries type, message and stack, and what the caller adds."""
    span = tracer.start_span("work")
    try:
        raise Broken("it is")
    except Broken as error:
        span.record_exception(error, {"extra": 1}, timestamp=5, escaped=True)
    span.end()
    (event,) = recorded.spans["work"].events
    assert event.name == "exception" and event.unix_ns == 5
    assert event.attributes[EXCEPTION_TYPE].endswith(".Broken") and event.attributes[EXCEPTION_MESSAGE] == "it is"
    assert "raise Broken" in event.attributes[EXCEPTION_STACKTRACE] and event.attributes["extra"] == 1
    assert recorded.spans["work"].status == 0


def test_a_block_that_raises_is_recorded(tracer: LightTracer, recorded: Any) -> None:
    """As a context manager the span records the exception, has the status of an error, ends, and hides nothing."""
    with pytest.raises(Broken), tracer.start_span("work"):
        raise Broken("it is")
    with pytest.raises(Broken), tracer.start_as_current_span("current"):
        raise Broken("it is")
    for span in recorded.spans.values():
        assert (span.status, span.status_message) == (2, "Broken: it is") and len(span.events) == 1


def test_recording_exceptions_can_be_turned_off(tracer: LightTracer, recorded: Any) -> None:
    """Both arguments of OpenTelemetry's tracer are honoured."""
    with pytest.raises(Broken), tracer.start_as_current_span("a", record_exception=False):
        raise Broken
    with pytest.raises(Broken), tracer.start_span("b", set_status_on_exception=False):
        raise Broken
    assert (recorded.spans["a"].status, recorded.spans["a"].events) == (2, [])
    assert recorded.spans["b"].status == 0 and len(recorded.spans["b"].events) == 1


def test_a_cancellation_is_no_error(tracer: LightTracer, recorded: Any) -> None:
    """What stops a task from outside ends its spans without an error."""
    with pytest.raises(asyncio.CancelledError), tracer.start_as_current_span("work"), tracer.start_span("inner"):
        raise asyncio.CancelledError
    assert [(span.status, span.events) for span in recorded.spans.values()] == [(0, []), (0, [])]


def test_the_vendors_state_travels(tracer: LightTracer) -> None:
    """A remote parent's tracestate reaches children of any make."""
    span = tracer.begin("work", 4, RemoteParent(b"t" * 16, b"s" * 8, 3, "vendor=1"), {})
    assert span.get_span_context().trace_state == TraceState([("vendor", "1")])
    assert span.get_span_context().trace_flags == TraceFlags(3)


def test_finish_takes_everything_at_once(tracer: LightTracer, recorded: Any) -> None:
    """The runtime's own path ends a span with its last attributes and status in one call."""
    span = tracer.begin("work", 4, None, {"a": 1})
    span.finish({"b": 2}, status=2, message="no")
    found = recorded.spans["work"]
    assert (found.kind, found.attributes, found.status, found.status_message) == (4, {"a": 1, "b": 2}, 2, "no")


def test_a_watched_span_can_announce_itself_while_it_runs(tracer: LightTracer, recorded: Any) -> None:
    """A start record is the span as it is now without an end; after the end there is nothing to announce."""
    span = tracer.begin("work", 4, None, {"a": 1}, announce=True)
    assert recorded.watched == {span}
    started = span.started()
    span.finish({"b": 2})
    assert started is not None and started.end_ns == 0 and started.attributes == {"a": 1}
    assert recorded.watched == set() and span.started() is None
    assert recorded.rows[0].span_id == started.span_id
