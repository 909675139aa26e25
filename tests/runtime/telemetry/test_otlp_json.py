"""OTLP's JSON form as spans."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.telemetry.otlp_json import spans_of
from antiphon.schemas.telemetry import SpanEvent, SpanLink, SpanRecord

SPAN: dict[str, Any] = {
    "traceId": "0af7651916cd43dd8448eb211c80319c",
    "spanId": "b7ad6b7169203331",
    "parentSpanId": "00f067aa0ba902b7",
    "name": "chat m",
    "kind": 3,
    "startTimeUnixNano": "1700000000000000001",
    "endTimeUnixNano": 1700000000000000002,
    "status": {"code": 2, "message": "no"},
    "attributes": [
        {"key": "text", "value": {"stringValue": "a"}},
        {"key": "count", "value": {"intValue": "9007199254740993"}},
        {"key": "share", "value": {"doubleValue": 0.5}},
        {"key": "yes", "value": {"boolValue": True}},
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": 2}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "b", "value": {"stringValue": "c"}}]}}},
        {"key": "none", "value": {}},
    ],
    "events": [{"name": "exception", "timeUnixNano": "5", "attributes": []}],
    "links": [{"traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331"}],
}


def request(*spans: Any) -> dict[str, Any]:
    """An export request of one scope."""
    return {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "lib"}, "spans": list(spans)}]}]}


def test_every_part_of_a_span_is_read() -> None:
    """Ids from hexadecimal, integers from text or numbers, OTLP's kinds to ours, values by their type."""
    trace_id, span_id = bytes.fromhex(SPAN["traceId"]), bytes.fromhex(SPAN["spanId"])
    assert spans_of(request(SPAN)) == [
        SpanRecord(
            trace_id=trace_id,
            span_id=span_id,
            parent_id=bytes.fromhex("00f067aa0ba902b7"),
            name="chat m",
            kind=2,
            start_ns=1700000000000000001,
            end_ns=1700000000000000002,
            status=2,
            status_message="no",
            attributes={
                "text": "a",
                "count": 9007199254740993,
                "share": 0.5,
                "yes": True,
                "list": ["a", 2],
                "map": {"b": "c"},
                "none": None,
                "otel.scope.name": "lib",
            },
            events=[SpanEvent(name="exception", unix_ns=5)],
            links=[SpanLink(trace_id=trace_id, span_id=span_id)],
        )
    ]


@pytest.mark.parametrize(
    "broken",
    [
        {"spanId": "zz"},
        {"spanId": "00"},
        {"traceId": None},
        {"startTimeUnixNano": "soon"},
        {"status": [1]},
        {"kind": "x"},
    ],
)
def test_a_span_that_is_none_does_not_lose_the_others(broken: dict[str, Any]) -> None:
    """It is left out; its neighbours are read."""
    assert len(spans_of(request(SPAN | broken, SPAN, "nonsense"))) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(SPAN)), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, JSON)
def test_any_json_is_survived(span: Any, scope: Any) -> None:
    """Whatever a stranger sends, there is a list of spans."""
    assert isinstance(spans_of(request(span)), list)
    assert isinstance(spans_of({"resourceSpans": [{"scopeSpans": scope}]}), list)
    assert isinstance(spans_of(json.loads(json.dumps({"resourceSpans": scope}))), list)
