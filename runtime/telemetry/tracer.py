"""Makes spans: OpenTelemetry's tracer for any instrumentation, and a shorter path for the runtime itself."""

import os
import struct
import weakref
from collections.abc import Iterator, Sequence
from itertools import repeat
from random import Random
from typing import Any

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind
from opentelemetry.util import types
from opentelemetry.util._decorator import _agnosticcontextmanager  # the type that trace.Tracer prescribes

from antiphon.runtime.telemetry.attributes import SAMPLE_P, SCOPE_NAME
from antiphon.runtime.telemetry.codec import SpanRow
from antiphon.runtime.telemetry.propagation import SAMPLED, Parent, RemoteParent, parse
from antiphon.runtime.telemetry.span import LightSpan, Recorder, links_to, plain_attributes, time_or_now
from antiphon.schemas.identity import new_id
from antiphon.schemas.parking import OpenSpan
from antiphon.schemas.telemetry import SpanLink

__all__ = ["DisabledTracer", "LightSpan", "LightTracer", "LightTracerProvider", "id_source"]

_NO_SPAN = bytes(8)


def id_source() -> Random:
    """A fast source of ids, seeded by one, and by the system in every forked child: two must not share their ids."""
    source = Random(new_id())
    alive = weakref.ref(source)

    def reseed() -> None:
        found = alive()
        if found is not None:
            found.seed(os.urandom(32))

    os.register_at_fork(after_in_child=reseed)
    return source


class LightTracer(trace.Tracer):
    """A tracer whose spans nest with those of any other: both keep the current span in OpenTelemetry's context.

    A root is recorded with probability ``sample``; children do as their parent did, in this process or another.
    ``random`` gives ids (``id_source()`` outside tests); ``scope`` names the instrumentation, empty for our own.
    """

    def __init__(self, recorder: Recorder, random: Random, *, sample: float = 1.0, scope: str = "") -> None:
        self._recorder = recorder
        self._unix_ns = recorder.unix_ns
        self._random = random
        # Iterators that run in C, at a third of the cost; 0 is no id, but one in 2**64 need not be looked for.
        self._span_ids = map(struct.Struct(">Q").pack, map(random.getrandbits, repeat(64)))
        self._trace_ids = map(struct.Struct(">IQ").pack, *(map(random.getrandbits, repeat(n)) for n in (32, 64)))
        self._sample = sample
        self._scope = scope

    def begin(
        self,
        name: str,
        kind: int,
        parent: Parent | None,
        attributes: dict[str, Any],
        *,
        links: list[SpanLink] | None = None,
        announce: bool = False,
        start_ns: int | None = None,
        goes_on: OpenSpan | None = None,
    ) -> LightSpan:
        """A running span, not yet current. The runtime's own path: what it is given is kept, not copied.

        ``kind`` is OpenTelemetry's number. ``parent`` None makes a root (``current()`` is the parent by context).
        ``announce``: leave a start record if the span lasts. ``goes_on``: the span is this one, begun elsewhere.
        Attribute values must be OpenTelemetry's types.
        """
        known = parse(goes_on.traceparent) if goes_on is not None else None
        if goes_on is not None and known is not None:
            trace_id, flags, state = known.trace_id, known.flags, parent.state if parent is not None else ""
            parent_id = parent.span_id if parent is not None else None
            start_ns = goes_on.start_unix_ns
        elif parent is None:
            if start_ns is None:
                start_ns = self._unix_ns()
            # Seconds first: traces of one time lie together in every index (W3C asks for 7 random bytes, at the end).
            trace_id = (start_ns // 1_000_000_000 & 0xFFFFFFFF).to_bytes(4, "big") + next(self._trace_ids)
            parent_id = None
            flags = 1
            state = ""
            if self._sample < 1.0:
                flags = SAMPLED if self._random.random() < self._sample else 0
                attributes[SAMPLE_P] = self._sample
        else:
            trace_id = parent.trace_id
            parent_id = parent.span_id
            flags = parent.flags
            state = parent.state
        span_id = next(self._span_ids) if known is None else known.span_id
        if not flags & SAMPLED:
            return LightSpan(trace_id, span_id, flags, state, None, self._recorder)
        if start_ns is None:
            start_ns = self._unix_ns()
        row = SpanRow(trace_id, span_id, name, start_ns, attributes, kind, parent_id, 0, 0, "", None, links)
        span = LightSpan(trace_id, span_id, flags, state, row, self._recorder)
        if announce:
            span.watch()
        return span

    def current(self, context: Context | None = None) -> Parent | None:
        """The current span, whoever made it, as a parent; None if there is none."""
        span = trace.get_current_span(context)
        if type(span) is LightSpan:
            return span if span.span_id != _NO_SPAN else None
        found = span.get_span_context()
        if not found.is_valid:
            return None
        state = found.trace_state.to_header() if found.trace_state else ""
        return RemoteParent(
            found.trace_id.to_bytes(16, "big"), found.span_id.to_bytes(8, "big"), int(found.trace_flags), state
        )

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> LightSpan:
        """A running span, not yet current; its parent is the current span of ``context``."""
        own = plain_attributes(attributes)
        if self._scope:
            own[SCOPE_NAME] = self._scope
        start_ns = None if start_time is None else time_or_now(start_time, self._recorder)
        parent = self.current(context)
        span = self.begin(str(name), kind.value, parent, own, links=links_to(links), start_ns=start_ns)
        if not (record_exception and set_status_on_exception):
            span.on_error(record_exception=record_exception, set_status=set_status_on_exception)
        return span

    @_agnosticcontextmanager
    def start_as_current_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
        end_on_exit: bool = True,
    ) -> Iterator[trace.Span]:
        """A running span that is current inside the ``with`` block or the decorated function."""
        span = self.start_span(
            name, context, kind, attributes, links, start_time, record_exception, set_status_on_exception
        )
        token = span.attach()
        try:
            yield span
        except Exception as error:
            span.failed(error)
            raise
        finally:
            context_api.detach(token)
            if end_on_exit:
                span.end()


class DisabledTracer(LightTracer):
    """Records nothing and hands identities through, so that a node with tracing off does not cut others' traces."""

    def begin(
        self,
        name: str,
        kind: int,
        parent: Parent | None,
        attributes: dict[str, Any],
        *,
        links: list[SpanLink] | None = None,
        announce: bool = False,
        start_ns: int | None = None,
        goes_on: OpenSpan | None = None,
    ) -> LightSpan:
        """A span that is its parent, as far as others can see, and records nothing."""
        if parent is None:
            return LightSpan(bytes(16), _NO_SPAN, 0, "", None, self._recorder)
        return LightSpan(parent.trace_id, parent.span_id, parent.flags, parent.state, None, self._recorder)

    def start_span(
        self,
        name: str,
        context: Context | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        attributes: types.Attributes = None,
        links: Sequence[Link] | None = None,
        start_time: int | None = None,
        record_exception: bool = True,
        set_status_on_exception: bool = True,
    ) -> LightSpan:
        """As ``begin``, under the current span of ``context``."""
        return self.begin(name, 0, self.current(context), {})


class LightTracerProvider(trace.TracerProvider):
    """For ``trace.set_tracer_provider``: other instrumentation then records through us, under its own scope name."""

    def __init__(self, recorder: Recorder, random: Random, *, sample: float = 1.0) -> None:
        self._recorder = recorder
        self._random = random
        self._sample = sample

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: types.Attributes = None,
    ) -> LightTracer:
        """A tracer whose spans carry ``otel.scope.name``."""
        return LightTracer(self._recorder, self._random, sample=self._sample, scope=instrumenting_module_name)
