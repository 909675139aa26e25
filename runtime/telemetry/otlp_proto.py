"""Spans in OTLP's protobuf form, read into ours. Heavy (protobuf, 60 ms): import it only when used.

https://github.com/open-telemetry/opentelemetry-proto/blob/main/opentelemetry/proto/trace/v1/trace.proto
"""

from collections.abc import Iterable
from typing import Any

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # protobuf has no stubs of its own
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.telemetry.attributes import SCOPE_NAME, SERVICE_NAME
from antiphon.schemas.telemetry import SpanEvent, SpanLink, SpanRecord

DEEPEST = 20  # levels of lists and maps in one value


def spans_of(body: bytes) -> tuple[list[SpanRecord], int]:
    """The spans of an ExportTraceServiceRequest, and how many were none: wrong ids, or values without end.

    Raises:
        InvalidMessage: the body is no such request.
    """
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
    except DecodeError as error:
        raise InvalidMessage(f"no ExportTraceServiceRequest in protobuf: {error}") from None
    found: list[SpanRecord] = []
    rejected = 0
    for resource in request.resource_spans:
        service = _attributes(each for each in resource.resource.attributes if each.key == SERVICE_NAME)
        for scope in resource.scope_spans:
            about = service | ({SCOPE_NAME: scope.scope.name} if scope.scope.name else {})
            for span in scope.spans:
                try:
                    found.append(_span(span, about))
                except ValueError:
                    rejected += 1
    return found, rejected


def response(rejected: int, message: str) -> bytes:
    """What the sender is told: nothing where all was taken."""
    if not rejected:
        return b""
    partial = ExportTracePartialSuccess(rejected_spans=rejected, error_message=message)
    return bytes(ExportTraceServiceResponse(partial_success=partial).SerializeToString())


def refusal(message: str) -> bytes:
    """A google.rpc.Status, as the specification wants the body of every error."""
    return bytes(Status(message=message).SerializeToString())


def _span(span: Span, about: dict[str, Any]) -> SpanRecord:
    return SpanRecord(
        trace_id=_id(span.trace_id, 16),
        span_id=_id(span.span_id, 8),
        parent_id=_id(span.parent_span_id, 8) if span.parent_span_id else None,
        name=span.name,
        kind=max(span.kind - 1, 0) if span.kind <= 5 else 0,  # OTLP has 0 for unspecified, and 1 for internal
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=span.status.code if span.status.code <= 2 else 0,
        status_message=span.status.message,
        attributes=about | _attributes(span.attributes),
        events=[
            SpanEvent(name=each.name, unix_ns=each.time_unix_nano, attributes=_attributes(each.attributes))
            for each in span.events
        ],
        links=[
            SpanLink(
                trace_id=_id(each.trace_id, 16), span_id=_id(each.span_id, 8), attributes=_attributes(each.attributes)
            )
            for each in span.links
        ],
    )


def _id(raw: bytes, size: int) -> bytes:
    if len(raw) != size:
        raise ValueError(f"an id of {len(raw)} bytes, expected {size}")
    return raw


def _attributes(listed: Iterable[KeyValue], depth: int = 0) -> dict[str, Any]:
    return {each.key: _value(each.value, depth) for each in listed}


def _value(value: AnyValue, depth: int) -> Any:
    if depth > DEEPEST:
        raise ValueError(f"a value of more than {DEEPEST} levels")
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each, depth + 1) for each in value.array_value.values]
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values, depth + 1)
    return None if kind is None else getattr(value, kind)
