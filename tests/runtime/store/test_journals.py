"""Journals in the store: what goes in comes out, large parts once a run, and the oldest go first."""

import hashlib
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from antiphon.runtime.store.journals import Finished
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.sqlite import Store
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch

DAY_MS = 86_400_000


def finished(
    task: str,
    *entries: Entry,
    run: str = "r1",
    tenant: str = "default",
    ended_unix_ms: int = 1,
    blobs: Mapping[str, bytes] | None = None,
) -> Finished:
    batch = JournalBatch(
        task=task,
        run=run,
        agent="a",
        handler="work",
        version="1",
        origin=1,
        attempt=1,
        entries=entries or (Entry(kind=EntryKind.OPERATION, path="1", value=b"1"),),
        state="succeeded",
    )
    return Finished(tenant=tenant, batch=batch, blobs=blobs or {}, ended_unix_ms=ended_unix_ms)


def noise(size: int, seed: int = 0) -> bytes:
    """Bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def test_a_journal_comes_out_whole(store: Store, path: Path) -> None:
    """Turns in their entries, values that were blobs in place; another tenant's task of that id is another."""
    turn = b'{"role": "user"}'
    big = noise(200_000)
    digest = hashlib.sha256(big).hexdigest()
    first = Entry(kind=EntryKind.OPERATION, path="1", conversation=("h1",), blocks={"h1": turn}, value=b'"yes"')
    second = Entry(kind=EntryKind.OPERATION, path="2", digest=digest)
    store.put_journals([finished("t", first, second, blobs={digest: big}), finished("t", tenant="other")])
    found = Reader.open(path).journal("default", "t")
    assert found is not None and found.state == "succeeded"
    assert found.entries[0] == first
    assert found.entries[1].value == big
    other = Reader.open(path).journal("other", "t")
    assert other is not None and len(other.entries) == 1
    assert Reader.open(path).journal("default", "unknown") is None


def test_turns_are_kept_once_a_run_and_never_shared_between_runs(store: Store, path: Path) -> None:
    """A name of a turn is short enough to be chosen: another run's turn of that name is its own."""
    block = noise(100_000)
    entry = Entry(kind=EntryKind.OPERATION, path="1", conversation=("h1",), blocks={"h1": block})
    store.put_journals(finished(f"t{number}", entry) for number in range(50))
    other = Entry(kind=EntryKind.OPERATION, path="1", conversation=("h1",), blocks={"h1": b"else"})
    store.put_journals([finished("u", other, run="r2")])
    found = Reader.open(path).journal("default", "u")
    assert found is not None and found.entries[0].blocks == {"h1": b"else"}
    store.close()
    assert path.stat().st_size < 1_000_000  # 5 MB of turns were written


def test_a_redriven_tasks_journal_replaces_the_first(store: Store, path: Path) -> None:
    """It goes on where the other ended; writing the same twice changes nothing."""
    one = Entry(kind=EntryKind.OPERATION, path="1")
    for entries in ((one,), (one, Entry(kind=EntryKind.OPERATION, path="2")), (one, one, one), (one, one, one)):
        store.put_journals([finished("t", *entries)])
        found = Reader.open(path).journal("default", "t")
        assert found is not None and found.entries == entries


def test_old_journals_go_with_what_they_shared(path: Path, clock: Any) -> None:
    """By age; turns go with the last journal of their run."""
    now_ms = clock.now_ns // 1_000_000
    store = Store.open(path, clock=clock, retention=Retention(max_age_s=86_400.0))
    entry = Entry(kind=EntryKind.OPERATION, path="1", conversation=("h1",), blocks={"h1": b"turn"})
    store.put_journals(
        [
            finished("old", entry, ended_unix_ms=now_ms - 2 * DAY_MS),
            finished("new", entry, ended_unix_ms=now_ms),
            finished("alone", entry, run="r2", ended_unix_ms=now_ms - 3 * DAY_MS),
        ]
    )
    assert store.sweep() == 3  # two journals, the turn of r2
    reader = Reader.open(path)
    assert [reader.journal("default", task) is not None for task in ("old", "new", "alone")] == [False, True, False]
    found = reader.journal("default", "new")
    assert found is not None and found.entries[0].blocks == {"h1": b"turn"}
    assert store.sweep() == 0
    store.close()


@pytest.mark.parametrize("journals", [40, 600])
def test_a_full_store_forgets_the_oldest_first(path: Path, clock: Any, journals: int, make: Any) -> None:
    """Until it is under its limit, and no further than it must."""
    store = Store.open(path, clock=clock, retention=Retention(max_bytes=1_000_000))
    now_ms = clock.now_ns // 1_000_000
    for number in range(journals):
        entry = Entry(kind=EntryKind.OPERATION, path="1", value=noise(100_000 * 40 // journals, seed=number))
        store.put_journals([finished(f"t{number}", entry, ended_unix_ms=now_ms + number)])
    while store.sweep():
        pass
    reader = Reader.open(path)
    kept = [reader.journal("default", f"t{number}") is not None for number in range(journals)]
    assert kept == sorted(kept) and kept[-1] and not kept[0]
    store.close()
