"""Read-only connections, shared by threads, each for a bounded time."""

import math
import queue
import sqlite3
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from antiphon.runtime.errors import Busy, ConfigurationError, Unanswerable
from antiphon.runtime.store.schema import STEPS, check

READ_S: Final = 10.0  # of one query, where others wait for the process that asks it
_CONNECTIONS = 4  # concurrent queries; a fifth waits
# Of SQLite's machine between two looks at the clock: about 15 ms, which costs nothing that can be measured. Each look
# waits for the interpreter: at 10,000 steps, a scan beside a busy event loop takes half as long again.
_LOOK_STEPS: Final = 200_000
_NARROW: Final = "ask for a shorter time, for fewer runs, or for one agent, model or finding"


class ReadPool:
    """Hands out connections opened with mode=ro. One to a file that was replaced is thrown away."""

    def __init__(self, path: Path, *, wait_s: float = 5.0, read_s: float = math.inf) -> None:
        self._path = path
        self._wait_s = wait_s
        self._read_s = read_s
        self._slots: queue.LifoQueue[tuple[sqlite3.Connection, int] | None] = queue.LifoQueue()
        for _ in range(_CONNECTIONS):
            self._slots.put(None)

    @contextmanager
    def connection(self, until_s: float = math.inf) -> Generator[sqlite3.Connection, None, None]:
        """A connection for one query, which is stopped after ``read_s``, and at ``until_s`` of the monotonic clock.

        Raises:
            ConfigurationError: there is no store here, not one this version reads, or a damaged one.
            Busy: every connection was in use for ``wait_s``.
            Unanswerable: the query was stopped.
        """
        try:
            slot = self._slots.get(timeout=self._wait_s)
        except queue.Empty:
            raise Busy(f"the store {self._path} has answered nobody for {self._wait_s:g} s; try again") from None
        stop_s = min(time.monotonic() + self._read_s, until_s)
        try:
            slot = self._current(slot)
            if time.monotonic() >= until_s:  # queries of a few steps never look at the clock
                raise Unanswerable(f"reading all this took too long: {_NARROW}")
            slot[0].set_progress_handler(lambda: time.monotonic() >= stop_s, _LOOK_STEPS)
            yield slot[0]
        except sqlite3.Error as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_INTERRUPT:
                raise Unanswerable(f"reading the store took too long: {_NARROW}") from None
            raise ConfigurationError(
                f"the store {self._path} cannot be read ({error}); `antiphon up` sets a damaged one aside",
                path=self._path,
            ) from error
        finally:
            self._slots.put(slot)

    def close(self) -> None:
        """Close those that are idle; one in use is closed when it is dropped."""
        for _ in range(_CONNECTIONS):
            try:
                slot = self._slots.get_nowait()
            except queue.Empty:
                return
            if slot is not None:
                slot[0].close()

    def _current(self, slot: tuple[sqlite3.Connection, int] | None) -> tuple[sqlite3.Connection, int]:
        try:
            inode = self._path.stat().st_ino
        except OSError:
            raise ConfigurationError(
                f"no store at {self._path}; expected the file that a console writes: start `antiphon up`",
                path=self._path,
            ) from None
        if slot is not None and slot[1] == inode:
            return slot
        if slot is not None:
            slot[0].close()
        return self._open(), inode

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
        )
        try:
            connection.row_factory = sqlite3.Row
            found = check(connection, self._path)
        except BaseException:
            connection.close()
            raise
        if found < len(STEPS):
            connection.close()
            raise ConfigurationError(
                f"the store {self._path} has schema version {found}, expected {len(STEPS)}: "
                "`antiphon up` brings it up to date",
                path=self._path,
            )
        return connection
