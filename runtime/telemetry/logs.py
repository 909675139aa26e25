"""One log line per event, with the trace it belongs to: for people on standard error, and for the feed."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any, Final, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from antiphon.runtime.clock import Clock
from antiphon.runtime.telemetry import attributes
from antiphon.runtime.telemetry.span import LightSpan
from antiphon.schemas.telemetry import LogRecord

TRACE_ID: Final = "trace_id"
SPAN_ID: Final = "span_id"
_WORK: Final = (("agent", attributes.AGENT), ("run", attributes.RUN), ("task", attributes.TASK))
_FED: Final = frozenset(("info", "warning", "error", "critical"))
_OWN_FIELDS: Final = frozenset(("event", "level", TRACE_ID, SPAN_ID, "exc_info"))


def configure_logging(
    level: str,
    *,
    clock: Clock,
    feed: Callable[[LogRecord], None] | None = None,
    stream: TextIO | None = None,
) -> None:
    """Set up structlog and the standard library's logging for this process. The composition root calls it, once.

    Lines go to ``stream`` (standard error): readable on a terminal, else JSON. What is bound with
    ``structlog.contextvars`` (run, task, agent) and the current span's ids are in each. ``feed`` also gets every
    event from info up. Libraries that use ``logging`` come out alike, from warning up (or ``level``, if that is more).
    """
    out = sys.stderr if stream is None else stream
    least = logging.getLevelNamesMapping()[level.upper()]
    common: list[Processor] = [structlog.contextvars.merge_contextvars, structlog.stdlib.add_log_level, add_trace_ids]
    if feed is not None:
        common.append(Tap(feed, clock))
    common.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
    render: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]  # rich ones took seconds
        if out.isatty()
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    )
    structlog.configure(
        processors=[*common, *render],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,  # loggers made before this call must follow it too
    )
    _configure_standard_library(out, max(least, logging.WARNING), common, render)


def add_trace_ids(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Processor: the current span's ids, in hexadecimal, and the agent, run and task it works for.

    Whose work it is is read from the span when a line is written, so that a handler that logs nothing pays nothing.
    """
    span = trace.get_current_span()
    if isinstance(span, LightSpan):
        for key, name in _WORK:
            value = span.attribute(name)
            if value is not None:
                event.setdefault(key, value)
    context = span.get_span_context()
    if context.is_valid:
        event[TRACE_ID] = trace.format_trace_id(context.trace_id)
        event[SPAN_ID] = trace.format_span_id(context.span_id)
    return event


class Tap:
    """Processor: hands a copy of each event from info up to the feed and passes the event on unchanged."""

    def __init__(self, feed: Callable[[LogRecord], None], clock: Clock) -> None:
        self._feed = feed
        self._clock = clock

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        """Feed the event."""
        if event["level"] in _FED:
            self._feed(self._record(logger, method, event))
        return event

    def _record(self, logger: WrappedLogger, method: str, event: EventDict) -> LogRecord:
        fields: dict[str, Any] = {
            key: value for key, value in event.items() if key not in _OWN_FIELDS and not key.startswith("_")
        }
        if event.get("exc_info"):
            formatted = structlog.processors.format_exc_info(logger, method, {"exc_info": event["exc_info"]})
            fields.update(formatted)
        trace_id, span_id = event.get(TRACE_ID), event.get(SPAN_ID)
        return LogRecord(
            unix_ns=self._clock.unix_ns(),
            level=event["level"],
            event=str(event["event"]),
            trace_id=bytes.fromhex(trace_id) if trace_id else None,
            span_id=bytes.fromhex(span_id) if span_id else None,
            fields=fields,
        )


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second call replaces it and nobody else's."""


def _configure_standard_library(
    out: TextIO, least: int, common: Sequence[Processor], render: Sequence[Processor]
) -> None:
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *common],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    for known in [known for known in root.handlers if isinstance(known, _Handler)]:
        root.removeHandler(known)
    root.addHandler(handler)
    root.setLevel(least)
