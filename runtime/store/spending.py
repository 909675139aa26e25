"""Where time and tokens went: by agent, operation and model."""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from antiphon.runtime.store.facts import ERROR, SERVING, Facts, facts_of
from antiphon.runtime.store.order import ORDER, run_spans
from antiphon.runtime.store.sketch import Sketch
from antiphon.schemas.telemetry import SpanRecord

_NS = 1e9
_COLUMNS = """span_id, parent_id, start_ns, end_ns, status = 2, coalesce(agent, ''), operation, coalesce(model, ''),
    coalesce(queue_ns, 0), coalesce(prefill_ns, 0), coalesce(decode_ns, 0), coalesce(input_tokens, 0),
    coalesce(output_tokens, 0), coalesce(cached_tokens, 0)"""


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


class Work(NamedTuple):
    """What of a span is summed; empty text and zero where it says nothing. In the order of ``_COLUMNS``."""

    span_id: bytes
    parent_id: bytes | None
    start_ns: int
    end_ns: int
    failed: bool
    agent: str
    operation: str
    model: str
    queue_ns: int
    prefill_ns: int
    decode_ns: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int

    @property
    def duration_ns(self) -> int:
        """From begin to end; another machine's clock may have made that negative."""
        return max(self.end_ns - self.start_ns, 0)


def spending_of(spans: Sequence[SpanRecord]) -> list[Spending]:
    """One row for each agent, operation and model of these spans, the most time first.

    A model or tool span that does not name its agent counts for the nearest span above that does.
    """
    return _summed([_work(span, facts_of(span)) for span in spans])


def run_spending(connection: sqlite3.Connection, run: str, most: int) -> tuple[list[Spending], int] | None:
    """The same of a stored run's earliest ``most`` spans, and how many there were; None when it is not known."""
    about = connection.execute("SELECT spans, start_ns, last_ns FROM runs WHERE run = ?", (run,)).fetchone()
    if about is None:
        return None
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples: half the time of named rows
    rows = cursor.execute(f"SELECT {_COLUMNS} {run_spans(about, most)} {ORDER} LIMIT ?2", (run, most))
    works = [Work(*row) for row in rows]
    return _summed(works), len(works)


def _work(span: SpanRecord, facts: Facts) -> Work:
    return Work(
        span.span_id,
        span.parent_id,
        span.start_ns,
        span.end_ns,
        span.status == ERROR,
        facts.agent,
        facts.operation,
        facts.model,
        facts.queue_ns,
        facts.prefill_ns,
        facts.decode_ns,
        facts.input_tokens,
        facts.output_tokens,
        facts.cached_tokens,
    )


def _summed(works: Sequence[Work]) -> list[Spending]:
    by_id = {work.span_id: work for work in works}
    children: dict[bytes, list[tuple[int, int]]] = {}
    for work in works:
        if work.parent_id is not None and work.end_ns:
            children.setdefault(work.parent_id, []).append((work.start_ns, work.end_ns))
    groups: dict[tuple[str, str, str], list[Work]] = {}
    for work in works:
        if work.end_ns and work.operation in SERVING:
            agent = work.agent or _agent_above(work, by_id)
            groups.setdefault((agent, work.operation, work.model), []).append(work)
    rows = [_row(key, group, children) for key, group in groups.items()]
    return sorted(rows, key=lambda row: -row.total_s)


def _agent_above(work: Work, by_id: dict[bytes, Work]) -> str:
    seen: set[bytes] = set()
    while work.parent_id in by_id and work.parent_id not in seen:  # foreign spans may point in a circle
        seen.add(work.parent_id)
        work = by_id[work.parent_id]
        if work.agent:
            return work.agent
    return ""


def _row(key: tuple[str, str, str], group: list[Work], children: dict[bytes, list[tuple[int, int]]]) -> Spending:
    sketch = Sketch()
    total = own = 0
    for work in group:
        total += work.duration_ns
        own += work.duration_ns - covered_ns(children.get(work.span_id, ()), work.start_ns, work.end_ns)
        sketch.add(work.duration_ns)
    return Spending(
        agent=key[0],
        operation=key[1],
        model=key[2],
        count=len(group),
        errors=sum(work.failed for work in group),
        total_s=total / _NS,
        own_s=own / _NS,
        queue_s=sum(work.queue_ns for work in group) / _NS,
        prefill_s=sum(work.prefill_ns for work in group) / _NS,
        decode_s=sum(work.decode_ns for work in group) / _NS,
        input_tokens=sum(work.input_tokens for work in group),
        output_tokens=sum(work.output_tokens for work in group),
        cached_tokens=sum(work.cached_tokens for work in group),
        p50_s=sketch.quantile(0.5) / _NS,
        p95_s=sketch.quantile(0.95) / _NS,
    )
