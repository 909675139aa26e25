"""What only the file has: other processes, and other files."""

import asyncio
import sys
from pathlib import Path

import pytest

from antiphon.agents.knowledge.chunks import chunks_of
from antiphon.agents.knowledge.sections import Section
from antiphon.agents.knowledge.sqlite_store import SqliteStore
from antiphon.agents.knowledge.store import Source
from antiphon.runtime.errors import ConfigurationError, LibraryUnavailable, MissingExtra


async def test_writers_take_turns(tmp_path: Path) -> None:
    """Several at once, from the first moment on: none is refused and nothing is lost."""
    stores = [SqliteStore(tmp_path / "library.db") for _ in range(4)]

    async def fill(store: SqliteStore, number: int) -> None:
        for at in range(5):
            name = f"{number}-{at}.md"
            chunks = chunks_of(name, [Section(heading=(), text="The fox.")])
            await store.put([(chunks[0], (1.0, 0.0))])
            await store.settle(Source(name=name, digest="d", chunks=1, added_unix_ms=0), chunks)

    await asyncio.gather(*(fill(store, number) for number, store in enumerate(stores)))
    assert len(await stores[0].sources()) == 20
    assert len((await stores[0].search((1.0, 0.0), "fox", 50)).by_vector) == 20


async def test_words_are_compared_by_their_stems(tmp_path: Path) -> None:
    """ "Approving" finds "approved"."""
    store = SqliteStore(tmp_path / "library.db")
    chunks = chunks_of("a.md", [Section(heading=(), text="It was approved.")])
    await store.put([(chunks[0], (1.0, 0.0))])
    assert (await store.search((0.0, 1.0), "approving", 5)).by_words == (chunks[0].id,)


async def test_a_file_that_is_no_library_is_left_as_it_is(tmp_path: Path) -> None:
    """It may be somebody's."""
    path = tmp_path / "library.db"
    path.write_text("notes of mine, by no means a database" * 100)
    with pytest.raises(ConfigurationError, match="is no library"):
        await SqliteStore(path).sources()
    assert path.read_text().startswith("notes of mine")


async def test_a_place_that_cannot_be_written_is_unavailable(tmp_path: Path) -> None:
    """Another attempt may help, once somebody has made room or given the right."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(LibraryUnavailable, match="cannot be used") as caught:
        await SqliteStore(tmp_path / "file" / "library.db").sources()
    assert caught.value.retryable


async def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the extra that brings it."""
    monkeypatch.setitem(sys.modules, "sqlite_vec", None)
    with pytest.raises(MissingExtra, match=r"sqlite_vec.*antiphon\[knowledge\]"):
        await SqliteStore(tmp_path / "library.db").sources()
