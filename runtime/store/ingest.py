"""One transaction's worth of spans and logs: what is new, what finishes, what was here before."""

import sqlite3
from collections.abc import Iterable

from antiphon.runtime.store.facts import Facts, facts_of
from antiphon.runtime.store.recent import Recent
from antiphon.runtime.store.rows import RUN_COLUMNS, SPAN_COLUMNS, log_row, run_from, run_row, span_row, to_json
from antiphon.runtime.store.runs import Run, new_run
from antiphon.runtime.telemetry.causes import causes_of
from antiphon.schemas.telemetry import LogRecord, SpanRecord


def _places(columns: str) -> str:
    return ", ".join("?" * len(columns.split(",")))


_ADD_SPAN = f"INSERT INTO spans ({SPAN_COLUMNS}) VALUES ({_places(SPAN_COLUMNS)})"
_PUT_SPAN = f"INSERT OR REPLACE INTO spans ({SPAN_COLUMNS}) VALUES ({_places(SPAN_COLUMNS)})"
_GROUP = 100
_LOOK_UP = f"""WITH wanted (t, s) AS (VALUES {", ".join(["(?, ?)"] * _GROUP)})
    SELECT trace_id, span_id, end_ns FROM wanted CROSS JOIN spans ON trace_id = t AND span_id = s"""
_PUT_RUN = f"INSERT OR REPLACE INTO runs ({RUN_COLUMNS}) VALUES ({_places(RUN_COLUMNS)})"
_LAST_NS = 10_000_000_000  # retention is in hours: so much later a trace's last time is written again
_GET_RUN = f"SELECT {RUN_COLUMNS} FROM runs WHERE run = ?"
_PUT_TRACE = """INSERT INTO traces VALUES (?, ?)
    ON CONFLICT DO UPDATE SET last_ns = max(last_ns, excluded.last_ns)"""

Key = tuple[bytes, bytes]  # trace and span


