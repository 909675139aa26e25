"""What the console's API and ``--json`` say, typed. Times are milliseconds, ids hexadecimal."""

import base64
from collections.abc import Mapping
from typing import Any, cast

from antiphon.runtime.console.critical import critical
from antiphon.runtime.console.tree import Part, Row, Work, rows_of, segments_of
from antiphon.runtime.store.facts import ERROR
from antiphon.runtime.store.gaps import NodeHealth
from antiphon.runtime.store.query import Health, RunPage, RunRecord
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.runtime.store.spending import Spending, spending_of
from antiphon.schemas.finding import Finding
from antiphon.schemas.message import Value
from antiphon.schemas.node import AgentCard, NodeCard
from antiphon.schemas.telemetry import LogRecord, SpanRecord

_MS = 1e6


class RunView(Value):
    """A run in a list."""

    run: str
    title: str
    status: RunStatus
    start_unix_ms: float
    duration_ms: float
    spans: int
    unfinished: int
    errors: int
    model_calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    cost_usd: float
    agents: tuple[str, ...]
    models: tuple[str, ...]

    @classmethod
    def of(cls, run: Run) -> "RunView":
        """From the store's totals."""
        return cls(
            run=run.run,
            title=run.entry.title,
            status=run.entry.status,
            start_unix_ms=run.start_ns / _MS,
            duration_ms=run.duration_ns / _MS,
            spans=run.spans,
            unfinished=run.unfinished,
            errors=run.errors,
            model_calls=run.model_calls,
            input_tokens=run.input_tokens,
            cached_tokens=run.cached_tokens,
            output_tokens=run.output_tokens,
            cost_usd=run.cost_usd,
            agents=run.agents,
            models=run.models,
        )


class RunsView(Value):
    """A page of runs, newest first; ``next`` is the cursor of the next page."""

    runs: tuple[RunView, ...]
    next: str | None

    @classmethod
    def of(cls, page: RunPage) -> "RunsView":
        """From the store's page."""
        return cls(runs=tuple(map(RunView.of, page.runs)), next=None if page.next is None else str(page.next))


class SegmentView(Value):
    """A stretch of a row's time, from the start of the run."""

    part: Part
    start_ms: float
    end_ms: float


class RowView(Value):
    """A line of the waterfall. ``id`` is TRACE.SPAN; ``links`` are ids of the spans it continues."""

    id: str
    caller: str | None
    depth: int
    label: str
    work: Work
    agent: str
    model: str
    start_ms: float
    duration_ms: float | None  # None: unfinished
    queue_ms: float
    prefill_ms: float
    decode_ms: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    attempt: int
    error: str | None
    links: tuple[str, ...]
    critical: bool
    segments: tuple[SegmentView, ...]

    @classmethod
    def of(cls, row: Row, run: Run, *, critical: bool) -> "RowView":
        """One row, placed in its run."""
        span, facts = row.span, row.facts
        return cls(
            id=span_key(span.trace_id, span.span_id),
            caller=span_key(row.caller.trace_id, row.caller.span_id) if row.caller is not None else None,
            depth=row.depth,
            label=row.label,
            work=row.work,
            agent=facts.agent,
            model=facts.model,
            start_ms=(row.start_ns - run.start_ns) / _MS,
            duration_ms=max(span.end_ns - span.start_ns, 0) / _MS if span.end_ns else None,
            queue_ms=facts.queue_ns / _MS,
            prefill_ms=facts.prefill_ns / _MS,
            decode_ms=facts.decode_ns / _MS,
            input_tokens=facts.input_tokens,
            cached_tokens=facts.cached_tokens,
            output_tokens=facts.output_tokens,
            attempt=facts.attempt,
            error=(span.status_message or "error") if span.status == ERROR else None,
            links=tuple(span_key(link.trace_id, link.span_id) for link in row.links),
            critical=critical,
            segments=tuple(
                SegmentView(
                    part=item.part,
                    start_ms=(item.start_ns - run.start_ns) / _MS,
                    end_ms=(item.end_ns - run.start_ns) / _MS,
                )
                for item in segments_of(row, run.last_ns)
            ),
        )


class LogView(Value):
    """One log event of a run."""

    at_ms: float
    level: str
    event: str
    fields: dict[str, Any]
    span: str | None

    @classmethod
    def of(cls, log: LogRecord, start_ns: int) -> "LogView":
        """Placed in its run."""
        return cls(
            at_ms=(log.unix_ns - start_ns) / _MS,
            level=log.level,
            event=log.event,
            fields=plain(log.fields),
            span=span_key(log.trace_id, log.span_id) if log.trace_id and log.span_id else None,
        )


