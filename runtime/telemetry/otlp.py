"""Finished spans as the SDK's own, handed to its batch processor and OTLP exporter. Heavy: import it only when used."""

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterable
from typing import Final

import structlog
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from antiphon.runtime.telemetry.attributes import NODE, SCOPE_NAME
from antiphon.runtime.telemetry.export import OtlpTarget
from antiphon.runtime.telemetry.outward import outward
from antiphon.runtime.telemetry.span import plain_attributes
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

CLOSE_S: Final = 2.0
QUEUE: Final = 16_384  # the SDK's 2,048 is less than two of our batches
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_KINDS: Final = tuple(SpanKind(number) for number in range(5))

_log = structlog.get_logger()


def encoded(spans: Iterable[SpanRecord]) -> bytes:
    """An ExportTraceServiceRequest in protobuf; what still runs is left out. Some receivers read no JSON."""
    found = [
        readable(
            span, Resource({"service.name": "antiphon", "service.instance.id": str(span.attributes.get(NODE, ""))})
        )
        for span in spans
        if span.end_ns
    ]
    return bytes(encode_spans(found).SerializeToString())


class OtlpSink:
    """A feed's sink that sends finished spans to an OTLP receiver, from the SDK's own thread."""

    def __init__(self, target: OtlpTarget) -> None:
        self._endpoint = target.endpoint
        self._resource = Resource(dict(target.resource))
        exporter = OTLPSpanExporter(endpoint=target.endpoint, headers=target.headers)
        queue = None if "OTEL_BSP_MAX_QUEUE_SIZE" in os.environ else QUEUE
        self._processor = BatchSpanProcessor(exporter, max_queue_size=queue)

    def __call__(self, batch: TelemetryBatch) -> None:
        """Queue the finished spans of a batch; start records have no form in OTLP."""
        for record in batch.spans:
            if record.end_ns:
                self._processor.on_end(readable(record, self._resource))

    async def close(self) -> None:
        """Send what is queued, within two seconds; a receiver that does not answer is left behind."""
        loop = asyncio.get_running_loop()
        done = asyncio.Event()

        def shut_down() -> None:
            self._processor.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves it untyped
            with contextlib.suppress(RuntimeError):  # nobody waits any more and the loop has closed
                loop.call_soon_threadsafe(done.set)

        # a daemon, because the SDK may wait 30 s and an executor's thread would keep the process for as long
        threading.Thread(target=shut_down, name="otlp-shutdown", daemon=True).start()
        try:
            async with asyncio.timeout(CLOSE_S):
                await done.wait()
        except TimeoutError:
            _log.warning("otlp_flush_timed_out", endpoint=self._endpoint, deadline_s=CLOSE_S)


def readable(record: SpanRecord, resource: Resource) -> ReadableSpan:
    """A finished span as the SDK's exporters read it."""
    record = outward(record)
    attributes = plain_attributes(record.attributes)
    scope = attributes.pop(SCOPE_NAME, "antiphon")
    code = StatusCode(record.status)
    return ReadableSpan(
        name=record.name,
        context=_context(record.trace_id, record.span_id),
        parent=_context(record.trace_id, record.parent_id) if record.parent_id else None,
        resource=resource,
        attributes=attributes,
        events=[Event(event.name, plain_attributes(event.attributes), event.unix_ns) for event in record.events],
        links=[Link(_context(link.trace_id, link.span_id), plain_attributes(link.attributes)) for link in record.links],
        kind=_KINDS[record.kind],
        status=Status(code, record.status_message if code is StatusCode.ERROR else None),
        start_time=record.start_ns,
        end_time=record.end_ns,
        instrumentation_scope=InstrumentationScope(str(scope)),
    )


def _context(trace_id: bytes, span_id: bytes) -> SpanContext:
    return SpanContext(int.from_bytes(trace_id, "big"), int.from_bytes(span_id, "big"), False, _SAMPLED)
