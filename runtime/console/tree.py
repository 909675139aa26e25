"""A run's spans as rows in the order a person reads them, and each row's time as segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from antiphon.runtime.store.facts import CONSUMER, PRODUCER, Facts, facts_of, label_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.telemetry import SpanLink, SpanRecord


class Work(StrEnum):
    """What a row is."""

    HANDLER = "handler"  # an agent at work
    MODEL = "model"  # a model instance at work
    TOOL = "tool"  # a tool or a step of ctx.run
    MESSAGE = "message"  # something sent that no single handler took
    OTHER = "other"  # spans of other instrumentation


class Part(StrEnum):
    """What a stretch of a row's time was."""

    CALL = "call"  # the caller waits: transport, and what the queue and service do not explain
    QUEUE = "queue"  # in a mailbox, a stream, or before a model instance
    SERVICE = "service"  # at work
    PREFILL = "prefill"  # the model reads
    DECODE = "decode"  # the model writes


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of time in unix nanoseconds; parts of one row may lie over each other, later ones on top."""

    part: Part
    start_ns: int
    end_ns: int


@dataclass(frozen=True, slots=True)
class Row:
    """One line. ``caller`` is the span of the message that asked for it, shown in the same line."""

    span: SpanRecord
    facts: Facts
    caller: SpanRecord | None
    depth: int
    label: str
    work: Work

    @property
    def start_ns(self) -> int:
        """When it was asked for, or began."""
        return min(self.span.start_ns, self.caller.start_ns) if self.caller is not None else self.span.start_ns

    @property
    def links(self) -> tuple[SpanLink, ...]:
        """What it continues besides its parent: the links of its message and of its work, each span once."""
        found: dict[tuple[bytes, bytes], SpanLink] = {}
        for span in (self.span,) if self.caller is None else (self.caller, self.span):
            for link in span.links:
                if link.span_id != span.parent_id:
                    found.setdefault((link.trace_id, link.span_id), link)
        return tuple(found.values())

    @property
    def finished(self) -> bool:
        """Whether its end was recorded."""
        return self.span.end_ns > 0


def rows_of(spans: Sequence[SpanRecord]) -> list[Row]:
    """Depth first, siblings by start. A span whose parent is not there stands at the top.

    A message that exactly one handler took, and nothing else, becomes one row with it.
    """
    ids = {span.span_id for span in spans}
    children: dict[bytes | None, list[SpanRecord]] = {}
    for span in sorted(spans, key=lambda item: item.start_ns):
        parent = span.parent_id if span.parent_id in ids and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    rows: list[Row] = []
    seen: set[bytes] = set()
    _walk(children.get(None, []), children, seen, rows)
    for span in spans:  # parents that name each other in a circle hang from nothing
        if span.span_id not in seen:
            _walk([span], children, seen, rows)
    return rows


def segments_of(row: Row, until_ns: int) -> list[Segment]:
    """How the row's time went. An unfinished span is drawn up to ``until_ns``."""
    span, facts = row.span, row.facts
    end_ns = span.end_ns or max(until_ns, span.start_ns)
    segments: list[Segment] = []
    if row.caller is not None:
        segments.append(Segment(Part.CALL, row.caller.start_ns, row.caller.end_ns or end_ns))
    if row.work is Work.MODEL and span.end_ns:
        return segments + _model(span, facts)
    if facts.queue_ns:
        left = span.attributes.get(attr.QUEUE_DEQUEUE_NS, span.start_ns)
        segments.append(Segment(Part.QUEUE, left - facts.queue_ns, left))
    part = Part.CALL if row.work is Work.MESSAGE else Part.SERVICE
    segments.append(Segment(part, span.start_ns, end_ns))
    return segments


def _model(span: SpanRecord, facts: Facts) -> list[Segment]:
    segments = [Segment(Part.SERVICE, span.start_ns, span.end_ns)]
    at = span.start_ns
    for part, took_ns in (
        (Part.QUEUE, facts.queue_ns),
        (Part.PREFILL, facts.prefill_ns),
        (Part.DECODE, facts.decode_ns),
    ):
        end = min(at + took_ns, span.end_ns)  # measured by another clock than the span
        if end > at:
            segments.append(Segment(part, at, end))
        at = end
    return segments


def _walk(
    first: list[SpanRecord],
    children: dict[bytes | None, list[SpanRecord]],
    seen: set[bytes],
    rows: list[Row],
) -> None:
    stack = [(span, 0) for span in reversed(first)]  # no recursion: depth is the record's, not ours
    while stack:
        span, depth = stack.pop()
        if span.span_id in seen:
            continue
        seen.add(span.span_id)
        below = children.get(span.span_id, [])
        caller = None
        if span.kind == PRODUCER and len(below) == 1 and below[0].kind == CONSUMER and below[0].span_id not in seen:
            caller, span = span, below[0]
            seen.add(span.span_id)
            below = children.get(span.span_id, [])
        rows.append(_row(span, caller, depth))
        stack.extend((child, depth + 1) for child in reversed(below))


def _row(span: SpanRecord, caller: SpanRecord | None, depth: int) -> Row:
    facts = facts_of(span)
    label = label_of(span, facts)
    if caller is not None:
        label = f"{facts_of(caller).operation} {label}"
    return Row(span, facts, caller, depth, label, _work(span, facts))


def _work(span: SpanRecord, facts: Facts) -> Work:
    if span.kind == CONSUMER:
        return Work.HANDLER
    if facts.is_model:
        return Work.MODEL
    if facts.is_tool:
        return Work.TOOL
    return Work.MESSAGE if span.kind == PRODUCER else Work.OTHER
