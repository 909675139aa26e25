"""Programs that know nothing of us: their spans arrive, malformed ones are the sender's error, contents stay out."""

import asyncio
import gzip
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from antiphon.runtime.console.otlp_in import BODY_BYTES
from antiphon.runtime.telemetry.feed import LIMIT

SAID = "the secret of the house is under the third stone"
JSON = {"content-type": "application/json"}
PROTOBUF = {"content-type": "application/x-protobuf"}


def as_javascript(trace: str = "5b8efff798038103d269b633813fc60c", **more: Any) -> dict[str, Any]:
    """A request as @opentelemetry/exporter-trace-otlp-http 0.2xx writes it: hexadecimal ids, times as text."""
    span = {
        "traceId": trace, "spanId": "eee19b7ec3c1b174", "parentSpanId": "", "name": "GET /cart", "kind": 3,
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000250000000",
        "attributes": [
            {"key": "http.status_code", "value": {"intValue": 200}},
            {"key": "items", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"stringValue": "b"}]}}},
        ],
        "droppedAttributesCount": 0, "events": [], "droppedEventsCount": 0, "status": {"code": 0}, "links": [],
        "droppedLinksCount": 0, "flags": 257, **more,
    }  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}], "droppedAttributesCount": 0}
    scope = {"name": "fetch", "version": "0.200.0"}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [span]}]}]}


@pytest.fixture(params=[Compression.Gzip, Compression.NoCompression])
def provider(console: Any, request: pytest.FixtureRequest) -> Iterator[TracerProvider]:
    exporter = OTLPSpanExporter(
        endpoint=f"{console.address}/v1/traces",
        headers={"authorization": console.http.headers["authorization"]},
        compression=request.param,
    )
    provider = TracerProvider(resource=Resource({"service.name": "shop"}))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    yield provider
    provider.shutdown()


async def test_the_official_exporter_is_understood(console: Any, provider: TracerProvider) -> None:
    """A foreign agent's trace shows as an agent with its model and tool; its prompt is nowhere."""
    tracer = provider.get_tracer("my.library")
    prompt = json.dumps([{"role": "user", "parts": [{"type": "text", "content": SAID}]}])
    chat: dict[str, Any] = {
        "gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-x", "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 3, "gen_ai.input.messages": prompt,
    }  # fmt: skip
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"}
    with tracer.start_as_current_span("invoke_agent helper", attributes=agent):
        with tracer.start_as_current_span("chat gpt-x", attributes=chat):
            pass
        tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "find"}
        with tracer.start_as_current_span("execute_tool find", attributes=tool):
            pass
    await asyncio.to_thread(provider.force_flush)
    (run,) = (await console.until("/api/runs", lambda found: found["runs"] and found["runs"][0]["spans"] == 3))["runs"]
    assert (run["title"], run["agents"], run["models"], run["input_tokens"]) == (
        "helper.run",
        ["helper"],
        ["gpt-x"],
        11,
    )
    rows = (await console.get(f"/api/runs/{run['run']}"))["rows"]
    assert [(row["depth"], row["work"]) for row in rows] == [(0, "handler"), (1, "model"), (1, "tool")]
    span = await console.get(f"/api/spans/{rows[1]['id']}")
    assert span["attributes"]["service.name"] == "shop" and "antiphon.input.sha256" in span["attributes"]
    found = await console.http.post("/api/sql", json={"query": "SELECT attributes, events FROM spans"})
    assert "gpt-x" in found.text and "secret" not in found.text
    edges = (await console.get("/api/topology"))["edges"]
    assert {(edge["from"], edge["to"]) for edge in edges} == {
        ("client:outside", "agent:helper"),
        ("agent:helper", "model:gpt-x"),
        ("agent:helper", "tool:find"),
    }


async def test_spans_that_nothing_here_stands_for_lose_their_prompts_too(console: Any) -> None:
    """A guardrail is shown under its name, and what it looked at is nowhere."""
    given = {"openinference.span.kind": "GUARDRAIL", "input.value": SAID}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in given.items()]
    event = {"name": "gen_ai.user.message", "timeUnixNano": "1", "attributes": attributes[1:]}
    request = as_javascript(name="check", attributes=attributes, events=[event])
    assert (await console.http.post("/v1/traces", json=request)).is_success
    (run,) = (await console.until("/api/runs", lambda found: found["runs"]))["runs"]
    found = await console.http.post("/api/sql", json={"query": "SELECT attributes, events FROM spans"})
    assert run["title"] == "check" and "GUARDRAIL" in found.text and "secret" not in found.text