class SpendingView(Value):
    """Time (seconds of work) and tokens of one agent, operation and model."""

    agent: str
    operation: str
    model: str
    count: int
    errors: int
    total_s: float
    own_s: float | None
    queue_s: float
    prefill_s: float
    decode_s: float
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    p50_s: float
    p95_s: float

    @classmethod
    def of(cls, row: Spending) -> "SpendingView":
        """The same, for the wire."""
        return cls(**{name: getattr(row, name) for name in cls.model_fields})


class RunDetail(Value):
    """One run whole. ``truncated``: only the earliest spans or logs are here."""

    run: RunView
    rows: tuple[RowView, ...]
    logs: tuple[LogView, ...]
    spending: tuple[SpendingView, ...]
    truncated: bool

    @classmethod
    def of(cls, record: RunRecord) -> "RunDetail":
        """From the store's record."""
        path = critical(record.spans)
        return cls(
            run=RunView.of(record.run),
            rows=tuple(RowView.of(row, record.run, critical=row.span.span_id in path) for row in rows_of(record.spans)),
            logs=tuple(LogView.of(log, record.run.start_ns) for log in record.logs),
            spending=tuple(map(SpendingView.of, spending_of(record.spans))),
            truncated=record.truncated,
        )


class EventView(Value):
    """Something that happened inside a span."""

    name: str
    unix_ms: float
    attributes: dict[str, Any]


class SpanView(Value):
    """One span as it was recorded."""

    id: str
    parent: str | None
    name: str
    kind: int
    start_unix_ms: float
    duration_ms: float | None
    status: int
    status_message: str
    attributes: dict[str, Any]
    events: tuple[EventView, ...]
    links: tuple[str, ...]

    @classmethod
    def of(cls, span: SpanRecord) -> "SpanView":
        """For the details of a row."""
        return cls(
            id=span_key(span.trace_id, span.span_id),
            parent=span_key(span.trace_id, span.parent_id) if span.parent_id else None,
            name=span.name,
            kind=span.kind,
            start_unix_ms=span.start_ns / _MS,
            duration_ms=(span.end_ns - span.start_ns) / _MS if span.end_ns else None,
            status=span.status,
            status_message=span.status_message,
            attributes=plain(span.attributes),
            events=tuple(
                EventView(name=event.name, unix_ms=event.unix_ns / _MS, attributes=plain(event.attributes))
                for event in span.events
            ),
            links=tuple(span_key(link.trace_id, link.span_id) for link in span.links),
        )


class TraceView(Value):
    """The run that a trace belongs to."""

    run: str


class NodeHealthView(Value):
    """How completely one node's telemetry arrived."""

    node: str
    batches: int
    missing: int
    dropped: int
    last_unix_ms: float

    @classmethod
    def of(cls, health: NodeHealth) -> "NodeHealthView":
        """From the store's count."""
        return cls(
            node=health.node,
            batches=health.batches,
            missing=health.missing,
            dropped=health.dropped,
            last_unix_ms=health.last_ns / _MS,
        )


class HealthView(Value):
    """How complete the record is; ``rejected`` messages could not be read and were kept aside.

    ``set_aside``: files of damaged stores, the newest first; what was recorded then is in them only.
    """

    nodes: tuple[NodeHealthView, ...]
    rejected: int
    set_aside: tuple[str, ...]

    @classmethod
    def of(cls, health: Health) -> "HealthView":
        """From the store's counts."""
        nodes = tuple(map(NodeHealthView.of, health.nodes))
        return cls(nodes=nodes, rejected=health.rejected, set_aside=health.set_aside)


class DirectoryView(Value):
    """Who is alive, and what each agent takes."""

    nodes: tuple[NodeCard, ...]
    agents: tuple[AgentCard, ...]


class FindingsView(Value):
    """What the logging agent says, open ones first."""

    findings: tuple[Finding, ...]


class SpendingsView(Value):
    """Where time and tokens went in the last ``window_s`` seconds."""

    window_s: float
    spending: tuple[SpendingView, ...]


def span_key(trace_id: bytes, span_id: bytes) -> str:
    """TRACE.SPAN in hexadecimal."""
    return f"{trace_id.hex()}.{span_id.hex()}"


def plain(values: Mapping[str, object]) -> dict[str, Any]:
    """As a browser reads it: bytes become base64, numbers that JavaScript cannot hold exactly become text."""
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return str(value)
    if isinstance(value, int) and abs(value) > 2**53:
        return str(value)
    if isinstance(value, dict):
        return plain(cast("dict[str, object]", value))
    if isinstance(value, list | tuple):
        return [_plain(item) for item in cast("list[object]", value)]
    return value
