"""Tracing as a whole."""

import asyncio

import pytest
from opentelemetry import trace

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.telemetry.codec import decode
from antiphon.runtime.telemetry.foreign_spans import ForeignSpans
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.telemetry.setup import disabled, start_telemetry
from antiphon.schemas.telemetry import TelemetryBatch

HASHED = ForeignSpans(ContentHash("key"), capture_content=False)


async def test_what_is_traced_is_published_until_the_end() -> None:
    """Spans of the runtime and of foreign instrumentation arrive, at the latest when telemetry is closed."""
    bodies: list[bytes] = []
    seen: list[TelemetryBatch] = []

    async def publish(body: bytes, message_id: str, shard: int) -> None:
        bodies.append(body)

    telemetry = start_telemetry("n1", publish, foreign=HASHED, clock=SystemClock(), environ={}, sinks=[seen.append])
    assert telemetry.enabled
    span = telemetry.tracer.begin("ours", 4, None, {})
    token = span.attach()
    telemetry.provider.get_tracer("lib").start_span("theirs").end()
    span.detach(token)
    span.finish()
    await telemetry.close()
    await telemetry.close()
    (batch,) = (decode(body) for body in bodies)
    theirs, ours = batch.spans
    assert batch.node == "n1" and seen == [batch]
    assert (theirs.parent_id, ours.parent_id) == (ours.span_id, None)


@pytest.mark.parametrize("capture", [False, True])
async def test_what_libraries_write_of_prompts_is_kept_only_where_contents_are(capture: bool) -> None:
    """Instrumentation in our own process is no way around the setting; tokens and hashes stay either way."""
    bodies: list[bytes] = []

    async def publish(body: bytes, message_id: str, shard: int) -> None:
        bodies.append(body)

    foreign = ForeignSpans(ContentHash("key"), capture_content=capture)
    telemetry = start_telemetry("n1", publish, foreign=foreign, clock=SystemClock(), environ={})
    with telemetry.provider.get_tracer("openai").start_as_current_span("chat m") as span:
        span.set_attributes({
            "gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 7,
            "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "my salary is 100",
        })  # fmt: skip
        span.add_event("gen_ai.user.message", {"content": "my salary is 100"})
    await telemetry.close()
    (body,) = bodies
    (theirs,) = decode(body).spans
    assert (b"my salary" in body) is capture
    assert theirs.attributes["otel.scope.name"] == "openai" and theirs.attributes["gen_ai.usage.input_tokens"] == 7
    assert theirs.attributes["antiphon.operation"] == "model" and theirs.attributes["antiphon.input.sha256"]


async def test_a_bad_variable_starts_nothing() -> None:
    """The error comes before any task is started."""

    async def publish(body: bytes, message_id: str, shard: int) -> None:
        raise AssertionError

    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": "x"}
    before = asyncio.all_tasks()
    with pytest.raises(ConfigurationError):
        start_telemetry("n", publish, foreign=HASHED, clock=SystemClock(), environ=environ)
    assert asyncio.all_tasks() == before


async def test_telemetry_that_is_off_records_nothing() -> None:
    """Off means no feed, spans that do nothing, and a close that has nothing to do."""
    telemetry = disabled()
    span = telemetry.tracer.begin("x", 4, None, {}, announce=True)
    span.finish({"a": 1})
    assert not telemetry.enabled and telemetry.feed is None and not span.is_recording()
    assert telemetry.provider.get_tracer("lib").start_span("x").get_span_context() == trace.INVALID_SPAN_CONTEXT
    await telemetry.close()
