"""A run's spans as columns of numbers: what a picture of very many of them needs, and no more.

One page is ``APW1``, the header's length (u32), the header (JSON, padded with blanks), and the columns, each beginning
at a multiple of 8 bytes, little-endian, so that a browser views them in place as typed arrays. 50,000 spans are 3 MB.
"""

import sqlite3
import struct
import sys
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntFlag
from typing import Any, Final, NamedTuple, Self

import msgspec

from antiphon.runtime.store.facts import CONSUMER, ERROR, MODEL_OPERATIONS, PRODUCER, TOOL_OPERATION

MAGIC: Final = b"APW1"
WORKS: Final = ("handler", "model", "tool", "message", "other")
SORTED: Final = 5_000  # spans of a run that are sorted for each page; larger runs are read along the index of starts

_TYPES: Final = {"f64": "d", "f32": "f", "i32": "i", "u32": "I", "u64": "Q", "u8": "B"}
_COLUMNS: Final = {
    "start_ms": "f64", "duration_ms": "f64", "span": "u64", "parent_span": "u64", "queue_ms": "f32", "parent": "i32",
    "label": "u32", "agent": "u32", "model": "u32", "trace": "u32", "tokens": "u32", "work": "u8", "flags": "u8",
}  # fmt: skip
_SPANS: Final = """trace_id, span_id, coalesce(parent_id, zeroblob(8)),
    coalesce(label, CASE WHEN kind = 4 AND agent IS NOT NULL THEN agent || coalesce('.' || handler, '') ELSE name END),
    coalesce(agent, ''), coalesce(model, ''), kind, operation, start_ns, end_ns, status,
    coalesce(input_tokens, 0) + coalesce(output_tokens, 0), coalesce(queue_ns, 0), rowid"""
_WHERE: Final = """trace_id IN (SELECT trace_id FROM run_traces WHERE run = ?1) AND (run = ?1 OR run IS NULL)
    AND (start_ns, rowid) > (?2, ?3)"""
_WORK: Final = {**dict.fromkeys(MODEL_OPERATIONS, 1), TOOL_OPERATION: 2, "run": 2, "tool": 2}
_MS: Final = 1e-6
_MOST: Final = 2**32 - 1


class _Found(NamedTuple):
    """What was read, column by column, in the order of ``_SPANS``."""

    trace: Sequence[bytes]
    span: Sequence[bytes]
    parent: Sequence[bytes]
    label: Sequence[str]
    agent: Sequence[str]
    model: Sequence[str]
    kind: Sequence[int]
    operation: Sequence[str]
    start_ns: Sequence[int]
    end_ns: Sequence[int]
    status: Sequence[int]
    tokens: Sequence[int]
    queue_ns: Sequence[int]
    row: Sequence[int]


