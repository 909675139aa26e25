"""Tracing as a whole."""

import asyncio

import pytest
from opentelemetry import trace

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.telemetry.codec import decode
from antiphon.runtime.telemetry.setup import disabled, start_telemetry
from antiphon.schemas.telemetry import TelemetryBatch


async def test_what_is_traced_is_published_until_the_end() -> None:
    """Spans of the runtime and of foreign instrumentation arrive, at the latest when telemetry is closed."""
    bodies: list[bytes] = []
    seen: list[TelemetryBatch] = []

    async def publish(body: bytes, message_id: str, shard: int) -> None:
        bodies.append(body)

    telemetry = start_telemetry("n1", publish, clock=SystemClock(), environ={}, sinks=[seen.append])
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


async def test_a_bad_variable_starts_nothing() -> None:
    """The error comes before any task is started."""

    async def publish(body: bytes, message_id: str, shard: int) -> None:
        raise AssertionError

    before = asyncio.all_tasks()
    with pytest.raises(ConfigurationError):
        start_telemetry("n", publish, clock=SystemClock(), environ={"OTEL_EXPORTER_OTLP_ENDPOINT": "x"})
    assert asyncio.all_tasks() == before


async def test_telemetry_that_is_off_records_nothing() -> None:
    """Off means no feed, spans that do nothing, and a close that has nothing to do."""
    telemetry = disabled()
    span = telemetry.tracer.begin("x", 4, None, {}, announce=True)
    span.finish({"a": 1})
    assert not telemetry.enabled and telemetry.feed is None and not span.is_recording()
    assert telemetry.provider.get_tracer("lib").start_span("x").get_span_context() == trace.INVALID_SPAN_CONTEXT
    await telemetry.close()
