"""The store's one writer: a SQLite file in WAL mode, so that readers in any process never wait for it."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar

import structlog

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.store.audit import Outcome, begin, end
from antiphon.runtime.store.damaged import set_aside
from antiphon.runtime.store.gaps import NodeHealth
from antiphon.runtime.store.ingest import Ingest
from antiphon.runtime.store.journals import Finished, put_journals
from antiphon.runtime.store.lock import WriterLock
from antiphon.runtime.store.recent import Recent
from antiphon.runtime.store.retention import Retention, forget_some
from antiphon.runtime.store.rollups import Cell, Key, Rollups
from antiphon.runtime.store.rows import check_batch
from antiphon.runtime.store.runs import Run
from antiphon.runtime.store.schema import migrate
from antiphon.runtime.store.scores import put_scores
from antiphon.runtime.store.sketch import Sketch
from antiphon.runtime.store.totals import Totals
from antiphon.schemas.finding import Finding
from antiphon.schemas.score import Score
from antiphon.schemas.telemetry import TelemetryBatch

log = structlog.get_logger(__name__)

ROWS_PER_TRANSACTION = 4_000  # about 0.1 s
REJECTED_KEPT = 100  # bodies of batches nobody could read
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """A batch as the stream handed it out; ``redelivered``: not for the first time."""

    batch: TelemetryBatch
    redelivered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What one ``write`` changed: spans that were new or finished, logs, missing batches, runs touched."""

    spans: int = 0
    logs: int = 0
    missing: int = 0
    runs: tuple[Run, ...] = ()


