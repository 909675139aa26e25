"""The tables, as a list of steps: step n takes a file from version n to n + 1."""

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from antiphon.runtime.errors import ConfigurationError

APPLICATION_ID = 0x416E7470  # "Antp" in the file's header: ours, and not another program's database

_FIRST = (
    # ids are blobs: half the bytes of text, and the unique index is most of what a lookup reads
    """CREATE TABLE spans (
        trace_id BLOB NOT NULL, span_id BLOB NOT NULL, parent_id BLOB,
        run TEXT, node TEXT NOT NULL, agent TEXT, handler TEXT, operation TEXT NOT NULL, name TEXT NOT NULL,
        kind INTEGER NOT NULL, start_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL,
        status INTEGER NOT NULL, status_message TEXT, model TEXT,
        input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER,
        attributes TEXT NOT NULL, events TEXT,
        UNIQUE (trace_id, span_id))""",
    "CREATE INDEX spans_start ON spans (start_ns)",
    "CREATE INDEX spans_model ON spans (model) WHERE model IS NOT NULL",
    """CREATE TABLE links (
        trace_id BLOB NOT NULL, span_id BLOB NOT NULL, to_trace BLOB NOT NULL, to_span BLOB NOT NULL,
        attributes TEXT, PRIMARY KEY (trace_id, span_id, to_trace, to_span)) WITHOUT ROWID""",
    "CREATE INDEX links_to ON links (to_trace, to_span)",
    """CREATE TABLE logs (
        unix_ns INTEGER NOT NULL, node TEXT NOT NULL, level TEXT NOT NULL, event TEXT NOT NULL,
        trace_id BLOB NOT NULL, span_id BLOB NOT NULL, fields TEXT NOT NULL,
        UNIQUE (unix_ns, node, event, span_id))""",
    "CREATE INDEX logs_trace ON logs (trace_id)",
    "CREATE TABLE traces (trace_id BLOB PRIMARY KEY, last_ns INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE INDEX traces_last ON traces (last_ns)",
    "CREATE TABLE run_traces (trace_id BLOB, run TEXT, PRIMARY KEY (trace_id, run)) WITHOUT ROWID",
    "CREATE INDEX run_traces_run ON run_traces (run)",
    """CREATE TABLE runs (
        run TEXT PRIMARY KEY, start_ns INTEGER NOT NULL, last_ns INTEGER NOT NULL, obs INTEGER NOT NULL,
        spans INTEGER NOT NULL, unfinished INTEGER NOT NULL, errors INTEGER NOT NULL,
        model_calls INTEGER NOT NULL, input_tokens INTEGER NOT NULL, output_tokens INTEGER NOT NULL,
        cached_tokens INTEGER NOT NULL, entry_rank INTEGER NOT NULL, entry_key TEXT NOT NULL,
        entry_start_ns INTEGER NOT NULL, entry_attempt INTEGER NOT NULL, title TEXT NOT NULL,
        status TEXT NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX runs_start ON runs (obs, start_ns, run)",
    "CREATE TABLE facets (run TEXT, kind TEXT, value TEXT, PRIMARY KEY (run, kind, value)) WITHOUT ROWID",
    """CREATE TABLE rollup_1s (
        second INTEGER, agent TEXT, operation TEXT, model TEXT, obs INTEGER,
        count INTEGER, errors INTEGER, sum_ns INTEGER, queue_ns INTEGER, prefill_ns INTEGER, decode_ns INTEGER,
        input_tokens INTEGER, output_tokens INTEGER, cached_tokens INTEGER, sketch BLOB,
        PRIMARY KEY (second, agent, operation, model, obs)) WITHOUT ROWID""",
    """CREATE TABLE findings (
        id TEXT PRIMARY KEY, pattern TEXT NOT NULL, state TEXT NOT NULL, last_seen_ms INTEGER NOT NULL,
        saving_s REAL, body TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE nodes (
        node TEXT PRIMARY KEY, batches INTEGER, missing INTEGER, dropped INTEGER, sequence INTEGER,
        reported INTEGER, last_ns INTEGER) WITHOUT ROWID""",
    "CREATE TABLE gaps (unix_ns INTEGER, node TEXT, sequence INTEGER, missing INTEGER)",
    "CREATE TABLE rejected (unix_ns INTEGER, subject TEXT, sequence INTEGER, reason TEXT, body BLOB)",
)

_JOURNALS = (
    """CREATE TABLE journals (
        tenant TEXT NOT NULL, task TEXT NOT NULL, run TEXT NOT NULL, ended_ms INTEGER NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (tenant, task))""",
    "CREATE INDEX journals_run ON journals (tenant, run)",
    "CREATE INDEX journals_ended ON journals (ended_ms)",
    # what journals of a run share, by its hash: turns of conversations, values that were blobs
    """CREATE TABLE blocks (
        tenant TEXT NOT NULL, run TEXT NOT NULL, hash TEXT NOT NULL, content BLOB NOT NULL,
        PRIMARY KEY (tenant, run, hash))""",
)

_SCORES = (
    """CREATE TABLE scores (
        tenant TEXT NOT NULL, task TEXT NOT NULL, name TEXT NOT NULL, unix_ms INTEGER NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (tenant, task, name)) WITHOUT ROWID""",
    "CREATE INDEX scores_task ON scores (task)",
    "CREATE INDEX scores_unix ON scores (unix_ms)",
)

_CONSOLE = (
    # what pictures of 50,000 spans need, so that they need not read 50,000 JSON texts
    "ALTER TABLE spans ADD COLUMN label TEXT",  # of what was sent; other spans' labels are made of other columns
    "ALTER TABLE spans ADD COLUMN queue_ns INTEGER",
    "ALTER TABLE runs ADD COLUMN cost_usd REAL NOT NULL DEFAULT 0",
    # all that lists are filtered by, so that a filter nothing matches reads no runs
    "DROP INDEX runs_start",
    """CREATE INDEX runs_list ON runs
        (obs, start_ns, run, last_ns, input_tokens, output_tokens, cost_usd, status, entry_key, title)""",
    """CREATE TABLE audit (
        id INTEGER PRIMARY KEY AUTOINCREMENT, unix_ms INTEGER NOT NULL, action TEXT NOT NULL, by TEXT NOT NULL,
        arguments TEXT NOT NULL, outcome TEXT NOT NULL, message TEXT NOT NULL)""",
)

# so that the few runs of a rare agent are found without going through all runs
_RARE = ("CREATE INDEX facets_value ON facets (kind, value, run)",)

# so that pictures and sums of long runs tell a model's reading from its writing
_PACE = ("ALTER TABLE spans ADD COLUMN prefill_ns INTEGER", "ALTER TABLE spans ADD COLUMN decode_ns INTEGER")

# so that a word is looked for in the few different titles, and not in every run's
_TITLES = ("CREATE INDEX runs_title ON runs (title)",)

STEPS: tuple[tuple[str, ...], ...] = (_FIRST, _JOURNALS, _SCORES, _CONSOLE, _RARE, _PACE, _TITLES)


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[Sequence[str]] = STEPS) -> int:
    """Bring the file to version ``len(steps)`` in one transaction; the version it had.

    Raises:
        ConfigurationError: the file is another program's database, or was written by a newer Antiphon.
    """
    found = check(connection, path, newest=len(steps))
    if found == len(steps):
        return found
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in steps[found:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(steps)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    return found


def check(connection: sqlite3.Connection, path: Path, newest: int = len(STEPS)) -> int:
    """The file's schema version; 0 for an empty file.

    Raises:
        ConfigurationError: as ``migrate``.
    """
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if owner != APPLICATION_ID and (owner or found or tables):
        raise ConfigurationError(
            f"{path} is a database of another program; expected a store of Antiphon: name another file", path=path
        )
    if found > newest:
        raise ConfigurationError(
            f"the store {path} has schema version {found}, this Antiphon reads up to {newest}: "
            "upgrade antiphon, or name another file",
            path=path,
            found=found,
            newest=newest,
        )
    return found
