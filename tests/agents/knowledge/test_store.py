"""The contract of stores, held by the file and by Qdrant (its client's own engine, which needs no server)."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import pytest

from antiphon.agents.knowledge.chunks import Chunk, chunks_of
from antiphon.agents.knowledge.sections import Section
from antiphon.agents.knowledge.sqlite_store import SqliteStore
from antiphon.agents.knowledge.store import Source, Store
from antiphon.runtime.errors import ConfigurationError

NORTH, EAST, UP = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)

pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")


@pytest.fixture(params=["sqlite", "qdrant"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Store, None]:
    """An empty store of each kind."""
    if request.param == "sqlite":
        yield SqliteStore(tmp_path / "deep" / "library.db")
        return
    from qdrant_client import AsyncQdrantClient

    from antiphon.agents.knowledge.qdrant_store import QdrantStore

    client = AsyncQdrantClient(":memory:")
    yield QdrantStore(client, "library")
    await client.close()


def pieces(source: str, *texts: str, heading: str = "Guide", line: int = 1) -> list[Chunk]:
    """A chunk for each text, under one heading, a line each."""
    sections = [
        Section(heading=(heading,), text=text, first_line=line + at, last_line=line + at)
        for at, text in enumerate(texts)
    ]
    return chunks_of(source, sections)


async def add(
    store: Store, source: str, chunks: Sequence[Chunk], *vectors: Sequence[float], digest: str = "d"
) -> Source:
    """Take a document in, as the library does."""
    await store.put(list(zip(chunks, vectors, strict=True)))
    record = Source(name=source, digest=digest, chunks=len(chunks), added_unix_ms=7)
    await store.settle(record, chunks)
    return record


async def test_an_empty_store_has_nothing(store: Store) -> None:
    """Whatever it is asked, before anything was put there."""
    assert await store.sources() == []
    assert await store.sources(["a.md"]) == []
    assert await store.missing([]) == set()
    assert await store.missing(["0" * 32]) == {"0" * 32}
    found = await store.search(NORTH, "anything", 5)
    assert (found.chunks, found.by_vector, found.by_words) == ({}, (), ())
    await store.put([])
    await store.settle(Source(name="a.md", digest="d", chunks=0, added_unix_ms=0), ())


async def test_chunks_come_back_as_they_were_put(store: Store) -> None:
    """By vector and by word, with everything they say of themselves."""
    first, second = chunks = pieces("a.md", "The fox is red.", "The sea is blue.")
    record = await add(store, "a.md", chunks, NORTH, EAST)
    assert await store.sources() == await store.sources(["a.md", "b.md"]) == [record]
    assert await store.missing([first.id, "0" * 32]) == {"0" * 32}
    found = await store.search((0.9, 0.1, 0.0), "the SEA", 5)
    assert found.by_vector == (first.id, second.id)
    assert found.by_words == (second.id,)
    assert found.chunks == {first.id: first, second.id: second}


async def test_words_of_the_heading_count(store: Store) -> None:
    """A passage is about what stands above it."""
    chunk = pieces("a.md", "Press the button.", heading="Approvals")[0]
    await add(store, "a.md", [chunk], NORTH)
    assert (await store.search(EAST, "approvals", 5)).by_words == (chunk.id,)


async def test_rare_words_come_first(store: Store) -> None:
    """A word that every chunk has says less than one that a single chunk has."""
    chunks = pieces("a.md", "alpha common", "beta common", "gamma common", "delta common common")
    await add(store, "a.md", chunks, NORTH, EAST, UP, NORTH)
    assert (await store.search(UP, "common gamma", 2)).by_words[0] == chunks[2].id


@pytest.mark.parametrize("text", ['"', "NEAR(", "a AND", "col:x", "*", "?!", "fox' OR '1", "^fox", "日本"])
async def test_a_query_is_words_and_never_syntax(store: Store, text: str) -> None:
    """Whatever a person types, marks and operators mean nothing."""
    await add(store, "a.md", pieces("a.md", "The fox is red."), NORTH)
    found = await store.search(NORTH, text, 5)
    assert len(found.by_vector) == 1
    assert len(found.by_words) == ("fox" in text)


async def test_limit_bounds_both_rankings(store: Store) -> None:
    """The nearest, and as many by words."""
    chunks = pieces("a.md", *(f"fox {number}" for number in range(6)))
    await add(store, "a.md", chunks, *([NORTH] * 6))
    found = await store.search(NORTH, "fox", 3)
    assert (len(found.by_vector), len(found.by_words)) == (3, 3)


async def test_everything_can_be_repeated(store: Store) -> None:
    """After a crash nobody knows what was done, so it is done again, and nothing is there twice."""
    chunks = pieces("a.md", "The fox is red.", "The sea is blue.")
    for _ in range(2):
        await store.put([(chunks[0], NORTH)])
    for _ in range(2):
        await add(store, "a.md", chunks, NORTH, EAST)
    found = await store.search(NORTH, "fox sea", 9)
    assert len(found.by_vector) == len(found.by_words) == 2
    assert len(await store.sources()) == 1


async def test_chunks_that_are_put_can_be_found_before_the_document_is_known(store: Store) -> None:
    """A document that is half taken in does not count as taken in."""
    chunks = pieces("a.md", "The fox is red.")
    await store.put([(chunks[0], NORTH)])
    assert (await store.search(NORTH, "fox", 5)).by_vector == (chunks[0].id,)
    assert await store.sources() == []


async def test_what_a_document_has_no_more_goes(store: Store) -> None:
    """From vectors and from words; what it keeps gets its new lines; other documents are left alone."""
    old = pieces("a.md", "The fox is red.", "The sea is blue.")
    other = pieces("b.md", "The fox is red.")
    await add(store, "a.md", old, NORTH, EAST)
    await add(store, "b.md", other, NORTH)
    moved, new = kept = pieces("a.md", "The sea is blue.", "The sky is grey.", line=40)
    await store.put([(new, UP)])
    record = Source(name="a.md", digest="e", chunks=2, added_unix_ms=8)
    await store.settle(record, kept)
    assert await store.sources(["a.md"]) == [record]
    found = await store.search(NORTH, "fox sea sky", 9)
    assert set(found.by_vector) == set(found.by_words) == {moved.id, new.id, other[0].id}
    assert (found.chunks[moved.id].first_line, found.chunks[moved.id].last_line) == (40, 40)


async def test_a_document_without_chunks_is_gone(store: Store) -> None:
    """That is how one is removed."""
    record = await add(store, "a.md", pieces("a.md", "The fox is red."), NORTH)
    await add(store, "b.md", pieces("b.md", "The sea is blue."), EAST)
    await store.settle(record, ())
    assert [source.name for source in await store.sources()] == ["b.md"]
    assert len((await store.search(NORTH, "fox sea", 9)).chunks) == 1


async def test_vectors_of_another_width_are_refused(store: Store) -> None:
    """They are of another model, and would compare with nothing."""
    await add(store, "a.md", pieces("a.md", "The fox is red."), NORTH)
    with pytest.raises(ConfigurationError, match="vectors of 3 numbers and was given some of 2"):
        await store.put([(pieces("b.md", "x")[0], (1.0, 0.0))])
    if isinstance(store, SqliteStore):  # a Qdrant server says it in its own words
        with pytest.raises(ConfigurationError, match="vectors of 3 numbers and was given some of 2"):
            await store.search((1.0, 0.0), "fox", 5)


async def test_many_documents_are_listed(store: Store) -> None:
    """By name, however many."""
    names = [f"{number:04}.md" for number in range(1100)]
    chunks = [pieces(name, "x")[0] for name in names]
    await store.put([(chunk, NORTH) for chunk in chunks])
    for name, chunk in list(zip(names, chunks, strict=True))[::100]:
        await store.settle(Source(name=name, digest="d", chunks=1, added_unix_ms=0), [chunk])
    assert [source.name for source in await store.sources()] == names[::100]
