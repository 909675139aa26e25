"""What was seen: spans and logs as nodes publish them on the bus and the store keeps them.

Standard-library dataclasses, because they are encoded (msgpack, ``runtime/telemetry/codec.py``) on the hot
path; pydantic still exports their JSON schema. Ids are bytes: 16 for a trace, 8 for a span.
"""

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True, kw_only=True)
class SpanEvent:
    """Something that happened inside a span."""

    name: str
    unix_ns: int
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class SpanLink:
    """Another span this one continues or was caused by."""

    trace_id: bytes
    span_id: bytes
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class SpanRecord:
    """One span. ``end_ns`` 0 marks a start record: the span was still running when this was written.

    ``kind`` and ``status`` carry OpenTelemetry's numbers: kind 0 internal, 1 server, 2 client, 3 producer,
    4 consumer; status 0 unset, 1 ok, 2 error.
    """

    trace_id: bytes
    span_id: bytes
    parent_id: bytes | None = None
    name: str
    kind: int = 0
    start_ns: int
    end_ns: int = 0
    status: int = 0
    status_message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    events: list[SpanEvent] = field(default_factory=list)
    links: list[SpanLink] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class LogRecord:
    """One structured log event."""

    unix_ns: int
    level: str
    event: str
    trace_id: bytes | None = None
    span_id: bytes | None = None
    fields: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class TelemetryBatch:
    """Spans and logs of one node. ``sequence`` counts its batches from 1, so readers can count gaps.

    ``dropped`` is how many records the node has thrown away so far because its buffer was full.
    """

    node: str
    sequence: int
    dropped: int = 0
    spans: list[SpanRecord] = field(default_factory=list)
    logs: list[LogRecord] = field(default_factory=list)
