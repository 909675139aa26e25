"""A run as a file: OTLP that reads back as the same spans, and trace events that lie in one another."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.telemetry.otlp_json import spans_of
from antiphon.runtime.telemetry.trace_file import chrome, otlp
from antiphon.schemas.telemetry import SpanEvent, SpanLink, SpanRecord

START = 1_700_000_000_000_000_000


def span(number: int, parent: int | None, start: int, end: int, **attributes: Any) -> SpanRecord:
    return SpanRecord(
        trace_id=bytes([1] * 16), span_id=number.to_bytes(8), parent_id=None if parent is None else parent.to_bytes(8),
        name=f"step {number}", kind=number % 5, start_ns=START + start, end_ns=START + end if end else 0,
        attributes=attributes,
    )  # fmt: skip


def test_otlp_reads_back() -> None:
    """Ids, times, kinds, values, events and links; what still runs has no form there."""
    first = span(1, None, 0, 9, **{"antiphon.node": "a", "n": 2**60, "f": 0.5, "yes": True, "list": ["x", "y"]})
    first.events = [SpanEvent(name="e", unix_ns=START, attributes={"k": "v"})]
    first.links = [SpanLink(trace_id=bytes([2] * 16), span_id=bytes([3] * 8), attributes={"k": 1})]
    first.status, first.status_message = 2, "broke"
    made = json.loads(json.dumps(otlp([first, span(2, 1, 1, 0)])))
    (back,) = spans_of(made)
    assert back.attributes.pop("otel.scope.name") == "antiphon" and back.attributes.pop("service.name") == "antiphon"
    assert back == first


times = st.tuples(st.integers(0, 50), st.integers(1, 50))


@given(st.lists(st.tuples(times, st.sampled_from("ab"), st.none() | st.integers(0, 9)), max_size=12))
def test_events_of_a_track_lie_in_one_another(drawn: list[tuple[tuple[int, int], str, int | None]]) -> None:
    """As the format wants it: what overlaps has tracks of its own. Every span is there once, arrows come in pairs."""
    spans = [
        span(n, parent, start, start + took, **{"antiphon.agent": agent})
        for n, ((start, took), agent, parent) in enumerate(drawn)
    ]
    events = chrome(spans)["traceEvents"]
    shown = [event for event in events if event["ph"] == "X"]
    assert len(shown) == len(spans)
    flows = [event["ph"] for event in events if event["ph"] in "sf"]
    assert flows.count("s") == flows.count("f")
    for one in shown:
        for two in shown:
            if one is not two and (one["pid"], one["tid"]) == (two["pid"], two["tid"]):
                a, b = sorted((one, two), key=lambda event: (event["ts"], -event["dur"]))
                inside = b["ts"] + b["dur"] <= a["ts"] + a["dur"]
                assert b["ts"] >= a["ts"] + a["dur"] or inside
