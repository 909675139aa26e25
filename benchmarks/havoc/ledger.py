"""What lies outside Antiphon: two ledgers in SQLite files, and a diary of who began which task.

Both ledgers keep a row for every write that reached them. The one that honours idempotency keys ignores a second row
with a key it has; the other keeps whatever it is given.
"""

import os
import sqlite3
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

BUSY_S = 30.0  # several processes write to one file


class Ledger:
    """One of the two. Calls may come from any thread; a row is there when the call has returned."""

    def __init__(self, path: Path, *, honours_keys: bool) -> None:
        self._insert = "INSERT OR IGNORE" if honours_keys else "INSERT"
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")  # processes are killed here, not machines
        key = "TEXT UNIQUE" if honours_keys else "TEXT"
        self._connection.execute(f"CREATE TABLE IF NOT EXISTS writes (task TEXT, step TEXT, key {key})")

    def write(self, task: str, step: str, key: str | None = None) -> None:
        """Add a row."""
        with self._lock:
            self._connection.execute(f"{self._insert} INTO writes VALUES (?, ?, ?)", (task, step, key))

    def rows(self) -> Counter[tuple[str, str]]:
        """How often each step of each task was written."""
        with self._lock:
            return Counter((task, step) for task, step in self._connection.execute("SELECT task, step FROM writes"))


@dataclass(frozen=True, slots=True)
class Start:
    """A handler began to run."""

    task: str
    node: str
    attempt: int
    unix_ms: int


class Diary:
    """Starts, a line each, in one file for all processes: a short append in one write is whole or not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, start: Start) -> None:
        """Add a line."""
        os.write(self._file, f"{start.task} {start.node} {start.attempt} {start.unix_ms}\n".encode())

    def read(self) -> list[Start]:
        """All lines, in the order in which they were written."""
        lines = (line.split() for line in self._path.read_text().splitlines())
        return [Start(task, node, int(attempt), int(unix_ms)) for task, node, attempt, unix_ms in lines]
