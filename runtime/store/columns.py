"""A run's spans as columns of numbers: what a picture of very many of them needs, and no more.

One page is ``APW1``, the header's length (u32), the header (JSON, padded with blanks), and the columns, each beginning
at a multiple of 8 bytes, little-endian, so that a browser views them in place as typed arrays. 50,000 spans are 3.5 MB.
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

from antiphon.runtime.store.facts import CONSUMER, MODEL_OPERATIONS, PRODUCER, TOOL_OPERATIONS
from antiphon.runtime.store.order import ORDER, run_spans

MAGIC: Final = b"APW1"
WORKS: Final = ("handler", "model", "tool", "message", "other")

_TYPES: Final = {"f64": "d", "f32": "f", "i32": "i", "u32": "I", "u64": "Q", "u8": "B"}
_COLUMNS: Final = {
    "start_ms": "f64", "duration_ms": "f64", "span": "u64", "parent_span": "u64",
    "queue_ms": "f32", "prefill_ms": "f32", "decode_ms": "f32", "parent": "i32",
    "label": "u32", "agent": "u32", "model": "u32", "trace": "u32", "tokens": "u32", "work": "u8", "flags": "u8",
}  # fmt: skip
# One text for what is the same for many spans, and the arithmetic in SQL: each value that becomes an object of Python
# costs as much as finding its row. ?2: when the run began, ?3: when it ended.
_SPANS: Final = """span_id, coalesce(parent_id, zeroblob(8)), json_array(hex(trace_id),
    coalesce(label, CASE WHEN kind = 4 AND agent IS NOT NULL THEN agent || coalesce('.' || handler, '') ELSE name END),
    coalesce(agent, ''), coalesce(model, ''), kind, operation),
    (start_ns - ?2) * 1e-6, max(coalesce(nullif(end_ns, 0), ?3) - start_ns, 0) * 1e-6, coalesce(queue_ns, 0) * 1e-6,
    coalesce(prefill_ns, 0) * 1e-6, coalesce(decode_ns, 0) * 1e-6,
    min(coalesce(input_tokens, 0) + coalesce(output_tokens, 0), 4294967295),
    (status = 2) + 2 * (end_ns = 0) + 4 * EXISTS (SELECT 1 FROM links
        WHERE links.trace_id = spans.trace_id AND links.span_id = spans.span_id AND to_span IS NOT parent_id)"""
_WORK: Final = {**dict.fromkeys(MODEL_OPERATIONS, 1), **dict.fromkeys(TOOL_OPERATIONS, 2)}
_MS: Final = 1e-6
# Spans come, end and are removed with their trace: each changes one of these.
_VERSION: Final = """SELECT start_ns, last_ns, spans, unfinished,
    (SELECT count(*) FROM run_traces WHERE run_traces.run = runs.run) FROM runs WHERE run = ?"""


class _Found(NamedTuple):
    """What was read, column by column, in the order of ``_SPANS``."""

    span: Sequence[bytes]
    parent: Sequence[bytes]
    about: Sequence[str]
    start_ms: Sequence[float]
    duration_ms: Sequence[float]
    queue_ms: Sequence[float]
    prefill_ms: Sequence[float]
    decode_ms: Sequence[float]
    tokens: Sequence[int]
    flags: Sequence[int]


class _About(NamedTuple):
    """The text of ``_SPANS``: what is the same for many spans."""

    trace: str
    label: str
    agent: str
    model: str
    kind: int
    operation: str


_about: Final = msgspec.json.Decoder(_About).decode


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
    """Encoded columns of ``count`` spans. ``version`` is another as soon as the run's pages are."""

    body: bytes
    count: int
    version: tuple[int, ...]


def page(connection: sqlite3.Connection, run: str, after: Place, limit: int, kept: Page | None = None) -> Page | None:
    """Spans of a run in order of start, after ``after``; None when the store does not know the run.

    ``kept``, which is what an earlier call found, is the answer again while the run is as it was.
    """
    about = connection.execute(_VERSION, (run,)).fetchone()
    if about is None:
        return None
    version = tuple(about)
    if kept is not None and kept.version == version:
        return kept
    cursor = connection.cursor()
    cursor.row_factory = None  # plain tuples: half the time of named rows
    rows = cursor.execute(
        f"""SELECT {_SPANS} {run_spans(about, limit, max(after.start_ns, 0))}
            AND (start_ns, rowid) > (?4, ?5) {ORDER} LIMIT ?6""",
        (run, about["start_ns"], about["last_ns"], after.start_ns, after.row, limit + 1),
    ).fetchall()
    more, rows = len(rows) > limit, rows[:limit]
    found = _Found(*zip(*rows, strict=True)) if rows else _Found(*[()] * len(_Found._fields))
    next_page = str(_place(cursor, found)) if more else None
    columns, strings = _columns(found)
    header = {"run": run, "start_unix_ms": about["start_ns"] * _MS, "count": len(rows), "next": next_page}
    return Page(body=_encode(header, columns, strings), count=len(rows), version=version)


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


def _place(cursor: sqlite3.Cursor, found: _Found) -> Place:
    """Of the last span; asked for once, because two more columns would be two more objects for every span."""
    ids = (bytes.fromhex(_about(found.about[-1]).trace), found.span[-1])
    return Place(
        *cursor.execute("SELECT start_ns, rowid FROM spans WHERE trace_id = ? AND span_id = ?", ids).fetchone()
    )


def _columns(found: _Found) -> tuple[dict[str, "array[Any]"], list[str]]:
    """Column by column, because a comprehension takes a quarter of the time of a loop over rows."""
    strings: dict[str, int] = {"": 0}
    index = {span: place for place, span in enumerate(found.span)}
    places = {text: _places(_about(text), strings) for text in dict.fromkeys(found.about)}
    trace, label, agent, model, work = zip(*map(places.__getitem__, found.about), strict=True) if places else [()] * 5
    values: dict[str, Iterable[Any]] = {
        "start_ms": found.start_ms,
        "duration_ms": found.duration_ms,
        "span": _numbers(found.span),
        "parent_span": _numbers(found.parent),
        "queue_ms": found.queue_ms,
        "prefill_ms": found.prefill_ms,
        "decode_ms": found.decode_ms,
        "parent": [index.get(parent, -1) for parent in found.parent],
        "label": label,
        "agent": agent,
        "model": model,
        "trace": trace,
        "tokens": found.tokens,
        "work": work,
        "flags": found.flags,
    }
    return {name: array(_TYPES[kind], values[name]) for name, kind in _COLUMNS.items()}, list(strings)


def _places(about: _About, strings: dict[str, int]) -> tuple[int, int, int, int, int]:
    """Where the texts stand among ``strings``, and what kind of work it is."""
    texts = (about.trace.lower(), about.label, about.agent, about.model)
    trace, label, agent, model = (strings.setdefault(text, len(strings)) for text in texts)
    return trace, label, agent, model, _work(about.kind, about.operation)


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
