"""Spans in OTLP's JSON form, as exporters send them and files keep them, read into ours.

https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: ids are hexadecimal, 64-bit integers may be text,
enumerations are numbers. What cannot be a span is left out: one bad record must not lose its batch.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Any, Final

from antiphon.runtime.telemetry.attributes import SCOPE_NAME, SERVICE_NAME
from antiphon.schemas.telemetry import SpanEvent, SpanLink, SpanRecord

_KINDS: Final = {2: 1, 3: 2, 4: 3, 5: 4}  # OTLP counts kinds from 1, internal, and has 0 for unspecified
_UNREADABLE: Final = (KeyError, TypeError, ValueError, AttributeError, RecursionError)


def spans_of(request: Mapping[str, Any]) -> list[SpanRecord]:
    """The spans of an ExportTraceServiceRequest, decoded from JSON."""
    return counted_spans_of(request)[0]


def counted_spans_of(request: Mapping[str, Any]) -> tuple[list[SpanRecord], int]:
    """As ``spans_of``, and how many were left out."""
    found = []
    left_out = 0
    for resource in _dicts(request.get("resourceSpans")):
        service = _service(resource)
        for scope in _dicts(resource.get("scopeSpans")):
            named = scope.get("scope")
            name = named.get("name") if isinstance(named, dict) else None
            for span in _dicts(scope.get("spans")):
                try:
                    record = _span(span)
                except _UNREADABLE:
                    left_out += 1
                    continue
                if isinstance(name, str) and name:
                    record.attributes.setdefault(SCOPE_NAME, name)
                if service:
                    record.attributes.setdefault(SERVICE_NAME, service)
                found.append(record)
    return found, left_out


def _service(resource: Mapping[str, Any]) -> str:
    described = resource.get("resource")
    try:
        name = _attributes(described.get("attributes")).get(SERVICE_NAME) if isinstance(described, dict) else None
    except _UNREADABLE:
        return ""
    return name if isinstance(name, str) else ""


def _span(span: Mapping[str, Any]) -> SpanRecord:
    status = span.get("status") or {}
    parent = span.get("parentSpanId") or ""
    return SpanRecord(
        trace_id=_id(span["traceId"], 16),
        span_id=_id(span["spanId"], 8),
        parent_id=_id(parent, 8) if parent else None,
        name=str(span.get("name") or ""),
        kind=_KINDS.get(int(span.get("kind") or 0), 0),
        start_ns=int(span["startTimeUnixNano"]),
        end_ns=int(span["endTimeUnixNano"]),
        status=min(max(int(status.get("code") or 0), 0), 2),
        status_message=str(status.get("message") or ""),
        attributes=_attributes(span.get("attributes")),
        events=[
            SpanEvent(
                name=str(event.get("name") or ""),
                unix_ns=int(event.get("timeUnixNano") or 0),
                attributes=_attributes(event.get("attributes")),
            )
            for event in _dicts(span.get("events"))
        ],
        links=[
            SpanLink(
                trace_id=_id(link["traceId"], 16),
                span_id=_id(link["spanId"], 8),
                attributes=_attributes(link.get("attributes")),
            )
            for link in _dicts(span.get("links"))
        ],
    )


def _id(text: str, size: int) -> bytes:
    raw = binascii.unhexlify(text)
    if len(raw) != size:
        raise ValueError(f"an id of {len(raw)} bytes, expected {size}")
    return raw


def _attributes(listed: object) -> dict[str, Any]:
    return {item["key"]: _value(item.get("value") or {}) for item in _dicts(listed) if isinstance(item.get("key"), str)}


def _value(value: Mapping[str, Any]) -> Any:
    """An AnyValue: a scalar, a list of them, or (GenAI's structured messages) lists and maps in one another."""
    for kind, found in value.items():
        match kind:
            case "intValue":
                return int(found)
            case "doubleValue":
                return float(found)
            case "bytesValue":
                return base64.b64decode(found)
            case "arrayValue":
                return [_value(item) for item in _dicts(found.get("values"))]
            case "kvlistValue":
                return _attributes(found.get("values"))
            case "stringValue" | "boolValue":
                return found
    return None


def _dicts(listed: object) -> Iterator[dict[str, Any]]:
    return (item for item in listed if isinstance(item, dict)) if isinstance(listed, list) else iter(())