class Flag(IntFlag):
    """What else there is to say of a span."""

    ERROR = 1
    UNFINISHED = 2  # its duration is up to the run's end
    LINKED = 4  # it continues spans besides its parent


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: after the span of this start and row."""

    start_ns: int = -1
    row: int = 0

    def __str__(self) -> str:
        return f"{self.start_ns}.{self.row}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``str`` wrote. Raises ValueError for anything else."""
        start, _, row = text.partition(".")
        if not (start.isascii() and start.isdigit() and row.isascii() and row.isdigit() and len(text) < 40):
            raise ValueError(f"cursor {text[:80]!r}: expected the `next` of an earlier page")
        found = cls(int(start), int(row))
        if max(found.start_ns, found.row) >= 2**63:
            raise ValueError(f"cursor {text[:80]!r}: expected the `next` of an earlier page")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Encoded columns of ``count`` spans. ``ended``: no span of the run was running."""

    body: bytes
    count: int
    ended: bool


def page(connection: sqlite3.Connection, run: str, after: Place, limit: int) -> Page | None:
    """Spans of a run in order of start, after ``after``; None when the store does not know the run."""
    about = connection.execute("SELECT start_ns, last_ns, spans, unfinished FROM runs WHERE run = ?", (run,)).fetchone()
    if about is None:
        return None
    # Along the index of starts nothing is sorted, but spans of other runs of that time are passed over.
    large = about["spans"] > SORTED
    source = "spans INDEXED BY spans_start" if large else "spans"
    within = f"AND start_ns BETWEEN max({about['start_ns']}, ?2) AND {about['last_ns']}" if large else ""
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples: half the time of named rows
    rows = cursor.execute(
        f"SELECT {_SPANS} FROM {source} WHERE {_WHERE} {within} ORDER BY start_ns, rowid LIMIT ?4",
        (run, after.start_ns, after.row, limit + 1),
    ).fetchall()
    more, rows = len(rows) > limit, rows[:limit]
    found = _Found(*zip(*rows, strict=True)) if rows else _Found(*[()] * len(_Found._fields))
    linked = _linked(cursor, run, dict(zip(found.span, found.parent, strict=True)))
    next_page = str(Place(found.start_ns[-1], found.row[-1])) if more else None
    columns, strings = _columns(found, linked, about["start_ns"], about["last_ns"])
    header = {"run": run, "start_unix_ms": about["start_ns"] * _MS, "count": len(rows), "next": next_page}
    return Page(body=_encode(header, columns, strings), count=len(rows), ended=about["unfinished"] == 0)


def links(connection: sqlite3.Connection, run: str, most: int) -> tuple[list[tuple[bytes, bytes, bytes, bytes]], bool]:
    """Trace and span, then trace and span of what it continues besides its parent; and whether there were more."""
    rows = connection.execute(
        """SELECT l.trace_id, l.span_id, to_trace, to_span FROM links l
           JOIN spans s ON s.trace_id = l.trace_id AND s.span_id = l.span_id
           WHERE l.trace_id IN (SELECT trace_id FROM run_traces WHERE run = ?1) AND (s.run = ?1 OR s.run IS NULL)
           AND to_span IS NOT s.parent_id LIMIT ?2""",
        (run, most + 1),
    ).fetchall()
    return [tuple(row) for row in rows[:most]], len(rows) > most


def _linked(cursor: sqlite3.Cursor, run: str, parents: Mapping[bytes, bytes]) -> set[bytes]:
    """Of these spans (each with its parent) those that continue something besides their parent."""
    found = cursor.execute(
        "SELECT span_id, to_span FROM links WHERE trace_id IN (SELECT trace_id FROM run_traces WHERE run = ?)", (run,)
    )
    return {span for span, to in found if span in parents and parents[span] != to}


def _columns(
    found: _Found, linked: set[bytes], start_ns: int, last_ns: int
) -> tuple[dict[str, "array[Any]"], list[str]]:
    """Column by column, because a comprehension takes a quarter of the time of a loop over rows."""
    strings: dict[str, int] = {"": 0}
    for column in (found.label, found.agent, found.model):
        for text in dict.fromkeys(column):
            strings.setdefault(text, len(strings))
    traces = {trace: strings.setdefault(trace.hex(), len(strings)) for trace in dict.fromkeys(found.trace)}
    index = {span: place for place, span in enumerate(found.span)}
    times = list(zip(found.start_ns, found.end_ns, strict=True))
    kinds = list(zip(found.kind, found.operation, strict=True))
    works = {kind: _work(*kind) for kind in set(kinds)}
    marks = zip(found.span, found.status, found.end_ns, strict=True)
    values: dict[str, Iterable[Any]] = {
        "start_ms": [(start - start_ns) * _MS for start in found.start_ns],
        "duration_ms": [((end or last_ns) - start) * _MS if (end or last_ns) > start else 0.0 for start, end in times],
        "span": _numbers(found.span),
        "parent_span": _numbers(found.parent),
        "queue_ms": [queue_ns * _MS for queue_ns in found.queue_ns],
        "parent": [index.get(parent, -1) for parent in found.parent],
        "label": map(strings.__getitem__, found.label),
        "agent": map(strings.__getitem__, found.agent),
        "model": map(strings.__getitem__, found.model),
        "trace": map(traces.__getitem__, found.trace),
        "tokens": [min(tokens, _MOST) for tokens in found.tokens],
        "work": map(works.__getitem__, kinds),
        "flags": [(status == ERROR) + 2 * (not end) + 4 * (span in linked) for span, status, end in marks],
    }
    return {name: array(_TYPES[kind], values[name]) for name, kind in _COLUMNS.items()}, list(strings)


def _numbers(ids: Sequence[bytes]) -> "array[int]":
    found = array("Q", b"".join(ids))
    if sys.byteorder == "little":
        found.byteswap()
    return found


def _work(kind: int, operation: str) -> int:
    return 0 if kind == CONSUMER else _WORK.get(operation, 3 if kind == PRODUCER else 4)


def _encode(header: dict[str, object], columns: Mapping[str, "array[Any]"], strings: list[str]) -> bytes:
    parts: list[bytes] = []
    places: dict[str, tuple[str, int]] = {}
    offset = 0
    for name, column in columns.items():
        if sys.byteorder == "big":
            column.byteswap()
        raw = column.tobytes()
        padded = raw + bytes(-len(raw) % 8)
        places[name] = (_COLUMNS[name], offset)
        parts.append(padded)
        offset += len(padded)
    text = msgspec.json.encode({**header, "columns": places, "strings": strings, "works": WORKS})
    text += b" " * (-(len(text) + 8) % 8)
    return b"".join([MAGIC, struct.pack("<I", len(text)), text, *parts])