class Ingest:
    """Lives for one transaction on ``connection``; the caller begins and commits it.

    A span that names no run belongs to the run of its trace; while none is known, to a run of its own named
    by the trace id, which is merged as soon as the real one shows up. Spans that a span names as causes become its
    links, beside those that it has.
    """

    def __init__(self, connection: sqlite3.Connection, recent: Recent) -> None:
        self.stored = 0  # spans new or finished
        self.ended: list[tuple[SpanRecord, Facts]] = []  # of these, those that have ended
        self._connection = connection
        self._recent = recent
        self._runs: dict[str, Run] = {}  # touched
        self._facets: dict[tuple[str, str, str], None] = {}  # new

    def spans(self, spans: Iterable[tuple[str, SpanRecord]]) -> tuple[Run, ...]:
        """Store (node, span) pairs; the runs they touched. A finished record replaces a start record only."""
        fresh, started = self._fresh(spans)
        added: list[tuple[object, ...]] = []
        replaced: list[tuple[object, ...]] = []
        last: dict[bytes, int] = {}
        known = [facts_of(span) for _, span in fresh.values()]
        # First, so that spans without a run find their trace's.
        for (_, span), facts in zip(fresh.values(), known, strict=True):
            if facts.run:
                self._map(span.trace_id, facts.run)
        for (key, (node, span)), facts in zip(fresh.items(), known, strict=True):
            finishing = key in started
            (replaced if finishing else added).append(span_row(node, span, facts))
            at_ns = span.end_ns if span.end_ns > span.start_ns else span.start_ns
            if at_ns > last.get(span.trace_id, -1):
                last[span.trace_id] = at_ns
            self._count(span, facts, finishing)
        self._connection.executemany(_ADD_SPAN, added)
        self._connection.executemany(_PUT_SPAN, replaced)
        self._connection.executemany(
            "INSERT OR IGNORE INTO links VALUES (?, ?, ?, ?, ?)",
            [
                (span.trace_id, span.span_id, link.trace_id, link.span_id, to_json(link.attributes))
                for _, span in fresh.values()
                for link in (*span.links, *causes_of(span))
            ],
        )
        self._connection.executemany(_PUT_TRACE, self._later(last))
        self._connection.executemany(_PUT_RUN, [run_row(run) for run in self._runs.values()])
        self._connection.executemany("INSERT OR IGNORE INTO facets VALUES (?, ?, ?)", self._facets)
        self._recent.facets.update(self._facets)
        self.stored = len(fresh)
        return tuple(self._runs.values())

    def logs(self, logs: Iterable[tuple[str, LogRecord]]) -> None:
        """Store (node, log) pairs; one that is there already is left."""
        rows = [log_row(node, log) for node, log in logs]
        self._connection.executemany("INSERT OR IGNORE INTO logs VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def _later(self, last: dict[bytes, int]) -> list[tuple[bytes, int]]:
        """Of the traces with when something was last seen of them, those for which the file says another time."""
        known = self._recent.last
        changed = [(trace, ns) for trace, ns in last.items() if ns >= known.get(trace, -_LAST_NS) + _LAST_NS]
        known.update(changed)
        return changed

    def _fresh(
        self, spans: Iterable[tuple[str, SpanRecord]]
    ) -> tuple[dict[Key, tuple[str, SpanRecord]], dict[Key, int]]:
        """Spans to write, and those of which a record is stored already: their start."""
        newest: dict[Key, tuple[str, SpanRecord]] = {}
        for entry in spans:
            span = entry[1]
            key = (span.trace_id, span.span_id)
            if key not in newest or (span.end_ns and not newest[key][1].end_ns):
                newest[key] = entry
        stored = self._stored(list(newest))
        for key, end_ns in stored.items():
            if end_ns or not newest[key][1].end_ns:
                del newest[key]
        return newest, stored

    def _stored(self, keys: list[Key]) -> dict[Key, int]:
        """``end_ns`` of those that are there. Asked for in groups: a statement each would double the cost."""
        found: dict[Key, int] = {}
        for start in range(0, len(keys), _GROUP):
            group = keys[start : start + _GROUP]
            group += group[:1] * (_GROUP - len(group))  # one text, so that one prepared statement serves all
            for row in self._connection.execute(_LOOK_UP, [part for key in group for part in key]):
                found[row["trace_id"], row["span_id"]] = row["end_ns"]
        return found

    def _count(self, span: SpanRecord, facts: Facts, finishing: bool) -> None:
        name = facts.run or self._run_of(span.trace_id)
        run = self._load(name)
        if run is None:
            run = self._touch(new_run(name, span, facts))
        run.count(span, facts, finishing=finishing)
        if facts.agent:
            self._facet((name, "agent", facts.agent))
        if facts.model:
            self._facet((name, "model", facts.model))
        if span.end_ns:
            self.ended.append((span, facts))

    def _facet(self, facet: tuple[str, str, str]) -> None:
        if facet not in self._recent.facets:
            self._facets[facet] = None

    def _load(self, name: str) -> Run | None:
        run = self._runs.get(name)
        if run is not None:
            return run
        run = self._recent.runs.get(name)
        if run is None:
            row = self._connection.execute(_GET_RUN, (name,)).fetchone()
            if row is None:
                return None
            run = run_from(row)
        return self._touch(run)

    def _touch(self, run: Run) -> Run:
        self._runs[run.run] = self._recent.runs[run.run] = run
        self._recent.runs.move_to_end(run.run)
        return run

    def _run_of(self, trace_id: bytes) -> str:
        name = self._recent.traces.get(trace_id)
        if name is None:
            row = self._connection.execute("SELECT run FROM run_traces WHERE trace_id = ?", (trace_id,)).fetchone()
            name = row["run"] if row is not None else trace_id.hex()
            self._map(trace_id, name)
        return name

    def _map(self, trace_id: bytes, name: str) -> None:
        if (trace_id, name) in self._recent.mapped:
            return
        self._recent.traces.setdefault(trace_id, name)
        self._recent.mapped[trace_id, name] = None
        added = self._connection.execute("INSERT OR IGNORE INTO run_traces VALUES (?, ?)", (trace_id, name)).rowcount
        if added and name != trace_id.hex():
            self._adopt(trace_id.hex(), name)

    def _adopt(self, provisional: str, name: str) -> None:
        orphan = self._load(provisional)
        if orphan is None:
            return
        del self._runs[provisional], self._recent.runs[provisional]
        trace_id = bytes.fromhex(provisional)
        self._recent.traces[trace_id] = name
        self._recent.mapped.pop((trace_id, provisional), None)
        for facet in [facet for facet in self._facets if facet[0] == provisional]:
            del self._facets[facet]
            self._facet((name, *facet[1:]))
        run = self._load(name)
        if run is None:
            orphan.run = name
            self._touch(orphan)
        else:
            run.merge(orphan)
        self._connection.execute("UPDATE OR IGNORE facets SET run = ? WHERE run = ?", (name, provisional))
        for table in ("facets", "runs", "run_traces"):
            self._connection.execute(f"DELETE FROM {table} WHERE run = ?", (provisional,))
