"""The span of our own tracer: OpenTelemetry's interface over a SpanRow, at a price that leaves tracing always on."""

import traceback
from collections.abc import Mapping, Sequence
from contextvars import Token
from types import TracebackType
from typing import Any, Final, Protocol

from opentelemetry import context as context_api
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, Status, StatusCode, TraceFlags, TraceState
from opentelemetry.util import types

from antiphon.runtime.telemetry.attributes import (
    EXCEPTION_ESCAPED,
    EXCEPTION_EVENT,
    EXCEPTION_MESSAGE,
    EXCEPTION_STACKTRACE,
    EXCEPTION_TYPE,
)
from antiphon.runtime.telemetry.codec import SpanRow
from antiphon.runtime.telemetry.values import plain
from antiphon.schemas.telemetry import SpanEvent, SpanLink

RECORD_EXCEPTION: Final = 1
SET_STATUS: Final = 2
STACK_FRAMES: Final = 32  # innermost frames of a recorded stack
_LATEST_NS: Final = (1 << 63) - 1


class Recorder(Protocol):
    """Where spans go; the Feed is the real one. Every method may be called from any thread."""

    def unix_ns(self) -> int:
        """The time for records."""
        ...

    def add_span(self, row: SpanRow) -> None:
        """Take a span that has ended."""
        ...

    def watch(self, span: "LightSpan") -> None:
        """Write a start record for ``span`` if it still runs when the next batch goes out."""
        ...

    def unwatch(self, span: "LightSpan") -> None:
        """``span`` has ended."""
        ...


