"""Forgetting, oldest traces and journals first, in steps small enough that writing never waits long."""

import sqlite3
from dataclasses import dataclass

from antiphon.runtime.store.journals import forget_journals, oldest_ms

STEP_ROWS = 2_000  # about 20 ms of deleting


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How much is kept. Both limits hold: whichever is reached first."""

    max_age_s: float = 7 * 24 * 3600.0
    max_bytes: int = 2 * 1024**3


def used_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of the file that hold something; the write-ahead log is not counted."""
    pages, free, size = (
        int(connection.execute(f"PRAGMA {name}").fetchone()[0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


def forget_some(connection: sqlite3.Connection, retention: Retention, now_ns: int) -> int:
    """Delete at most about STEP_ROWS rows that are beyond the limits; how many went.

    A trace leaves every list at once, then its spans go in as many steps as they need.
    """
    before_ns = now_ns - int(retention.max_age_s * 1e9)
    oldest = connection.execute("SELECT trace_id, last_ns FROM traces ORDER BY last_ns LIMIT 1").fetchone()
    excess = used_bytes(connection) - retention.max_bytes
    full = excess > 0
    journal_ms = oldest_ms(connection)
    if journal_ms is not None:
        is_oldest = oldest is None or journal_ms * 1_000_000 < oldest["last_ns"]
        if journal_ms < before_ns // 1_000_000 or (full and is_oldest):
            return forget_journals(
                connection, before_ns // 1_000_000, rows=STEP_ROWS, excess=excess if is_oldest else 0
            )
    if oldest is not None and (full or oldest["last_ns"] < before_ns):
        return _forget_trace(connection, oldest["trace_id"])
    gone = 0
    for statement, bound in (
        ("DELETE FROM logs WHERE rowid IN (SELECT rowid FROM logs WHERE unix_ns < ? LIMIT ?)", before_ns),
        (
            "DELETE FROM scores WHERE (tenant, task, name) IN "
            "(SELECT tenant, task, name FROM scores WHERE unix_ms < ? / 1000000 LIMIT ?)",
            before_ns,
        ),
        ("DELETE FROM gaps WHERE rowid IN (SELECT rowid FROM gaps WHERE unix_ns < ? LIMIT ?)", before_ns),
    ):
        gone += connection.execute(statement, (bound, STEP_ROWS)).rowcount
    gone += connection.execute("DELETE FROM rollup_1s WHERE second < ?", (before_ns // 1_000_000_000,)).rowcount
    if full and not gone:
        statement = "DELETE FROM logs WHERE rowid IN (SELECT rowid FROM logs ORDER BY unix_ns LIMIT ?)"
        gone = connection.execute(statement, (STEP_ROWS,)).rowcount
    return gone


def _forget_trace(connection: sqlite3.Connection, trace_id: bytes) -> int:
    runs = [row["run"] for row in connection.execute("SELECT run FROM run_traces WHERE trace_id = ?", (trace_id,))]
    connection.execute("DELETE FROM run_traces WHERE trace_id = ?", (trace_id,))
    for run in runs:
        if connection.execute("SELECT 1 FROM run_traces WHERE run = ?", (run,)).fetchone() is None:
            connection.execute("DELETE FROM runs WHERE run = ?", (run,))
            connection.execute("DELETE FROM facets WHERE run = ?", (run,))
    spans = connection.execute(
        "DELETE FROM spans WHERE rowid IN (SELECT rowid FROM spans WHERE trace_id = ? LIMIT ?)", (trace_id, STEP_ROWS)
    ).rowcount
    if spans == STEP_ROWS:
        return spans
    gone = spans
    for table in ("links", "logs", "traces"):
        gone += connection.execute(f"DELETE FROM {table} WHERE trace_id = ?", (trace_id,)).rowcount
    return gone