class Store:
    """Holds the writer's lock while open. Calls may come from any thread, one at a time; a loop's by ``apart``."""

    def __init__(self, path: Path, clock: Clock, retention: Retention) -> None:
        """Open or create the file.

        Raises:
            ConfigurationError: another process writes it, a newer Antiphon or another program wrote it, or the
                folder cannot be used.
        """
        self.path = path
        self._clock = clock
        self._retention = retention
        self._guard = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self.totals = Totals()
        self._rollups = Rollups()
        self._recent = Recent()
        self._closed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)  # prompts may be in it; the log beside it inherits the mode
            self._lock = WriterLock(path)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the store {path}: {error.strerror}; name a writable folder"
            ) from error
        try:
            self._connection = self._open()
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def open(cls, path: Path, *, clock: Clock, retention: Retention | None = None) -> Self:
        """As the constructor, with the default retention: 7 days, 2 GiB."""
        return cls(path, clock, retention if retention is not None else Retention())

    async def apart(self, work: Callable[[], T]) -> T:
        """What ``work`` returns, done in the store's own thread: it never waits for threads that read."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def write(self, received: Sequence[Received]) -> Written:
        """Store batches, in transactions of at most 4,000 rows. Writing the same again changes nothing.

        Raises:
            InvalidMessage: a record no span or log can be; nothing was written.
            sqlite3.OperationalError: the disk is full or failing; write again later.
        """
        spans = [(item.batch.node, span) for item in received for span in item.batch.spans]
        logs = [(item.batch.node, entry) for item in received for entry in item.batch.logs]
        for item in received:
            check_batch(item.batch)
        runs: dict[str, Run] = {}
        new_spans = 0
        for start in range(0, max(len(spans), len(logs)), ROWS_PER_TRANSACTION):
            part = slice(start, start + ROWS_PER_TRANSACTION)
            try:
                with self._transaction() as connection:
                    ingest = Ingest(connection, self._recent)
                    touched = ingest.spans(spans[part])
                    ingest.logs(logs[part])
            except BaseException:
                self._recent.clear()
                raise
            self._recent.trim()
            new_spans += ingest.stored
            for span, facts in ingest.ended:  # only now: a transaction rolled back is written again
                self._rollups.add(span, facts)
            runs.update((run.run, run) for run in touched)
        with self._transaction() as connection:
            missing = self._note_arrivals(connection, received)
        return Written(spans=new_spans, logs=len(logs), missing=missing, runs=tuple(runs.values()))

    def put_findings(self, findings: Iterable[Finding]) -> None:
        """Keep the newest message of each finding."""
        with self._transaction() as connection:
            connection.executemany(
                """INSERT INTO findings VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
                   pattern = excluded.pattern, state = excluded.state, last_seen_ms = excluded.last_seen_ms,
                   saving_s = excluded.saving_s, body = excluded.body WHERE excluded.last_seen_ms >= last_seen_ms""",
                [
                    (item.id, item.pattern, item.state, item.last_seen_unix_ms, _saving_s(item), item.model_dump_json())
                    for item in findings
                ],
            )

    def put_journals(self, finished: Iterable[Finished]) -> None:
        """Keep journals of tasks that have ended. Writing the same again changes nothing.

        Raises:
            sqlite3.OperationalError: the disk is full or failing; write again later.
        """
        with self._transaction() as connection:
            put_journals(connection, finished)

    def put_scores(self, scores: Iterable[tuple[str, Score]]) -> None:
        """Keep the newest score of each name of a task; each with its tenant."""
        with self._transaction() as connection:
            put_scores(connection, scores)

    def begin_act(self, *, action: str, by: str, arguments: dict[str, Any]) -> int:
        """Note in the audit log what is about to be done; its number there.

        Raises:
            sqlite3.OperationalError: the disk is full or failing; nothing must be done that nobody can look up.
        """
        with self._transaction() as connection:
            unix_ms = self._clock.unix_ns() // 1_000_000
            return begin(connection, unix_ms=unix_ms, action=action, by=by, arguments=arguments)

    def end_act(self, act: int, outcome: Outcome, message: str) -> None:
        """Note how it ended."""
        with self._transaction() as connection:
            end(connection, act, outcome, message)

    def reject(self, *, subject: str, sequence: int, reason: str, body: bytes) -> None:
        """Keep a body nobody could read; the newest 100 stay, every one is counted in the row ids."""
        with self._transaction() as connection:
            connection.execute(
                "INSERT INTO rejected VALUES (?, ?, ?, ?, ?)",
                (self._clock.unix_ns(), subject, sequence, reason[:500], body),
            )
            connection.execute(
                "DELETE FROM rejected WHERE rowid <= (SELECT max(rowid) FROM rejected) - ?", (REJECTED_KEPT,)
            )

    def flush_rollups(self) -> None:
        """Add what was counted since the last call to the stored sums. A crash loses what was not flushed."""
        cells = self._rollups.take()
        if cells:
            self.totals.add(cells)
            with self._transaction() as connection:
                for key, cell in cells.items():
                    _add_cell(connection, key, cell)

    def sweep(self, *, max_steps: int = 16) -> int:
        """Delete what is beyond retention, in short transactions; how many rows went."""
        gone = 0
        for _ in range(max_steps):
            with self._transaction() as connection:
                step = forget_some(connection, self._retention, self._clock.unix_ns())
            gone += step
            if not step:
                break
        if gone:
            self._recent.clear()
            with self._guard:
                self._connection.execute("PRAGMA incremental_vacuum(2000)").fetchall()
        return gone

    def start_anew(self, error: sqlite3.DatabaseError) -> bool:
        """Whether ``error`` says that the file is damaged; if so it was moved aside and an empty one is open."""
        if error.sqlite_errorcode not in _DAMAGE:
            return False
        with self._guard:
            self._connection.close()
            self._move_aside(error)
            self._connection = self._connect()
            self._recent.clear()
        return True

    def close(self) -> None:
        """Flush and let the next writer in. Idempotent."""
        with self._guard:
            if self._closed:
                return
        self.flush_rollups()
        with self._guard:
            self._closed = True
            self._connection.close()
            self._lock.release()
        self._thread.shutdown(wait=False, cancel_futures=True)

    @contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection, None, None]:
        with self._guard:
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    def _note_arrivals(self, connection: sqlite3.Connection, received: Sequence[Received]) -> int:
        total = 0
        nodes: dict[str, NodeHealth] = {}
        now_ns = self._clock.unix_ns()
        for item in received:
            name = item.batch.node
            if name not in nodes:
                row = connection.execute("SELECT * FROM nodes WHERE node = ?", (name,)).fetchone()
                nodes[name] = NodeHealth(**dict(row)) if row is not None else NodeHealth(node=name)
            missing = nodes[name].arrive(
                sequence=item.batch.sequence,
                dropped=item.batch.dropped,
                redelivered=item.redelivered,
                now_ns=now_ns,
            )
            if missing:
                total += missing
                log.warning("telemetry_gap", node=name, before=item.batch.sequence, missing=missing)
                connection.execute("INSERT INTO gaps VALUES (?, ?, ?, ?)", (now_ns, name, item.batch.sequence, missing))
        connection.executemany(
            "INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?, ?, ?, ?)",
            [tuple(getattr(health, column.name) for column in fields(health)) for health in nodes.values()],
        )
        return total

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in _DAMAGE:
                raise ConfigurationError(
                    f"the store {self.path} cannot be opened ({error}): expected a file that this user can write, on a "
                    "disk with room"
                ) from error
            self._move_aside(error)
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, cached_statements=64)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # takes effect only on an empty file
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute("PRAGMA cache_size = -8192")
            connection.execute(f"PRAGMA journal_size_limit = {64 * 1024**2}").fetchone()
            connection.execute("PRAGMA wal_autocheckpoint = 4000")  # 16 MB: a hot page is copied back once
            migrate(connection, self.path)
            for table in (
                "spans",
                "runs",
                "logs",
                "journals",
            ):  # a damaged root page shows here, not at the first write
                connection.execute(f"SELECT * FROM {table} LIMIT 1").fetchone()
        except BaseException:
            connection.close()
            raise
        return connection

    def _move_aside(self, error: sqlite3.DatabaseError) -> None:
        kept = set_aside(self.path, self._clock.unix_ns() // 1_000_000)
        log.error("store_corrupt_set_aside", path=str(self.path), kept=str(kept), error=str(error))


def _saving_s(finding: Finding) -> float | None:
    if finding.saving is None or finding.saving.latency_s is None:
        return None
    return finding.saving.latency_s.point


_CELL_SUMS = (
    "count",
    "errors",
    "sum_ns",
    "queue_ns",
    "prefill_ns",
    "decode_ns",
    "input_tokens",
    "output_tokens",
    "cached_tokens",
)


def _add_cell(connection: sqlite3.Connection, key: Key, cell: Cell) -> None:
    identity = (key.second, key.agent, key.operation, key.model, key.obs)
    where = "second = ? AND agent = ? AND operation = ? AND model = ? AND obs = ?"
    stored = connection.execute(f"SELECT sketch FROM rollup_1s WHERE {where}", identity).fetchone()
    if stored is not None:
        cell.sketch.merge(Sketch.from_bytes(stored["sketch"]))
    added = ", ".join(f"{name} = {name} + excluded.{name}" for name in _CELL_SUMS)
    connection.execute(
        f"INSERT INTO rollup_1s VALUES ({', '.join('?' * 15)}) "
        f"ON CONFLICT DO UPDATE SET {added}, sketch = excluded.sketch",
        (*identity, *(getattr(cell, name) for name in _CELL_SUMS), cell.sketch.to_bytes()),
    )