class LightSpan(trace.Span):
    """A span that is recorded from birth to its end, or never (not sampled); then it only propagates.

    It is made by LightTracer. Whoever has it as parent reads ``trace_id``, ``span_id``, ``flags`` and ``state``.
    """

    __slots__ = ("_recorder", "_row", "flags", "span_id", "state", "trace_id")

    # Few spans ever set these: as class attributes they cost a new span nothing.
    _context: SpanContext | None = None
    _on_error = RECORD_EXCEPTION | SET_STATUS
    _watched = False

    def __init__(
        self, trace_id: bytes, span_id: bytes, flags: int, state: str, row: SpanRow | None, recorder: Recorder
    ) -> None:
        self.trace_id = trace_id
        self.span_id = span_id
        self.flags = flags
        self.state = state
        self._row = row  # None once ended, and from the start where not sampled
        self._recorder = recorder

    # the runtime's own path

    def finish(
        self, attributes: dict[str, Any] | None = None, status: int = 0, message: str = "", end_ns: int | None = None
    ) -> None:
        """End the span, now unless ``end_ns`` is given, with last attributes and OpenTelemetry's status number.

        A second call does nothing.
        """
        row = self._row
        if row is None:
            return
        self._row = None
        if attributes:
            row.attributes.update(attributes)
        if status:
            row.status = status
            row.status_message = message
        recorder = self._recorder
        if end_ns is None:
            end_ns = recorder.unix_ns()
        # the wall clock may step back, and 0 would mean a start record
        row.end_ns = end_ns if end_ns > row.start_ns else row.start_ns or 1
        if self._watched:
            recorder.unwatch(self)
        recorder.add_span(row)

    def attach(self) -> Token[Context]:
        """Make this the current span of this asyncio task or thread; give the token back to ``detach``."""
        return context_api.attach(trace.set_span_in_context(self))

    @staticmethod
    def detach(token: Token[Context]) -> None:
        """Undo ``attach``."""
        context_api.detach(token)

    @property
    def start_ns(self) -> int:
        """When a span that still runs began (unix ns); 0 for any other."""
        row = self._row
        return 0 if row is None else row.start_ns

    def attribute(self, key: str) -> Any:
        """An attribute of a span that still runs, or None."""
        row = self._row
        return None if row is None else row.attributes.get(key)

    def watch(self) -> None:
        """Announce the span with a start record if it lasts, so that a killed process leaves a trace of it."""
        if self._row is not None:
            self._watched = True
            self._recorder.watch(self)

    def started(self) -> SpanRow | None:
        """A start record as of now, or None if there is nothing to announce."""
        row = self._row
        if row is None:
            return None
        return SpanRow(
            trace_id=row.trace_id,
            span_id=row.span_id,
            name=row.name,
            start_ns=row.start_ns,
            attributes=dict(row.attributes),
            kind=row.kind,
            parent_id=row.parent_id,
            links=list(row.links) if row.links else None,
        )

    # OpenTelemetry's interface

    def end(self, end_time: int | None = None) -> None:
        """End the span at ``end_time`` (unix ns) or now. A second call does nothing."""
        self.finish(end_ns=None if end_time is None else time_or_now(end_time, self._recorder))

    def get_span_context(self) -> SpanContext:
        """The span's identity."""
        context = self._context
        if context is None:
            state = TraceState.from_header([self.state]) if self.state else None
            trace_id, span_id = int.from_bytes(self.trace_id, "big"), int.from_bytes(self.span_id, "big")
            context = self._context = SpanContext(trace_id, span_id, False, TraceFlags(self.flags), state)
        return context

    def is_recording(self) -> bool:
        """Whether what is set still ends up in the record."""
        return self._row is not None

    def set_attribute(self, key: str, value: types.AnyValue) -> None:
        """Set one attribute; a value of a type that OpenTelemetry does not have becomes a string."""
        row = self._row
        if row is not None and value is not None:
            if type(key) is not str:
                key = str(key)
            row.attributes[key] = value if type(value) is str else plain(value)

    def set_attributes(self, attributes: Mapping[str, types.AnyValue]) -> None:
        """Set several attributes."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(self, name: str, attributes: types.Attributes = None, timestamp: int | None = None) -> None:
        """Add an event at ``timestamp`` (unix ns) or now."""
        row = self._row
        if row is not None:
            if row.events is None:
                row.events = []
            at_ns = time_or_now(timestamp, self._recorder)
            row.events.append(SpanEvent(name=str(name), unix_ns=at_ns, attributes=plain_attributes(attributes)))

    def add_link(self, context: SpanContext, attributes: types.Attributes = None) -> None:
        """Link another span; one without identity is ignored."""
        row = self._row
        if row is not None and context.is_valid:
            if row.links is None:
                row.links = []
            row.links.append(link_to(context, attributes))

    def update_name(self, name: str) -> None:
        """Change the name."""
        row = self._row
        if row is not None:
            row.name = str(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status. Ok is final, unset changes nothing, and only an error keeps its description."""
        row = self._row
        if row is None:
            return
        if isinstance(status, Status):
            code, description = status.status_code, status.description
        else:
            code = status
        if code is StatusCode.UNSET or row.status == StatusCode.OK.value:
            return
        row.status = code.value
        row.status_message = str(description or "") if code is StatusCode.ERROR else ""

    def record_exception(
        self,
        exception: BaseException,
        attributes: types.Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an ``exception`` event: type, message and the innermost frames of the stack."""
        if self._row is None:
            return
        kind = type(exception)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        frames = traceback.format_exception(kind, exception, exception.__traceback__, limit=-STACK_FRAMES)
        event: dict[str, types.AnyValue] = {
            EXCEPTION_TYPE: f"{module}{kind.__qualname__}",
            EXCEPTION_MESSAGE: str(exception),
            EXCEPTION_STACKTRACE: "".join(frames),
            EXCEPTION_ESCAPED: escaped,
        }
        event.update(attributes or {})
        self.add_event(EXCEPTION_EVENT, event, timestamp)

    def failed(self, error: BaseException) -> None:
        """Record an exception that leaves the span's block, as far as the span was told to."""
        if self._on_error & RECORD_EXCEPTION:
            self.record_exception(error)
        if self._on_error & SET_STATUS:
            self.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")

    def on_error(self, *, record_exception: bool, set_status: bool) -> None:
        """Say what ``failed`` does."""
        self._on_error = RECORD_EXCEPTION * record_exception | SET_STATUS * set_status

    def __exit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Record what ended the block, unless it is a cancellation or an exit, and end the span."""
        if isinstance(exc_val, Exception):
            self.failed(exc_val)
        self.end()


def time_or_now(given: object, recorder: Recorder) -> int:
    """``given`` if it is a time in unix ns, else now: readers refuse a batch with any other kind of number."""
    return given if type(given) is int and 0 <= given <= _LATEST_NS else recorder.unix_ns()


def plain_attributes(attributes: types.Attributes) -> dict[str, Any]:
    """A copy with OpenTelemetry's types only."""
    if not attributes:
        return {}
    return {
        key if type(key) is str else str(key): value if type(value) is str else plain(value)
        for key, value in attributes.items()
        if value is not None
    }


def link_to(context: SpanContext, attributes: types.Attributes = None) -> SpanLink:
    """A link to the span that ``context`` names."""
    return SpanLink(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        attributes=plain_attributes(attributes),
    )


def links_to(links: Sequence[Link] | None) -> list[SpanLink] | None:
    """The links that name a span, or None without any."""
    return [link_to(link.context, link.attributes) for link in links or () if link.context.is_valid] or None
