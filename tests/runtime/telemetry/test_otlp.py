"""Spans as another backend receives them."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from antiphon.runtime.telemetry import otlp
from antiphon.runtime.telemetry.attributes import SCOPE_NAME
from antiphon.runtime.telemetry.export import OtlpTarget, otlp_sink
from antiphon.runtime.telemetry.otlp import OtlpSink
from antiphon.schemas.telemetry import SpanEvent, SpanLink, SpanRecord, TelemetryBatch

T, S, P = b"t" * 16, b"s" * 8, b"p" * 8


class Receiver(ThreadingHTTPServer):
    """A stub of an OTLP receiver; it answers when ``open`` is set."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[tuple[str, dict[str, str], ExportTraceServiceRequest]] = []
        self.open = threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.server.requests.append((self.path, headers, ExportTraceServiceRequest.FromString(body)))
        self.server.open.wait(120)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        return None


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A running receiver."""
    server = Receiver()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.open.set()
    server.shutdown()
    thread.join(10)
    server.server_close()


def batch(*spans: SpanRecord) -> TelemetryBatch:
    return TelemetryBatch(node="n", sequence=1, spans=list(spans))


async def test_a_receiver_gets_what_was_recorded(receiver: Receiver) -> None:
    """Identity, times, kind, status, attributes, events, links, scope and resource all arrive."""
    environ = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=abc",
        "OTEL_SERVICE_NAME": "newsroom",
    }
    sink = otlp_sink(environ, node="n1")
    assert sink is not None
    sink(
        batch(
            SpanRecord(
                trace_id=T,
                span_id=S,
                parent_id=P,
                name="process x",
                kind=4,
                start_ns=10,
                end_ns=20,
                status=2,
                status_message="no",
                attributes={"s": "x", "i": 3, "f": 0.5, "b": True, "l": ["a", "b"], "big": 2**64 - 1},
                events=[SpanEvent(name="e", unix_ns=15, attributes={"k": 1})],
                links=[SpanLink(trace_id=T, span_id=P, attributes={"why": "cause"})],
            ),
            SpanRecord(trace_id=T, span_id=P, name="GET", start_ns=1, end_ns=2, attributes={SCOPE_NAME: "lib"}),
            SpanRecord(trace_id=T, span_id=b"r" * 8, name="still running", start_ns=1),
        )
    )
    await sink.close()
    ((path, headers, request),) = receiver.requests
    assert path == "/v1/traces" and headers["x-key"] == "abc"
    assert headers["content-type"] == "application/x-protobuf"
    (resource,) = request.resource_spans
    assert {pair.key: pair.value.string_value for pair in resource.resource.attributes} == {
        "service.name": "newsroom",
        "service.instance.id": "n1",
    }
    spans = {found.name: (scope.scope.name, found) for scope in resource.scope_spans for found in scope.spans}
    assert set(spans) == {"process x", "GET"} and spans["GET"][0] == "lib" and spans["process x"][0] == "antiphon"
    span = spans["process x"][1]
    assert (span.trace_id, span.span_id, span.parent_span_id, span.kind) == (T, S, P, 5)  # OTLP counts kinds from 1
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (10, 20)
    assert (span.status.code, span.status.message) == (2, "no")
    values = {pair.key: pair.value for pair in span.attributes}
    assert (values["s"].string_value, values["i"].int_value, values["f"].double_value) == ("x", 3, 0.5)
    assert values["b"].bool_value and [v.string_value for v in values["l"].array_value.values] == ["a", "b"]
    assert values["big"].string_value == str(2**64 - 1)
    assert span.events[0].time_unix_nano == 15 and span.links[0].span_id == P
    assert spans["GET"][1].parent_span_id == b"" and not spans["GET"][1].attributes


async def test_closing_leaves_a_receiver_that_hangs(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shutdown has a deadline, and what may be lost is logged."""
    monkeypatch.setattr(otlp, "CLOSE_S", 0.05)
    receiver.open.clear()
    sink = OtlpSink(OtlpTarget(endpoint=f"{receiver.url}/v1/traces", headers={}, resource={}))
    sink(batch(SpanRecord(trace_id=T, span_id=S, name="x", start_ns=1, end_ns=2)))
    with structlog.testing.capture_logs() as lines:
        await sink.close()
    assert [line["event"] for line in lines] == ["otlp_flush_timed_out"]


async def test_a_burst_of_two_batches_is_not_dropped(receiver: Receiver) -> None:
    """The queue holds more than a busy node's feed hands over at a time."""
    sink = OtlpSink(OtlpTarget(endpoint=f"{receiver.url}/v1/traces", headers={}, resource={}))
    for number in range(3000):
        span_id = (number + 1).to_bytes(8, "big")
        sink(batch(SpanRecord(trace_id=T, span_id=span_id, name="x", start_ns=1, end_ns=2)))
    await sink.close()
    await sink.close()
    found = [
        span
        for _, _, request in receiver.requests
        for res in request.resource_spans
        for sc in res.scope_spans
        for span in sc.spans
    ]
    assert len({span.span_id for span in found}) == 3000
