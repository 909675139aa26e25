"""Journals of finished tasks in the store: compressed, with large parts kept once a run.

Turns of a conversation and blobs are rows of their own, by hash. Names of turns are 64 bits, so they are shared inside
a run and never between runs, where somebody could choose them.
"""

import sqlite3
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from antiphon.runtime.delivery.journal_codec import decode_batch, encode_batch
from antiphon.schemas.envelope import BLOB
from antiphon.schemas.journal import Entry, JournalBatch

LEVEL = 1  # of zlib: 60 MB/s; 6 takes three times as long for a tenth less
_OVERHEAD = 300  # bytes of a journal in three indexes

_PUT = "INSERT OR REPLACE INTO journals VALUES (?, ?, ?, ?, ?)"
_PUT_BLOCK = "INSERT OR IGNORE INTO blocks VALUES (?, ?, ?, ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """A whole journal, as its last batch has it. ``blobs`` are the values that its entries name by digest."""

    tenant: str
    batch: JournalBatch
    blobs: Mapping[str, bytes]
    ended_unix_ms: int


def put_journals(connection: sqlite3.Connection, finished: Iterable[Finished]) -> None:
    """Store journals; one that is there is replaced, because a redriven task's goes on where the old one ended."""
    for item in finished:
        batch, tenant = item.batch, item.tenant
        blocks = {name: block for entry in batch.entries for name, block in (entry.blocks or {}).items()}
        connection.executemany(
            _PUT_BLOCK,
            [(tenant, batch.run, name, zlib.compress(part, LEVEL)) for name, part in {**blocks, **item.blobs}.items()],
        )
        lean = replace(batch, entries=tuple(_lean(entry) for entry in batch.entries))
        body = zlib.compress(encode_batch(lean), LEVEL)
        connection.execute(_PUT, (tenant, batch.task, batch.run, item.ended_unix_ms, body))


def get_journal(connection: sqlite3.Connection, tenant: str, task: str) -> JournalBatch | None:
    """The journal whole, large values included; None if it is not there."""
    where = (tenant, task)
    row = connection.execute("SELECT run, body FROM journals WHERE tenant = ? AND task = ?", where).fetchone()
    if row is None:
        return None
    batch = decode_batch(zlib.decompress(row["body"]))

    def part(name: str) -> bytes:
        found = connection.execute(
            "SELECT content FROM blocks WHERE tenant = ? AND run = ? AND hash = ?", (tenant, row["run"], name)
        ).fetchone()
        return b"" if found is None else zlib.decompress(found["content"])

    batch = whole(batch, part)
    return replace(
        batch,
        entries=tuple(
            replace(entry, blocks={name: part(name) for name in entry.blocks}) if entry.blocks else entry
            for entry in batch.entries
        ),
    )


def journals_of(connection: sqlite3.Connection, tenant: str, run: str, limit: int) -> list[str]:
    """The tasks of a run whose journals are there, in the order in which they ended; ``limit`` at most."""
    rows = connection.execute(
        "SELECT task FROM journals WHERE tenant = ? AND run = ? ORDER BY ended_ms LIMIT ?", (tenant, run, limit)
    )
    return [row["task"] for row in rows]


def digests_of(batch: JournalBatch) -> set[str]:
    """The blobs that hold values of the journal, and what its task was given and returned."""
    found = {entry.digest for entry in batch.entries}
    if batch.ended is not None:
        found |= {batch.ended.digest, batch.ended.headers.get(BLOB, "")}
    return found - {""}


def whole(batch: JournalBatch, blob: Callable[[str], bytes]) -> JournalBatch:
    """The journal with what its blobs hold in their place; the digests stay, as a mark of where it came from."""
    entries = tuple(replace(entry, value=blob(entry.digest)) if entry.digest else entry for entry in batch.entries)
    ended = batch.ended
    if ended is not None:
        given, returned = ended.headers.get(BLOB, ""), ended.digest
        ended = replace(
            ended, body=blob(given) if given else ended.body, value=blob(returned) if returned else ended.value
        )
    return replace(batch, entries=entries, ended=ended)


def oldest_ms(connection: sqlite3.Connection) -> int | None:
    """When the task of the oldest journal ended, in unix ms; None: there is none."""
    row = connection.execute("SELECT min(ended_ms) AS oldest FROM journals").fetchone()
    return None if row["oldest"] is None else int(row["oldest"])


def forget_journals(connection: sqlite3.Connection, before_ms: int, *, rows: int, excess: int) -> int:
    """Delete journals, oldest first, in about ``rows`` rows; how many rows went.

    All that ended before ``before_ms``, and younger ones until about ``excess`` bytes are free. What a run's journals
    shared goes before the last of them.
    """
    gone = freed = 0
    oldest = connection.execute(
        "SELECT tenant, task, run, ended_ms, length(body) AS size FROM journals ORDER BY ended_ms LIMIT ?", (rows // 4,)
    ).fetchall()
    for tenant, task, run, ended_ms, size in oldest:
        if gone >= rows or (ended_ms >= before_ms and freed >= excess):
            break
        others = connection.execute(
            "SELECT 1 FROM journals WHERE tenant = ? AND run = ? AND task != ? LIMIT 1", (tenant, run, task)
        ).fetchone()
        if others is None:
            shared = connection.execute(
                "SELECT rowid, length(content) FROM blocks WHERE tenant = ? AND run = ? LIMIT ?",
                (tenant, run, rows - gone),
            ).fetchall()
            connection.executemany("DELETE FROM blocks WHERE rowid = ?", [(number,) for number, _ in shared])
            gone += len(shared)
            freed += sum(length for _, length in shared)
            if gone >= rows:
                break
        connection.execute("DELETE FROM journals WHERE tenant = ? AND task = ?", (tenant, task))
        gone += 1
        freed += size + _OVERHEAD
    return gone


def _lean(entry: Entry) -> Entry:
    """Without the turns, which are rows of their own; their names stay."""
    return replace(entry, blocks=dict.fromkeys(entry.blocks, b"")) if entry.blocks else entry
