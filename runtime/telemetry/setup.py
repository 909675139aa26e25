"""Tracing as one thing that a process has: made by the composition root, closed with it."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from opentelemetry import trace

from antiphon.runtime.clock import Clock
from antiphon.runtime.telemetry.codec import SpanRow
from antiphon.runtime.telemetry.export import otlp_sink
from antiphon.runtime.telemetry.feed import Feed, Publish, Sink
from antiphon.runtime.telemetry.foreign_spans import ForeignRecorder, ForeignSpans
from antiphon.runtime.telemetry.tracer import DisabledTracer, LightSpan, LightTracer, LightTracerProvider, id_source

if TYPE_CHECKING:
    from antiphon.runtime.telemetry.otlp import OtlpSink


@dataclass(frozen=True, slots=True, kw_only=True)
class Telemetry:
    """What a process traces with. Where ``enabled`` is false there is no feed and spans record nothing.

    ``provider`` is for ``opentelemetry.trace.set_tracer_provider``, which a process may call once.
    """

    tracer: LightTracer
    provider: trace.TracerProvider
    feed: Feed | None = None
    otlp: "OtlpSink | None" = None

    @property
    def enabled(self) -> bool:
        """Whether anything is recorded."""
        return self.feed is not None

    async def close(self) -> None:
        """Send what is left: two seconds for the bus, two for OTLP. Idempotent."""
        if self.feed is not None:
            await self.feed.close()
        if self.otlp is not None:
            await self.otlp.close()


def start_telemetry(
    node: str,
    publish: Publish,
    *,
    foreign: ForeignSpans,
    clock: Clock,
    environ: Mapping[str, str] | None = None,
    sample: float = 1.0,
    sinks: Sequence[Sink] = (),
    shards: int = 1,
) -> Telemetry:
    """Start tracing: batches go to ``publish`` and ``sinks``, and by OTLP where ``environ`` names an endpoint.

    Needs a running event loop. ``foreign`` says how spans of libraries are kept; ``shards`` as Feed has it. ``sample``
    is the probability that a new trace is recorded. ``environ`` is the process's own unless given, as OpenTelemetry's
    standard has it.

    Raises:
        ConfigurationError: an OTEL_ variable that cannot be used.
    """
    otlp = otlp_sink(os.environ if environ is None else environ, node=node)
    feed = Feed(node=node, publish=publish, clock=clock, sinks=(*sinks, otlp) if otlp else sinks, shards=shards)
    random = id_source()
    feed.start()
    return Telemetry(
        tracer=LightTracer(feed, random, sample=sample),
        provider=LightTracerProvider(ForeignRecorder(feed, foreign), random, sample=sample),
        feed=feed,
        otlp=otlp,
    )


def disabled() -> Telemetry:
    """Tracing off: spans record nothing, and pass on the identity of whoever called."""
    return Telemetry(tracer=DisabledTracer(_Nowhere(), id_source()), provider=trace.NoOpTracerProvider())


class _Nowhere:
    """A recorder for spans that record nothing."""

    def unix_ns(self) -> int:
        return 0

    def add_span(self, row: SpanRow) -> None:
        return None

    def watch(self, span: LightSpan) -> None:
        return None

    def unwatch(self, span: LightSpan) -> None:
        return None
