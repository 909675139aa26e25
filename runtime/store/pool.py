"""Read-only connections, shared by threads."""

import queue
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from antiphon.runtime.errors import Busy, ConfigurationError
from antiphon.runtime.store.schema import STEPS, check

_CONNECTIONS = 4  # concurrent queries; a fifth waits


class ReadPool:
    """Hands out connections opened with mode=ro. One to a file that was replaced is thrown away."""

    def __init__(self, path: Path, *, wait_s: float = 5.0) -> None:
        self._path = path
        self._wait_s = wait_s
        self._slots: queue.LifoQueue[tuple[sqlite3.Connection, int] | None] = queue.LifoQueue()
        for _ in range(_CONNECTIONS):
            self._slots.put(None)

    @contextmanager
    def connection(self) -> Generator[sqlite3.Connection, None, None]:
        """A connection for one query.

        Raises:
            ConfigurationError: there is no store here, not one this version reads, or a damaged one.
            Busy: every connection was in use for ``wait_s``.
        """
        try:
            slot = self._slots.get(timeout=self._wait_s)
        except queue.Empty:
            raise Busy(f"the store {self._path} has answered nobody for {self._wait_s:g} s; try again") from None
        try:
            slot = self._current(slot)
            yield slot[0]
        except sqlite3.Error as error:
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
