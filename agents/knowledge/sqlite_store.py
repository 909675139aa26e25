"""A library in one SQLite file: vectors by sqlite-vec, words by FTS5.

SQLite comes through apsw and not through Python's own module, which many builds of Python compile without extensions.
"""

import array
import asyncio
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from antiphon.agents.knowledge.chunks import Chunk
from antiphon.agents.knowledge.store import Found, Source
from antiphon.agents.knowledge.words import query_words
from antiphon.runtime.errors import ConfigurationError, LibraryUnavailable, MissingExtra

if TYPE_CHECKING:
    import apsw

T = TypeVar("T")

BUSY_MS: Final = 10_000  # how long a write waits for another process's
WRITE: Final = "BEGIN IMMEDIATE"  # waits for its turn; a read that becomes a write would be refused instead

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sources (
    name TEXT PRIMARY KEY, digest TEXT NOT NULL, chunks INTEGER NOT NULL, added_unix_ms INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chunks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, heading TEXT NOT NULL,
    text TEXT NOT NULL, first_line INTEGER NOT NULL, last_line INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS chunks_by_source ON chunks (source);
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (
    text, content = '', contentless_delete = 1, tokenize = 'porter unicode61'
);
"""
_COLUMNS: Final = "id, source, heading, text, first_line, last_line"


class SqliteStore:
    """See Store. Several processes of one machine may share the file.

    Each method opens the file for itself, on a thread (about 1 ms): nothing has to be closed, and no connection is
    shared between threads.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    async def sources(self, names: Sequence[str] | None = None) -> list[Source]:
        """See Store."""

        def read(db: "apsw.Connection") -> list[Source]:
            query = "SELECT name, digest, chunks, added_unix_ms FROM sources"
            if names is None:
                rows = db.execute(f"{query} ORDER BY name")
            else:
                rows = db.execute(f"{query} WHERE name IN (SELECT value FROM json_each(?))", (json.dumps(names),))
            return [
                Source(name=str(name), digest=str(digest), chunks=int(chunks), added_unix_ms=int(added))
                for name, digest, chunks, added in rows
            ]

        return await self._do(read)

    async def missing(self, ids: Sequence[str]) -> set[str]:
        """See Store."""

        def read(db: "apsw.Connection") -> set[str]:
            rows = db.execute("SELECT id FROM chunks WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(ids),))
            return set(ids) - {str(id) for (id,) in rows}

        return await self._do(read)

    async def put(self, chunks: Sequence[tuple[Chunk, Sequence[float]]]) -> None:
        """See Store."""

        def write(db: "apsw.Connection") -> None:
            width = len(chunks[0][1])
            if not self._has_vectors(db, width):  # made with the first of them, which says how wide they are
                db.execute(f"CREATE VIRTUAL TABLE vectors USING vec0 (embedding float[{width}] distance_metric=cosine)")
            for chunk, vector in chunks:
                row = (chunk.id, chunk.source, json.dumps(chunk.heading), chunk.text, chunk.first_line, chunk.last_line)
                added = db.execute(
                    f"INSERT INTO chunks ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?) "
                    "ON CONFLICT (id) DO NOTHING RETURNING number",
                    row,
                ).get
                if added is None:
                    continue
                db.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", (added, chunk.embedded_text))
                db.execute("INSERT INTO vectors (rowid, embedding) VALUES (?, ?)", (added, _packed(vector)))

        if chunks:
            await self._do(write, begin=WRITE)

    async def settle(self, source: Source, chunks: Sequence[Chunk]) -> None:
        """See Store."""

        def write(db: "apsw.Connection") -> None:
            kept = json.dumps([chunk.id for chunk in chunks])
            gone = db.execute(
                "DELETE FROM chunks WHERE source = ? AND id NOT IN (SELECT value FROM json_each(?)) RETURNING number",
                (source.name, kept),
            ).fetchall()
            db.executemany("DELETE FROM words WHERE rowid = ?", gone)
            db.executemany("DELETE FROM vectors WHERE rowid = ?", gone)
            places = [(chunk.first_line, chunk.last_line, chunk.id) for chunk in chunks]
            db.executemany("UPDATE chunks SET first_line = ?, last_line = ? WHERE id = ?", places)
            db.execute("DELETE FROM sources WHERE name = ?", (source.name,))
            if chunks:
                row = (source.name, source.digest, len(chunks), source.added_unix_ms)
                db.execute("INSERT INTO sources (name, digest, chunks, added_unix_ms) VALUES (?, ?, ?, ?)", row)

        await self._do(write, begin=WRITE)

    async def search(self, vector: Sequence[float], text: str, limit: int) -> Found:
        """See Store."""

        def read(db: "apsw.Connection") -> Found:
            near: list[Any] = []
            if self._has_vectors(db, len(vector)):
                query = "SELECT rowid FROM vectors WHERE embedding MATCH ? AND k = ? ORDER BY distance"
                near = [number for (number,) in db.execute(query, (_packed(vector), limit))]
            query = "SELECT rowid FROM words WHERE words MATCH ? ORDER BY bm25(words) LIMIT ?"
            expression = _any_word(text)
            worded = [number for (number,) in db.execute(query, (expression, limit))] if expression else []
            rows = db.execute(
                f"SELECT number, {_COLUMNS} FROM chunks WHERE number IN (SELECT value FROM json_each(?))",
                (json.dumps(near + worded),),
            )
            by_number = {number: _chunk(row) for number, *row in rows}
            return Found(
                chunks={chunk.id: chunk for chunk in by_number.values()},
                by_vector=tuple(by_number[number].id for number in near),
                by_words=tuple(by_number[number].id for number in worded),
            )

        return await self._do(read)

    async def _do(self, work: "Callable[[apsw.Connection], T]", *, begin: str = "BEGIN") -> T:
        return await asyncio.to_thread(self._transaction, work, begin)

    def _transaction(self, work: "Callable[[apsw.Connection], T]", begin: str) -> T:
        with self._opened() as db:
            db.execute(begin)
            found = work(db)
            db.execute("COMMIT")
            return found

    @contextmanager
    def _opened(self) -> "Iterator[apsw.Connection]":
        try:
            import apsw
            import sqlite_vec  # type: ignore[import-untyped]
        except ImportError as error:
            raise MissingExtra(
                f"the library {self._path} needs {error.name}, which is not installed; "
                "pip install 'antiphon[knowledge]'"
            ) from error
        db: apsw.Connection | None = None
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            db = apsw.Connection(str(self._path))
            db.set_busy_timeout(BUSY_MS)
            db.enable_load_extension(True)
            db.load_extension(sqlite_vec.loadable_path())
            db.enable_load_extension(False)
            db.pragma("journal_mode", "wal")
            db.execute(_SCHEMA)
            yield db
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise ConfigurationError(f"{self._path} is no library, or a damaged one ({error}): remove it") from error
        except (apsw.BusyError, apsw.CantOpenError, apsw.FullError, apsw.IOError, apsw.ReadOnlyError, OSError) as error:
            raise LibraryUnavailable(f"the library {self._path} cannot be used: {error}") from error
        finally:
            if db is not None:
                db.close()  # rolls back what was not committed

    def _has_vectors(self, db: "apsw.Connection", width: int) -> bool:
        """Whether there are any. Raises ConfigurationError if they have another width."""
        made = db.execute("SELECT sql FROM sqlite_schema WHERE name = 'vectors'").get
        found = re.search(r"float\[(\d+)\]", str(made))
        if found is not None and int(found[1]) != width:
            raise ConfigurationError(
                f"the library {self._path} has vectors of {found[1]} numbers and was given some of {width}: another "
                "model has taken the name of the one it was made with; give it a name of its own, or remove the file"
            )
        return found is not None


def _chunk(row: Sequence[Any]) -> Chunk:
    id, source, heading, text, first_line, last_line = row
    return Chunk(
        id=id, source=source, heading=tuple(json.loads(heading)), text=text, first_line=first_line, last_line=last_line
    )


def _packed(vector: Sequence[float]) -> bytes:
    return array.array("f", vector).tobytes()


def _any_word(text: str) -> str:
    """An FTS5 expression for any of the words; quoted, so that none is read as an operator."""
    return " OR ".join(f'"{word}"' for word in query_words(text))
