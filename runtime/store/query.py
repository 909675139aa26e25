"""Reading the store: from any process, while it is being written."""

import copy
import json
import math
import re
import sqlite3
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

import structlog
from pydantic import ValidationError

from antiphon.runtime.store.damaged import kept
from antiphon.runtime.store.facts import MODEL_OPERATIONS, PROCESS, TOOL_OPERATION
from antiphon.runtime.store.gaps import NodeHealth
from antiphon.runtime.store.journals import get_journal, journals_of
from antiphon.runtime.store.order import ORDER, RUN_TRACES, run_spans
from antiphon.runtime.store.pool import ReadPool
from antiphon.runtime.store.rows import RUN_COLUMNS, SPAN_COLUMNS, log_from, mapping, run_from, span_from
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.runtime.store.scores import scores_of
from antiphon.runtime.store.sketch import Sketch
from antiphon.runtime.store.spending import Spending
from antiphon.schemas.finding import Finding
from antiphon.schemas.journal import JournalBatch
from antiphon.schemas.score import Score
from antiphon.schemas.telemetry import LogRecord, SpanLink, SpanRecord

log = structlog.get_logger()

_NS = 1e9
_HEX = re.compile(r"[0-9a-f]{1,32}")
_TRACE = re.compile(r"[0-9a-f]{32}")
_SPECIAL = re.compile(r"[%_\\]")
_ESCAPED = r"\\\g<0>"
_RARE = 2_000  # runs of one agent or model that are looked up; of more, the newest fifty are soon met
_NOT_OBS = "obs = 0"
_LOOKED_UP = "run IN (SELECT run FROM facets WHERE kind = ? AND value = ?)"
_MET = "EXISTS (SELECT 1 FROM facets f WHERE f.run = runs.run AND f.kind = ? AND f.value = ?)"
_TITLE = r"title LIKE ? ESCAPE '\'"  # half the time of instr and lower
_TITLES = 2_000  # different ones in which a word is looked for; of more, in every run's
_EACH_TITLE = f"""WITH RECURSIVE each(title) AS (
        SELECT min(title) FROM runs
        UNION ALL SELECT (SELECT min(title) FROM runs WHERE title > each.title) FROM each WHERE title IS NOT NULL
        LIMIT {_TITLES + 1})
    SELECT title, {_TITLE} AS said FROM each WHERE title IS NOT NULL"""
