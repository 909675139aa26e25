"""Where time and tokens went: by agent, operation and model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from antiphon.runtime.store.facts import ERROR, Facts, facts_of
from antiphon.runtime.store.sketch import Sketch
from antiphon.schemas.telemetry import SpanRecord

_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Sums over the finished work of one kind. Seconds of work, not of wall clock: parallel work adds up.

    ``own_s`` is time in a handler in which none of its calls, models or tools was running; None where the
    spans themselves were not looked at.
    """

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
    output_tokens: int
    cached_tokens: int
    p50_s: float
    p95_s: float


def covered_ns(intervals: Iterable[tuple[int, int]], start_ns: int, end_ns: int) -> int:
    """Length of the union of ``intervals`` inside [start_ns, end_ns]."""
    covered, reached = 0, start_ns
    for start, end in sorted(intervals):
        start, end = max(start, reached), min(end, end_ns)
        if end > start:
            covered += end - start
            reached = end
    return covered


def spending_of(spans: Sequence[SpanRecord]) -> list[Spending]:
    """One row for each agent, operation and model of these spans, the most time first.

    A model or tool span that does not name its agent counts for the nearest span above that does.
    """
    by_id = {span.span_id: span for span in spans}
    facts = {span.span_id: facts_of(span) for span in spans}
    children: dict[bytes, list[tuple[int, int]]] = {}
    for span in spans:
        if span.parent_id is not None and span.end_ns:
            children.setdefault(span.parent_id, []).append((span.start_ns, span.end_ns))
    groups: dict[tuple[str, str, str], list[SpanRecord]] = {}
    for span in spans:
        known = facts[span.span_id]
        if span.end_ns and known.serves:
            agent = known.agent or _agent_above(span, by_id, facts)
            groups.setdefault((agent, known.operation, known.model), []).append(span)
    rows = [_row(key, group, facts, children) for key, group in groups.items()]
    return sorted(rows, key=lambda row: -row.total_s)


def _agent_above(span: SpanRecord, by_id: dict[bytes, SpanRecord], facts: dict[bytes, Facts]) -> str:
    seen: set[bytes] = set()
    while span.parent_id in by_id and span.parent_id not in seen:  # foreign spans may point in a circle
        seen.add(span.parent_id)
        span = by_id[span.parent_id]
        if facts[span.span_id].agent:
            return facts[span.span_id].agent
    return ""


def _row(
    key: tuple[str, str, str],
    group: list[SpanRecord],
    facts: dict[bytes, Facts],
    children: dict[bytes, list[tuple[int, int]]],
) -> Spending:
    sketch = Sketch()
    total = own = 0
    for span in group:
        duration = max(span.end_ns - span.start_ns, 0)
        total += duration
        own += duration - covered_ns(children.get(span.span_id, ()), span.start_ns, span.end_ns)
        sketch.add(duration)
    known = [facts[span.span_id] for span in group]
    return Spending(
        agent=key[0],
        operation=key[1],
        model=key[2],
        count=len(group),
        errors=sum(span.status == ERROR for span in group),
        total_s=total / _NS,
        own_s=own / _NS,
        queue_s=sum(item.queue_ns for item in known) / _NS,
        prefill_s=sum(item.prefill_ns for item in known) / _NS,
        decode_s=sum(item.decode_ns for item in known) / _NS,
        input_tokens=sum(item.input_tokens for item in known),
        output_tokens=sum(item.output_tokens for item in known),
        cached_tokens=sum(item.cached_tokens for item in known),
        p50_s=sketch.quantile(0.5) / _NS,
        p95_s=sketch.quantile(0.95) / _NS,
    )
