"""A run as a file that other tools open: OTLP's JSON, and Chrome's trace events, which Perfetto opens too.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding and "Trace Event Format" (Google, 2016), its complete
("X") and flow ("s", "f") events.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from antiphon.runtime.telemetry.attributes import AGENT, GENAI_AGENT_NAME, NODE, SCOPE_NAME
from antiphon.runtime.telemetry.outward import outward
from antiphon.runtime.telemetry.span import plain_attributes
from antiphon.schemas.telemetry import SpanRecord

Json = dict[str, Any]
_ERROR: Final = 2


def otlp(spans: Iterable[SpanRecord]) -> Json:
    """An ExportTraceServiceRequest, one resource for each node. Spans that still run are left out: OTLP has none."""
    nodes: dict[str, dict[str, list[Json]]] = {}
    for span in map(outward, spans):
        if span.end_ns:
            scopes = nodes.setdefault(str(span.attributes.get(NODE, "")), {})
            scopes.setdefault(str(span.attributes.get(SCOPE_NAME, "antiphon")), []).append(_otlp_span(span))
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": _pairs({"service.name": "antiphon", "service.instance.id": node})},
                "scopeSpans": [{"scope": {"name": scope}, "spans": found} for scope, found in scopes.items()],
            }
            for node, scopes in nodes.items()
        ]
    }


def chrome(spans: Sequence[SpanRecord]) -> Json:
    """Trace events: a process for each node, tracks for each agent, arrows from senders. What runs ends with the run.

    Events of a track must lie in one another, so what overlaps goes to a further track of its agent.
    """
    spans = [outward(span) for span in spans]
    last_ns = max((max(span.start_ns, span.end_ns) for span in spans), default=0)
    tracks = _Tracks()
    places: dict[bytes, tuple[int, int]] = {}
    events: list[Json] = []
    agents = _agents(spans)
    for span in sorted(spans, key=lambda each: (each.start_ns, -(each.end_ns or last_ns))):
        end_ns = span.end_ns or last_ns
        node = str(span.attributes.get(NODE, ""))
        pid, tid = places[span.span_id] = tracks.place(node, agents[span.span_id], span.start_ns, end_ns)
        events.append(
            {
                "name": span.name,
                "cat": "error" if span.status == _ERROR else "span",
                "ph": "X",
                "ts": span.start_ns / 1000,
                "dur": max(end_ns - span.start_ns, 0) / 1000,
                "pid": pid,
                "tid": tid,
                "args": {key: str(value) for key, value in span.attributes.items()}
                | {"span": span.span_id.hex(), "trace": span.trace_id.hex(), "status": span.status_message},
            }
        )
    known = {span.span_id: span for span in spans}
    for number, span in enumerate(spans):
        above = known.get(span.parent_id or b"")
        if above is not None and places[above.span_id] != places[span.span_id]:
            events += _arrow(number, above, places[above.span_id], span, places[span.span_id])
    return {"traceEvents": [*tracks.names(), *events], "displayTimeUnit": "ms"}


class _Tracks:
    """Which process and thread an event is shown under."""

    def __init__(self) -> None:
        self._pids: dict[str, int] = {}
        self._tids: dict[tuple[int, str, int], int] = {}
        self._open: dict[int, list[int]] = {}  # ends of what a track is in, the innermost last

    def place(self, node: str, agent: str, start_ns: int, end_ns: int) -> tuple[int, int]:
        pid = self._pids.setdefault(node, len(self._pids) + 1)
        lane = 0
        while True:
            tid = self._tids.setdefault((pid, agent, lane), len(self._tids) + 1)
            ends = self._open.setdefault(tid, [])
            while ends and ends[-1] <= start_ns:
                ends.pop()
            if not ends or end_ns <= ends[-1]:
                ends.append(end_ns)
                return pid, tid
            lane += 1

    def names(self) -> list[Json]:
        processes = [_name("process_name", pid, 0, f"node {node}") for node, pid in self._pids.items()]
        threads = [
            _name("thread_name", pid, tid, f"{agent or 'outside'}{f' ({lane + 1})' if lane else ''}")
            for (pid, agent, lane), tid in self._tids.items()
        ]
        return processes + threads


def _agents(spans: Sequence[SpanRecord]) -> Mapping[bytes, str]:
    """The agent of each span; of one that names none, that of the nearest span above it that does."""
    known = {span.span_id: span for span in spans}
    found: dict[bytes, str] = {}
    for span in spans:
        path: list[bytes] = []
        here: SpanRecord | None = span
        agent = ""
        while here is not None and here.span_id not in path:
            agent = found.get(here.span_id) or str(
                here.attributes.get(AGENT) or here.attributes.get(GENAI_AGENT_NAME) or ""
            )
            path.append(here.span_id)
            here = None if agent else known.get(here.parent_id or b"")
        found.update(dict.fromkeys(path, agent))
    return found


def _arrow(number: int, above: SpanRecord, from_: tuple[int, int], span: SpanRecord, to: tuple[int, int]) -> list[Json]:
    flow = {"name": "caused", "cat": "flow", "id": number}
    start_ns = min(max(span.start_ns, above.start_ns), above.end_ns or span.start_ns)  # inside the span it leaves
    return [
        {**flow, "ph": "s", "ts": start_ns / 1000, "pid": from_[0], "tid": from_[1]},
        {**flow, "ph": "f", "bp": "e", "ts": span.start_ns / 1000, "pid": to[0], "tid": to[1]},
    ]


def _name(kind: str, pid: int, tid: int, text: str) -> Json:
    return {"name": kind, "ph": "M", "pid": pid, "tid": tid, "args": {"name": text}}


def _otlp_span(span: SpanRecord) -> Json:
    found: Json = {
        "traceId": span.trace_id.hex(),
        "spanId": span.span_id.hex(),
        "name": span.name,
        "kind": span.kind + 1,
        "startTimeUnixNano": str(span.start_ns),
        "endTimeUnixNano": str(span.end_ns),
        "attributes": _pairs(span.attributes),
        "events": [
            {"name": each.name, "timeUnixNano": str(each.unix_ns), "attributes": _pairs(each.attributes)}
            for each in span.events
        ],
        "links": [
            {"traceId": each.trace_id.hex(), "spanId": each.span_id.hex(), "attributes": _pairs(each.attributes)}
            for each in span.links
        ],
        "status": {"code": span.status} | ({"message": span.status_message} if span.status_message else {}),
    }
    return found | ({"parentSpanId": span.parent_id.hex()} if span.parent_id else {})


def _pairs(attributes: Mapping[str, Any]) -> list[Json]:
    return [{"key": key, "value": _value(value)} for key, value in plain_attributes(attributes).items()]


def _value(value: object) -> Json:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value if value - value == 0 else str(value)}  # the mapping of protobuf: NaN is text
    if isinstance(value, list | tuple):
        return {"arrayValue": {"values": [_value(each) for each in value]}}
    return {"stringValue": str(value)}