_EVIDENCE = 500  # traces of one finding that are looked for
_TOOK_NS = "(last_ns - start_ns)"
_TOKENS = "(input_tokens + output_tokens)"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the list of runs: the last one seen."""

    start_ns: int
    run: str

    def __str__(self) -> str:
        return f"{self.start_ns}.{self.run}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """What ``str`` wrote. Raises ValueError for anything else."""
        start, dot, run = text.partition(".")
        if not (dot and run and start.isascii() and start.isdigit() and int(start) < 2**63):
            raise ValueError(f"cursor {text[:80]!r}: expected the `next` of an earlier page")
        return cls(int(start), run)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFilter:
    """Which runs; None and False mean no restriction, except that ``obs`` adds the system's own."""

    agent: str | None = None
    model: str | None = None
    status: RunStatus | None = None
    obs: bool = False
    text: str | None = None  # in the title
    min_s: float | None = None
    max_s: float | None = None
    min_tokens: int | None = None  # read and written together
    max_tokens: int | None = None
    min_usd: float | None = None
    max_usd: float | None = None
    finding: str | None = None  # runs that are evidence of it
    durable: bool = False  # runs that began with a task, which has the run's id
    among: Collection[str] | None = None  # only runs with these ids
    without: Collection[str] = ()

    def conditions(self) -> tuple[list[str], list[object]]:
        """As SQL over ``runs``, with its parameters; all but agent, model, finding and text, which are looked up."""
        where = [] if self.obs else [_NOT_OBS]
        values: list[object] = []
        amounts = (
            (_TOOK_NS, ">=", None if self.min_s is None else self.min_s * _NS),
            (_TOOK_NS, "<=", None if self.max_s is None else self.max_s * _NS),
            (_TOKENS, ">=", self.min_tokens),
            (_TOKENS, "<=", self.max_tokens),
            ("cost_usd", ">=", self.min_usd),
            ("cost_usd", "<=", self.max_usd),
            ("status", "=", None if self.status is None else self.status.value),
        )
        for column, sign, amount in amounts:
            if amount is not None:
                where.append(f"{column} {sign} ?")
                values.append(amount)
        if self.durable:
            where.append("entry_key = run")
        if self.among is not None:
            where.append("run IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(self.among)))
        if self.without:
            where.append("run NOT IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(list(self.without)))
        return where, values


@dataclass(frozen=True, slots=True)
class RunPage:
    """Runs, newest first, and where the next page starts."""

    runs: tuple[Run, ...]
    next: Cursor | None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """One run whole: its totals, its spans in order of start, its logs in order of time.

    ``truncated``: the run has more spans or logs than were asked for.
    """

    run: Run
    spans: tuple[SpanRecord, ...] = ()
    logs: tuple[LogRecord, ...] = field(default=())
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """How complete the record is: per node, how many batches nobody could read, and damaged stores before this one."""

    nodes: tuple[NodeHealth, ...]
    rejected: int
    set_aside: tuple[str, ...]  # names of their files, the newest first


class Reader:
    """Queries over a store; every method may be called from any thread.

    All raise ConfigurationError when there is no store here that this version reads, and Unanswerable when one query
    takes longer than ``read_s``.
    """

    def __init__(self, path: Path, *, read_s: float = math.inf) -> None:
        self._path = path
        self._pool = ReadPool(path, read_s=read_s)
        self._until_s = math.inf

    @classmethod
    def open(cls, path: Path, *, read_s: float = math.inf) -> Self:
        """As the constructor, and looks at the file at once. Raises ConfigurationError."""
        reader = cls(path, read_s=read_s)
        with reader._pool.connection():
            return reader

    def within(self, all_s: float) -> Self:
        """The same store for one question of many queries, which becomes Unanswerable ``all_s`` from now."""
        hurried = copy.copy(self)
        hurried._until_s = time.monotonic() + all_s
        return hurried

    def runs(self, wanted: RunFilter, *, limit: int, after: Cursor | None = None) -> RunPage:
        """One page of runs, newest first."""
        where, values = wanted.conditions()
        if after is not None:
            where.append("(start_ns, run) < (?, ?)")
            values += [after.start_ns, after.run]
        with self._connection() as connection:
            for kind, value in (("agent", wanted.agent), ("model", wanted.model)):
                if value is not None:
                    rare = _is_rare(connection, kind, value)
                    if rare:
                        _unlisted(where)
                    where.append(_LOOKED_UP if rare else _MET)
                    values += [kind, value]
            if wanted.text is not None:
                like = f"%{_SPECIAL.sub(_ESCAPED, wanted.text)}%"
                titles = _titles(connection, like)
                if titles is None:
                    where.append(_TITLE)
                    values.append(like)
                else:
                    if _are_rare(connection, titles):
                        _unlisted(where)
                    where.append("title IN (SELECT value FROM json_each(?))")
                    values.append(json.dumps(titles))
            if wanted.finding is not None:
                traces = _evidence(connection, wanted.finding)
                marks = ", ".join("?" * len(traces))
                where.append(f"run IN (SELECT run FROM run_traces WHERE trace_id IN ({marks}))")
                values += traces
            condition = f"WHERE {' AND '.join(where)}" if where else ""
            rows = connection.execute(
                f"""SELECT {RUN_COLUMNS} FROM runs WHERE run IN
                    (SELECT run FROM runs {condition} ORDER BY start_ns DESC, run DESC LIMIT ?)
                    ORDER BY start_ns DESC, run DESC""",
                (*values, limit + 1),
            ).fetchall()
            runs = tuple(_with_facets(connection, row) for row in rows[:limit])
        more = len(rows) > limit
        return RunPage(runs, Cursor(runs[-1].start_ns, runs[-1].run) if more else None)

    def find(self, prefix: str, *, limit: int = 2) -> tuple[str, ...]:
        """Ids of runs that begin with ``prefix``, or have a trace that does."""
        traces: tuple[bytes, ...] = ()
        if _HEX.fullmatch(prefix):
            traces = bytes.fromhex(prefix.ljust(32, "0")), bytes.fromhex(prefix.ljust(32, "f"))
        with self._connection() as connection:
            rows = connection.execute(
                "SELECT run FROM runs WHERE substr(run, 1, ?) = ? ORDER BY run LIMIT ?", (len(prefix), prefix, limit)
            ).fetchall()
            if traces and not rows:
                rows = connection.execute(
                    "SELECT DISTINCT run FROM run_traces WHERE trace_id BETWEEN ? AND ? LIMIT ?", (*traces, limit)
                ).fetchall()
        return tuple(row["run"] for row in rows)

    def run(self, run: str, *, max_spans: int = 5_000, max_logs: int = 1_000) -> RunRecord | None:
        """One run with its earliest spans and logs; None when the store does not know it."""
        with self._connection() as connection:
            connection.execute("BEGIN")  # one state of the file for all queries
            try:
                row = connection.execute(f"SELECT {RUN_COLUMNS} FROM runs WHERE run = ?", (run,)).fetchone()
                if row is None:
                    return None
                chosen = f"{run_spans(row, max_spans)} {ORDER} LIMIT ?2"
                spans = connection.execute(f"SELECT {SPAN_COLUMNS} {chosen}", (run, max_spans + 1)).fetchall()
                logs = connection.execute(
                    f"SELECT * FROM logs WHERE {RUN_TRACES} ORDER BY unix_ns LIMIT ?2", (run, max_logs + 1)
                ).fetchall()
                links = _links(connection, chosen, run, max_spans)
                found = _with_facets(connection, row)
            finally:
                connection.execute("COMMIT")
        return RunRecord(
            found,
            tuple(span_from(item, links.get((item["trace_id"], item["span_id"]), [])) for item in spans[:max_spans]),
            tuple(log_from(item) for item in logs[:max_logs]),
            truncated=len(spans) > max_spans or len(logs) > max_logs,
        )

    def span(self, trace_id: bytes, span_id: bytes) -> SpanRecord | None:
        """One span whole."""
        with self._connection() as connection:
            row = connection.execute(
                f"SELECT {SPAN_COLUMNS} FROM spans WHERE trace_id = ? AND span_id = ?", (trace_id, span_id)
            ).fetchone()
            if row is None:
                return None
            links = connection.execute(
                "SELECT * FROM links WHERE trace_id = ? AND span_id = ?", (trace_id, span_id)
            ).fetchall()
        return span_from(row, [_link(link) for link in links])

    def journal(self, tenant: str, task: str) -> JournalBatch | None:
        """What a task that has ended did, whole; None when the store does not have it."""
        with self._connection() as connection:
            return get_journal(connection, tenant, task)

    def journals(self, tenant: str, run: str, *, limit: int) -> list[str]:
        """The tasks of a run whose journals are kept, in the order in which they ended."""
        with self._connection() as connection:
            return journals_of(connection, tenant, run, limit)

    def scores(self, run: str) -> tuple[Score, ...]:
        """What was said of the run's tasks, by time."""
        with self._connection() as connection:
            return scores_of(connection, run)

    def findings(self, *, limit: int = 200) -> tuple[Finding, ...]:
        """Open ones first and those that are gone last, then by saving, then the newest."""
        with self._connection() as connection:
            rows = connection.execute(
                """SELECT body FROM findings ORDER BY state = 'open' DESC, state = 'candidate' DESC, state = 'gone',
                   saving_s IS NULL, saving_s DESC, last_seen_ms DESC LIMIT ?""",
                (limit,),
            ).fetchall()
        return tuple(finding for row in rows if (finding := _finding(row["body"])) is not None)

    def spending(self, *, since_s: float, obs: bool = False) -> list[Spending]:
        """Where time and tokens went since unix second ``since_s``, the most time first; from the roll-ups."""
        operations = (PROCESS, TOOL_OPERATION, "run", *sorted(MODEL_OPERATIONS))
        with self._connection() as connection:
            rows = connection.execute(
                f"""SELECT * FROM rollup_1s WHERE second >= ? AND obs <= ?
                    AND operation IN ({", ".join("?" * len(operations))})""",
                (int(since_s), int(obs), *operations),
            )
            groups: dict[tuple[str, str, str], list[sqlite3.Row]] = {}
            for row in rows:
                groups.setdefault((row["agent"], row["operation"], row["model"]), []).append(row)
        return sorted((_sum(key, group) for key, group in groups.items()), key=lambda item: -item.total_s)

    def health(self) -> Health:
        """What did not arrive, by node."""
        with self._connection() as connection:
            nodes = connection.execute("SELECT * FROM nodes ORDER BY last_ns DESC LIMIT 200").fetchall()
            rejected = connection.execute("SELECT coalesce(max(rowid), 0) AS total FROM rejected").fetchone()["total"]
        return Health(tuple(NodeHealth(**dict(row)) for row in nodes), rejected, kept(self._path))

    def ask(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What ``query``, a function of one of this package's modules, finds on one state of the file."""
        with self._connection() as connection:
            connection.execute("BEGIN")
            try:
                return query(connection)
            finally:
                connection.execute("COMMIT")

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def _connection(self) -> AbstractContextManager[sqlite3.Connection]:
        return self._pool.connection(self._until_s)


def _is_rare(connection: sqlite3.Connection, kind: str, value: str) -> bool:
    """Whether so few runs have it that all are gone through for the last of fifty, unless they are looked up."""
    few = "SELECT count(*) AS n FROM (SELECT 1 FROM facets WHERE kind = ? AND value = ? LIMIT ?)"
    return bool(connection.execute(few, (kind, value, _RARE)).fetchone()["n"] < _RARE)


def _titles(connection: sqlite3.Connection, like: str) -> list[str] | None:
    """Those in which a word occurs, each once; None where there are too many different ones to look at all."""
    rows = connection.execute(_EACH_TITLE, (like,)).fetchall()
    return None if len(rows) > _TITLES else [row["title"] for row in rows if row["said"]]


def _are_rare(connection: sqlite3.Connection, titles: list[str]) -> bool:
    few = "SELECT count(*) AS n FROM (SELECT 1 FROM runs WHERE title IN (SELECT value FROM json_each(?)) LIMIT ?)"
    return bool(connection.execute(few, (json.dumps(titles), _RARE)).fetchone()["n"] < _RARE)


def _unlisted(where: list[str]) -> None:
    """Keep the query from the list's index: it would go through all runs for few."""
    if _NOT_OBS in where:
        where[where.index(_NOT_OBS)] = f"+{_NOT_OBS}"


def _evidence(connection: sqlite3.Connection, finding: str) -> list[bytes]:
    row = connection.execute("SELECT body FROM findings WHERE id = ?", (finding,)).fetchone()
    named = () if row is None else Finding.model_validate_json(row["body"]).evidence_traces
    return [bytes.fromhex(trace) for trace in named[:_EVIDENCE] if _TRACE.fullmatch(trace)]


def _with_facets(connection: sqlite3.Connection, row: sqlite3.Row) -> Run:
    facets = connection.execute("SELECT kind, value FROM facets WHERE run = ? LIMIT 200", (row["run"],)).fetchall()
    return run_from(
        row,
        agents=tuple(facet["value"] for facet in facets if facet["kind"] == "agent"),
        models=tuple(facet["value"] for facet in facets if facet["kind"] == "model"),
    )


def _links(
    connection: sqlite3.Connection, chosen: str, run: str, most: int
) -> dict[tuple[bytes, bytes], list[SpanLink]]:
    links: dict[tuple[bytes, bytes], list[SpanLink]] = {}
    for row in connection.execute(
        f"SELECT links.* FROM (SELECT trace_id, span_id {chosen}) JOIN links USING (trace_id, span_id)", (run, most)
    ):
        links.setdefault((row["trace_id"], row["span_id"]), []).append(_link(row))
    return links


def _link(row: sqlite3.Row) -> SpanLink:
    return SpanLink(trace_id=row["to_trace"], span_id=row["to_span"], attributes=mapping(row["attributes"]))


def _sum(key: tuple[str, str, str], group: list[sqlite3.Row]) -> Spending:
    sketch = Sketch()
    for row in group:
        sketch.merge(Sketch.from_bytes(row["sketch"]))
    total = {name: sum(row[name] for row in group) for name in group[0].keys() if name.endswith(("_ns", "_tokens"))}  # noqa: SIM118
    return Spending(
        agent=key[0],
        operation=key[1],
        model=key[2],
        count=sum(row["count"] for row in group),
        errors=sum(row["errors"] for row in group),
        total_s=total["sum_ns"] / _NS,
        own_s=None,
        queue_s=total["queue_ns"] / _NS,
        prefill_s=total["prefill_ns"] / _NS,
        decode_s=total["decode_ns"] / _NS,
        input_tokens=total["input_tokens"],
        output_tokens=total["output_tokens"],
        cached_tokens=total["cached_tokens"],
        p50_s=sketch.quantile(0.5) / _NS,
        p95_s=sketch.quantile(0.95) / _NS,
    )


def _finding(body: str) -> Finding | None:
    """A stored finding; None for one of another version's form, which nobody can read any more."""
    try:
        return Finding.model_validate_json(body)
    except ValidationError:
        log.warning("finding_unreadable", begins=body[:80])
        return None
