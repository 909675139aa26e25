"""Records to rows and back. Attributes are JSON text, so that SQL can look into them."""

import sqlite3
from typing import Any

import msgspec

from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.store.facts import PRODUCER, Facts, label_of
from antiphon.runtime.store.runs import Entry, Run, RunStatus
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.foreign_trace import FOREIGN, WORDS_IN, WORDS_OUT
from antiphon.schemas.telemetry import LogRecord, SpanEvent, SpanLink, SpanRecord, TelemetryBatch

SPAN_COLUMNS = (
    "trace_id, span_id, parent_id, run, node, agent, handler, operation, name, kind, start_ns, end_ns, status, "
    "status_message, model, input_tokens, output_tokens, cached_tokens, attributes, events, label, queue_ns, "
    "prefill_ns, decode_ns"
)
RUN_COLUMNS = (
    "run, start_ns, last_ns, obs, spans, unfinished, errors, model_calls, input_tokens, output_tokens, "
    "cached_tokens, entry_rank, entry_key, entry_start_ns, entry_attempt, title, status, cost_usd"
)
_IDS, _AN_ID = (16, 8, 8), bytes(8)
_LARGEST = 2**63 - 1  # what SQLite's integers hold
_encoder = msgspec.json.Encoder(enc_hook=str)
_events = msgspec.json.Decoder(list[SpanEvent])
_mapping = msgspec.json.Decoder(dict[str, Any])


def check_batch(batch: TelemetryBatch) -> None:
    """Refuse ids, numbers and times that no span or log can have.

    Raises:
        InvalidMessage: with what was found.
    """
    if not (0 < batch.sequence <= _LARGEST and 0 <= batch.dropped <= _LARGEST):
        raise InvalidMessage(f"batch number {batch.sequence}, {batch.dropped} dropped; expected from 1, and from 0")
    for span in batch.spans:
        if (
            len(span.trace_id) != 16
            or len(span.span_id) != 8
            or len(span.parent_id or _AN_ID) != 8
            or span.links
            or not (0 <= span.start_ns <= _LARGEST and 0 <= span.end_ns <= _LARGEST)
            or not (0 <= span.kind <= 4 and 0 <= span.status <= 2)
        ):
            check_span(span)
    for log in batch.logs:
        if not 0 <= log.unix_ns <= _LARGEST:
            raise InvalidMessage(f"log {log.event[:80]!r} has time {log.unix_ns}; expected unix nanoseconds")


def check_span(span: SpanRecord) -> None:
    """Refuse a span that none can be. Raises InvalidMessage."""
    ids = (len(span.trace_id), len(span.span_id), len(span.parent_id or _AN_ID))
    if ids != _IDS:
        raise InvalidMessage(f"span {span.name[:80]!r} has ids of {ids} bytes; expected 16, 8 and 8 for its parent")
    if not (0 <= span.start_ns <= _LARGEST and 0 <= span.end_ns <= _LARGEST):
        raise InvalidMessage(
            f"span {span.name[:80]!r} has times {span.start_ns} and {span.end_ns}; expected unix nanoseconds"
        )
    if not (0 <= span.kind <= 4 and 0 <= span.status <= 2):
        raise InvalidMessage(
            f"span {span.name[:80]!r} has kind {span.kind}, status {span.status}; expected 0-4 and 0-2"
        )
    if any(len(link.trace_id) != 16 or len(link.span_id) != 8 for link in span.links):
        raise InvalidMessage(f"span {span.name[:80]!r} has a link whose ids are not 16 and 8 bytes")


def to_json(value: object) -> str:
    """Any recorded value as JSON text; what JSON cannot say becomes its string."""
    return _encoder.encode(value).decode()


def mapping(text: str) -> dict[str, Any]:
    """The attributes or fields that ``to_json`` wrote."""
    return _mapping.decode(text)


