"""Other people's SQL over the store: it reads tables that hold no contents, for a bounded time, and nothing else."""

import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from antiphon.runtime.errors import ConfigurationError, Unanswerable
from antiphon.runtime.store.schema import check

SECONDS: Final = 5.0
MOST_ROWS: Final = 10_000
MOST_BYTES: Final = 16_000_000  # of one answer
VALUE_BYTES: Final = 256 * 1024  # of one text or blob, also while it is made
QUERY_BYTES: Final = 20_000
_STEPS: Final = 10_000  # of SQLite's machine between two looks at the clock: about 0.2 ms

# Not journals, blocks and rejected: these hold what agents and models said, whether or not capture is on.
TABLES: Final = frozenset(
    {
        "spans", "links", "logs", "traces", "run_traces", "runs", "facets", "rollup_1s", "findings", "nodes", "gaps",
        "scores", "audit", "sqlite_master", "sqlite_schema", "json_each", "json_tree",
    }
)  # fmt: skip
FUNCTIONS: Final = frozenset(
    {
        "abs", "avg", "ceil", "ceiling", "char", "coalesce", "count", "cume_dist", "date", "datetime", "dense_rank",
        "exp", "first_value", "floor", "format", "glob", "group_concat", "hex", "ifnull", "iif", "instr", "json",
        "json_array", "json_array_length", "json_each", "json_extract", "json_group_array", "json_group_object",
        "json_object", "json_tree", "json_type", "json_valid", "julianday", "lag", "last_value", "lead", "length",
        "like", "ln", "log", "log10", "log2", "lower", "ltrim", "max", "min", "mod", "nth_value", "ntile", "nullif",
        "percent_rank", "pow", "power", "printf", "rank", "replace", "round", "row_number", "rtrim", "sign", "sqrt",
        "strftime", "substr", "substring", "sum", "time", "total", "trim", "trunc", "typeof", "unicode", "unixepoch",
        "upper", "->", "->>",
    }
)  # fmt: skip
_LIMITS: Final = {
    sqlite3.SQLITE_LIMIT_LENGTH: VALUE_BYTES,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: QUERY_BYTES,
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
    sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH: 200,
    sqlite3.SQLITE_LIMIT_COLUMN: 500,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Rows of SQLite's own types. ``truncated``: there were more rows than were asked for, or fit."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool
    elapsed_s: float


def ask(path: Path, query: str, *, limit: int = 1_000, time_s: float = SECONDS) -> Answer:
    """Run one SELECT on a connection of its own, which can read and do nothing else.

    Raises:
        Unanswerable: it is no single SELECT, names something that it may not, fails, or takes longer than ``time_s``.
        ConfigurationError: there is no store here that this version reads.
    """
    began_s = time.monotonic()
    connection = _open(path)
    try:
        for limited, most in _LIMITS.items():
            connection.setlimit(limited, most)
        connection.set_progress_handler(lambda: time.monotonic() - began_s > time_s, _STEPS)
        try:
            connection.set_authorizer(_authorizer(_hidden(connection)))
            cursor = connection.execute(query)
            if cursor.description is None:
                raise Unanswerable("this query has no columns: expected one SELECT")
            rows, truncated = _fetch(cursor, min(limit, MOST_ROWS))
            columns = tuple(column[0] for column in cursor.description)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            raise Unanswerable(_said(error, time.monotonic() - began_s > time_s, time_s)) from None
    finally:
        connection.close()
    return Answer(columns=columns, rows=rows, truncated=truncated, elapsed_s=time.monotonic() - began_s)


def _open(path: Path) -> sqlite3.Connection:
    connection: sqlite3.Connection | None = None
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=1.0)
        check(connection, path)
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise ConfigurationError(f"the store {path} cannot be read ({error}): start `antiphon up`", path=path) from None
    connection.text_factory = lambda raw: raw.decode("utf-8", "replace")  # CAST makes text of any bytes
    return connection


def _fetch(cursor: sqlite3.Cursor, limit: int) -> tuple[tuple[tuple[Any, ...], ...], bool]:
    rows: list[tuple[Any, ...]] = []
    room = MOST_BYTES
    for row in cursor:
        room -= sum(len(value) if isinstance(value, str | bytes) else 8 for value in row)
        if len(rows) == limit or room < 0:
            return tuple(rows), True
        rows.append(row)
    return tuple(rows), False


def _hidden(connection: sqlite3.Connection) -> frozenset[str]:
    """Every table of the file, and of SQLite itself, that is not among TABLES: a new one too."""
    tables = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    modules = connection.execute("PRAGMA module_list").fetchall()
    return frozenset(name.lower() for (name,) in (*tables, *modules)) - TABLES


def _authorizer(hidden: frozenset[str]) -> Callable[..., int]:
    # SQLite names no database for what the query itself defines, in a WITH or a FROM, nor for a table of which no
    # column is read: what is only counted.
    def may(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
        table = (first or "").lower()
        allowed = (
            action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_RECURSIVE)
            or (action == sqlite3.SQLITE_READ and (table in TABLES or (database is None and table not in hidden)))
            or (action == sqlite3.SQLITE_FUNCTION and (second or "").lower() in FUNCTIONS)
        )
        return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY

    return may


def _said(error: Exception, late: bool, time_s: float) -> str:
    if late:
        return f"the query took longer than {time_s:g} s: narrow it, such as by start_ns, or LIMIT it"
    text = str(error)
    if "not authorized" in text or "prohibited" in text:
        return f"{text}: expected one SELECT over {', '.join(sorted(TABLES))}"
    return f"{text}; expected one SELECT"