async def test_captured_contents_are_a_conversation(studio: Any) -> None:
    """In the attributes that the console shows as one, whichever the program has; what was sent is there too."""
    given = {
        "openinference.span.kind": "LLM", "llm.model_name": "m", "llm.input_messages.0.message.role": "user",
        "llm.input_messages.0.message.content": SAID,
        **{f"llm.input_messages.1.message.tool_calls.{n}.tool_call.id": "c" for n in range(200)},
    }  # fmt: skip
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in reversed(given.items())]
    async with studio.open(capture_content=True) as console:
        request = as_javascript(name="chat", attributes=attributes)
        assert (await console.http.post("/v1/traces", json=request)).is_success
        (run,) = (await console.until("/api/runs", lambda found: found["runs"]))["runs"]
        (row,) = (await console.get(f"/api/runs/{run['run']}"))["rows"]
        shown = (await console.get(f"/api/spans/{row['id']}"))["attributes"]
    assert json.loads(shown["gen_ai.input.messages"])[0]["parts"][0] == {"type": "text", "content": SAID}
    assert shown["llm.input_messages.1.message.tool_calls.199.tool_call.id"] == "c"
    assert shown["otel.dropped_attributes_count"] > 50  # of what was sent, not of what is shown


async def test_json_is_understood_as_javascript_sends_it(console: Any) -> None:
    """Plain and packed; the answer is JSON."""
    plain = await console.http.post("/v1/traces", json=as_javascript())
    assert (plain.status_code, plain.json()) == (200, {})
    packed = gzip.compress(json.dumps(as_javascript("6b" * 16)).encode())
    assert (
        await console.http.post("/v1/traces", content=packed, headers={**JSON, "content-encoding": "gzip"})
    ).is_success
    runs = await console.until("/api/runs", lambda found: len(found["runs"]) == 2)
    assert {run["title"] for run in runs["runs"]} == {"GET /cart"}
    span = await console.get(f"/api/spans/{'6b' * 16}.eee19b7ec3c1b174")
    assert span["attributes"]["items"] == ["a", "b"] and span["attributes"]["otel.scope.name"] == "fetch"


async def test_what_cannot_be_a_span_is_counted(console: Any) -> None:
    """The rest of the request is taken, as the specification's partial success says, in both forms."""
    request = as_javascript()
    spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    nobody = [{**spans[0], "traceId": "0" * 32}, {**spans[0], "spanId": "0" * 16}]
    spans += [{**spans[0], "spanId": "zz"}, {**spans[0], "endTimeUnixNano": "9" * 30}, "nonsense", {}, *nobody]
    answer = (await console.http.post("/v1/traces", json=request)).json()["partialSuccess"]
    assert answer["rejectedSpans"] == "5"  # what is no object is not even a span
    assert answer["errorMessage"] == "5 with ids or times that no span can have"
    message = ExportTraceServiceRequest()
    scope = message.resource_spans.add().scope_spans.add()
    scope.spans.add(
        trace_id=b"\x07" * 16, span_id=b"\x07" * 8, name="good", start_time_unix_nano=1, end_time_unix_nano=2
    )
    scope.spans.add(trace_id=b"\x07" * 3, span_id=b"", name="bad")
    raw = await console.http.post("/v1/traces", content=message.SerializeToString(), headers=PROTOBUF)
    said = ExportTraceServiceResponse.FromString(raw.content)
    assert (raw.status_code, said.partial_success.rejected_spans) == (200, 1)