def span_row(node: str, span: SpanRecord, facts: Facts) -> tuple[object, ...]:
    """In the order of SPAN_COLUMNS."""
    return (
        span.trace_id,
        span.span_id,
        span.parent_id,
        facts.run or None,
        node,
        facts.agent or None,
        facts.handler or None,
        facts.operation,
        span.name,
        span.kind,
        span.start_ns,
        span.end_ns,
        span.status,
        span.status_message or None,
        facts.model or None,
        facts.input_tokens or None,
        facts.output_tokens or None,
        facts.cached_tokens or None,
        to_json(_lasting(span.attributes)),
        to_json(span.events) if span.events else None,
        label_of(span, facts) if span.kind == PRODUCER else None,
        facts.queue_ns or None,
        facts.prefill_ns or None,
        facts.decode_ns or None,
    )


def _lasting(attributes: dict[str, Any]) -> dict[str, Any]:
    """Without what foreign spans carry to the logging agent only: hashes of words, some kilobytes each."""
    if FOREIGN not in attributes:
        return attributes
    return {key: value for key, value in attributes.items() if key not in (WORDS_IN, WORDS_OUT)}


def span_from(row: sqlite3.Row, links: list[SpanLink]) -> SpanRecord:
    """The span as it was recorded; its node, which the batch carried, becomes an attribute."""
    attributes = mapping(row["attributes"])
    attributes.setdefault(attr.NODE, row["node"])
    return SpanRecord(
        trace_id=row["trace_id"],
        span_id=row["span_id"],
        parent_id=row["parent_id"],
        name=row["name"],
        kind=row["kind"],
        start_ns=row["start_ns"],
        end_ns=row["end_ns"],
        status=row["status"],
        status_message=row["status_message"] or "",
        attributes=attributes,
        events=_events.decode(row["events"]) if row["events"] else [],
        links=links,
    )


def log_row(node: str, log: LogRecord) -> tuple[object, ...]:
    """unix_ns, node, level, event, trace_id, span_id, fields; no id is an empty one, so that repeats collide."""
    return (
        log.unix_ns,
        node,
        log.level,
        log.event,
        log.trace_id or b"",
        log.span_id or b"",
        to_json(log.fields),
    )


def log_from(row: sqlite3.Row) -> LogRecord:
    """The log as it was recorded, its node among the fields."""
    fields = mapping(row["fields"])
    fields.setdefault("node", row["node"])
    return LogRecord(
        unix_ns=row["unix_ns"],
        level=row["level"],
        event=row["event"],
        trace_id=row["trace_id"] or None,
        span_id=row["span_id"] or None,
        fields=fields,
    )


def run_row(run: Run) -> tuple[object, ...]:
    """In the order of RUN_COLUMNS."""
    entry = run.entry
    return (
        run.run,
        run.start_ns,
        run.last_ns,
        run.obs,
        run.spans,
        run.unfinished,
        run.errors,
        run.model_calls,
        run.input_tokens,
        run.output_tokens,
        run.cached_tokens,
        entry.rank,
        entry.key,
        entry.start_ns,
        entry.attempt,
        entry.title,
        entry.status.value,
        run.cost_usd,
    )


def run_from(row: sqlite3.Row, agents: tuple[str, ...] = (), models: tuple[str, ...] = ()) -> Run:
    """The run as it was folded so far."""
    return Run(
        run=row["run"],
        start_ns=row["start_ns"],
        last_ns=row["last_ns"],
        obs=bool(row["obs"]),
        spans=row["spans"],
        unfinished=row["unfinished"],
        errors=row["errors"],
        model_calls=row["model_calls"],
        input_tokens=row["input_tokens"],
        output_tokens=row["output_tokens"],
        cached_tokens=row["cached_tokens"],
        cost_usd=row["cost_usd"],
        agents=agents,
        models=models,
        entry=Entry(
            rank=row["entry_rank"],
            key=row["entry_key"],
            start_ns=row["entry_start_ns"],
            attempt=row["entry_attempt"],
            title=row["title"],
            status=RunStatus(row["status"]),
        ),
    )
