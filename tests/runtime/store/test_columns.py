"""Pages of columns: every span of a run once, in order, numbers that match, however large the run."""

import json
import sqlite3
import struct
import tracemalloc
from array import array
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.store import columns, order
from antiphon.runtime.store.columns import Flag, Place, links, page
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store, Written
from antiphon.schemas.telemetry import SpanLink

CODES = {"f64": "d", "f32": "f", "i32": "i", "u32": "I", "u64": "Q", "u8": "B"}


def decode(body: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """As a browser does it: a header, and columns viewed in place."""
    assert body[:4] == b"APW1"
    (length,) = struct.unpack_from("<I", body, 4)
    header = json.loads(body[8 : 8 + length])
    base = 8 + length
    assert base % 8 == 0
    found = {}
    for name, (kind, offset) in header["columns"].items():
        assert offset % 8 == 0
        size = array(CODES[kind]).itemsize * header["count"]
        found[name] = list(array(CODES[kind], body[base + offset : base + offset + size]))
    return header, found


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    reader = Reader.open(store.path)
    yield reader
    reader.close()


def test_spans_become_columns(make: Any, put: Callable[..., Written], reader: Reader) -> None:
    """Times, parents, labels, tokens and flags, each of its own span."""
    failed = make.chat(3, parent=2, at_s=0.5, status=2, links=[SpanLink(trace_id=b"\x09" * 16, span_id=b"\x09" * 8)])
    put(
        make.process(2, attributes={"antiphon.queue.enter_ns": 1_000_000, "antiphon.queue.dequeue_ns": 3_000_000}),
        failed,
        make.step(4, parent=9, at_s=0.75, took_s=0, kind=3, attributes={"antiphon.run": "r1"}),
    )
    found = reader.ask(partial(page, run="r1", after=Place(), limit=10))
    assert found is not None and found.count == 3
    header, column = decode(found.body)
    assert (header["run"], header["count"], header["next"]) == ("r1", 3, None)
    assert column["start_ms"] == [0, 500, 750]
    assert column["duration_ms"] == [1000, 1000, 750]  # what runs is drawn up to the run's end
    assert column["queue_ms"] == pytest.approx([2, 100, 0])
    assert column["prefill_ms"] == pytest.approx([0, 200, 0]) and column["decode_ms"] == pytest.approx([0, 500, 0])
    assert column["parent"] == [-1, 0, -1]
    assert column["span"] == [2, 3, 4] and column["parent_span"] == [0, 2, 9]
    assert [header["strings"][n] for n in column["label"]] == ["writer.write", "chat smollm2-135m", "step 4"]
    assert [header["strings"][n] for n in column["trace"]] == [f"{1:032x}"] * 3
    assert column["tokens"] == [0, 107, 0]
    assert [header["works"][n] for n in column["work"]] == ["handler", "model", "message"]
    assert column["flags"] == [0, Flag.ERROR | Flag.LINKED, Flag.UNFINISHED]
    linked, truncated = reader.ask(partial(links, run="r1", most=10))
    assert linked == [((1).to_bytes(16), (3).to_bytes(8), b"\x09" * 16, b"\x09" * 8)] and not truncated


@pytest.mark.parametrize("most_sorted", [0, 5_000])
def test_pages_follow_one_another(
    make: Any, put: Callable[..., Written], reader: Reader, monkeypatch: pytest.MonkeyPatch, most_sorted: int
) -> None:
    """Every span once, spans of one start too, whether the run is sorted or read along the index of starts."""
    monkeypatch.setattr(order, "SORTED", most_sorted)
    put(*(make.process(n, at_s=n // 3) for n in range(1, 24)), make.process(99, trace=2, run="other", at_s=3))
    seen: list[int] = []
    after = Place()
    while True:
        found = reader.ask(partial(page, run="r1", after=after, limit=5))
        assert found is not None and found.count <= 5
        header, column = decode(found.body)
        seen += column["span"]
        if header["next"] is None:
            break
        after = Place.parse(header["next"])
    assert sorted(seen) == list(range(1, 24)) and len(seen) == 23


def test_an_unknown_run_has_no_page(reader: Reader) -> None:
    """None, which is not an empty page."""
    assert reader.ask(partial(page, run="nope", after=Place(), limit=5)) is None


@pytest.mark.parametrize("text", ["", "x", "1", "1.x", "-1.2", "1.-2", f"{2**63}.1", "1" * 50, "\u0661.\u0662"])
def test_a_cursor_is_checked(text: str) -> None:
    """Whatever was not a page's own."""
    with pytest.raises(ValueError, match="cursor"):
        Place.parse(text)


LARGE = """WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < {count})
    INSERT INTO spans (trace_id, span_id, run, node, operation, name, kind, start_ns, end_ns, status, attributes)
    SELECT {trace}, CAST(printf('%08d', n) AS BLOB), '{run}', 'n1', 'chat', 'm', 2, n * 1000, n * 1000 + 500, 0, '{{}}'
    FROM number"""


def write_large(path: Path, count: int) -> None:
    """A run of ``count`` spans and as many spans of another in between, without the writer, which takes a minute."""
    connection = sqlite3.connect(path)
    for run, trace in (("large", "x'01'"), ("other", "x'02'")):
        connection.execute(LARGE.format(count=count, trace=trace, run=run))
        connection.execute(f"INSERT INTO run_traces VALUES ({trace}, '{run}')")
        connection.execute(
            "INSERT INTO runs VALUES (?, 1000, ?, 0, ?, 0, 0, 0, 0, 0, 0, 0, ?, 0, 1, '', 'ok', 0)",
            (run, count * 1000, count, run),
        )
    connection.commit()
    connection.close()


def test_a_page_of_a_very_large_run_costs_what_it_shows(store: Store, reader: Reader) -> None:
    """Of 200,000 spans a page of 500, first or late, takes 200 steps of SQLite a span, and memory for itself alone."""
    write_large(store.path, 200_000)
    steps = 0

    def count() -> None:
        nonlocal steps
        steps += 100

    for start in (0, 150_000):

        def work(connection: sqlite3.Connection, start: int = start) -> columns.Page | None:
            connection.set_progress_handler(count, 100)
            try:
                return page(connection, "large", Place(start * 1000, 10**9), 500)
            finally:
                connection.set_progress_handler(None, 0)

        steps = 0
        tracemalloc.start()
        try:
            found = reader.ask(work)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert found is not None and found.count == 500
        assert decode(found.body)[1]["start_ms"][0] == pytest.approx(start / 1000)
        assert steps < 500 * 200
        assert peak < 1_000_000