async def test_more_than_a_request_may_have_is_said_to_be_left_out(console: Any) -> None:
    """Senders must not repeat what is rejected: so they are told how many, and why."""
    request = as_javascript()
    spans = request["resourceSpans"][0]["scopeSpans"][0]["spans"]
    spans += [{**spans[0], "spanId": f"{number:016x}"} for number in range(1, LIMIT + 3)]
    answer = (await console.http.post("/v1/traces", json=request)).json()["partialSuccess"]
    assert answer["rejectedSpans"] == "3"
    assert answer["errorMessage"] == f"3 beyond the {LIMIT:,} that one request may have: send fewer at once"


async def test_huge_attributes_are_cut_and_counted(console: Any) -> None:
    """The span is there, smaller, and says what it lost."""
    many = [{"key": f"k{n}", "value": {"stringValue": "x"}} for n in range(500)]
    long = {"key": "long", "value": {"stringValue": "y" * 1_000_000}}
    deep: dict[str, Any] = {"stringValue": "z"}
    for _ in range(30):
        deep = {"kvlistValue": {"values": [{"key": "k", "value": deep}]}}
    answer = await console.http.post(
        "/v1/traces", json=as_javascript(attributes=[long, {"key": "deep", "value": deep}, *many])
    )
    assert answer.status_code == 200
    await console.until("/api/runs", lambda found: found["runs"])
    given = (await console.get("/api/spans/5b8efff798038103d269b633813fc60c.eee19b7ec3c1b174"))["attributes"]
    assert len(given["long"]) < 10_000 and "long" in given["antiphon.clipped"]
    assert given["otel.dropped_attributes_count"] > 300


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", JSON, 400),
        (b"[]", JSON, 400),
        (b'{"resourceSpans": 3}', JSON, 400),
        (b"[" * 100_000, JSON, 400),
        (b"\xff\xfe", JSON, 400),
        (b"\xff\xff\xff", PROTOBUF, 400),
        (b"<xml/>", {"content-type": "text/xml"}, 415),
        (b"x", {}, 415),
        (b"x", {**PROTOBUF, "content-encoding": "br"}, 415),
        (b"no gzip", {**PROTOBUF, "content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}", mtime=0)[:-9], {**JSON, "content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}", mtime=0) * 2, {**JSON, "content-encoding": "gzip"}, 400),
        (gzip.compress(bytes(BODY_BYTES + 1), mtime=0), {**PROTOBUF, "content-encoding": "gzip"}, 413),
        (bytes(BODY_BYTES + 1), PROTOBUF, 413),
    ],
)
async def test_malformed_requests_are_refused(
    console: Any, content: bytes, headers: dict[str, str], status: int
) -> None:
    """With a message, and never as the receiver's own failure."""
    answer = await console.http.post("/v1/traces", content=content, headers=headers)
    assert answer.status_code == status and answer.content


async def test_who_has_no_token_sends_nothing(console: Any) -> None:
    """As at the rest of the door."""
    answer = await console.http.post("/v1/traces", json=as_javascript(), headers={"authorization": "Bearer wrong"})
    assert answer.status_code == 401


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(sorted(as_javascript()["resourceSpans"][0]["scopeSpans"][0]["spans"][0]))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(changes=st.dictionaries(fields, json_values, max_size=4), whole=json_values)
def test_whatever_is_sent_is_no_failure_of_ours(changes: dict[str, Any], whole: Any) -> None:
    """Any JSON in any place is taken, counted as rejected, or refused."""
    from antiphon.runtime.clock import SystemClock
    from antiphon.runtime.console.otlp_in import JSON as KIND
    from antiphon.runtime.console.otlp_in import Receiver
    from antiphon.runtime.errors import InvalidMessage
    from antiphon.runtime.telemetry.codec import decode
    from antiphon.runtime.telemetry.feed import Feed
    from antiphon.runtime.telemetry.hashing import ContentHash

    async def publish(batch: bytes, message_id: str, shard: int) -> None:
        decode(batch)

    for body in (as_javascript(**changes), whole, {"resourceSpans": whole}):
        feed = Feed(node="a", publish=publish, clock=SystemClock())
        receiver = Receiver(feed, ContentHash("k"), capture_content=bool(random.getrandbits(1)))
        try:
            answer = receiver.take(KIND, json.dumps(body).encode())
        except InvalidMessage:
            continue
        assert answer.status_code == 200
        asyncio.run(feed.flush())
        assert feed.stats().dropped == 0
