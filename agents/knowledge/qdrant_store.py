"""A library on a Qdrant server, for agents on several machines.

One collection has the chunks, each with its vector and with its words as a sparse vector. Qdrant weighs words by how
rare they are (its IDF modifier); what a word counts within its chunk is BM25's term frequency, computed here. The
documents are points of the same collection, without vectors.
"""

import zlib
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any, Final

from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from antiphon.agents.knowledge.chunks import Chunk
from antiphon.agents.knowledge.store import Found, Source
from antiphon.agents.knowledge.words import query_words, words_of
from antiphon.runtime.errors import ConfigurationError, LibraryUnavailable

MEANING: Final = "meaning"
WORDS: Final = "words"
KIND: Final = "kind"
DOCUMENT: Final = "document"
PAGE: Final = 1000

# BM25 (S. Robertson, H. Zaragoza, "The probabilistic relevance framework: BM25 and beyond", 2009) with the usual
# constants; the average length is taken as fixed, because a server cannot weigh anew what it has stored.
K1: Final = 1.2
B: Final = 0.75
AVERAGE_WORDS: Final = 80  # of a chunk


class QdrantStore:
    """See Store. ``client`` belongs to the caller; the collection is made with the first chunks."""

    def __init__(self, client: AsyncQdrantClient, collection: str) -> None:
        self._client = client
        self._collection = collection

    async def sources(self, names: Sequence[str] | None = None) -> list[Source]:
        """See Store."""
        async with self._there() as there:
            if not there:
                return []
            if names is None:
                points = await self._all_sources()
            else:
                points = await self._client.retrieve(self._collection, [_source_id(name) for name in names])
            return sorted((_source(point) for point in points), key=lambda found: found.name)

    async def missing(self, ids: Sequence[str]) -> set[str]:
        """See Store."""
        async with self._there() as there:
            if not there or not ids:
                return set(ids)
            points = await self._client.retrieve(self._collection, list(ids), with_payload=False)
            return set(ids) - {str(point.id).replace("-", "") for point in points}

    async def put(self, chunks: Sequence[tuple[Chunk, Sequence[float]]]) -> None:
        """See Store."""
        if not chunks:
            return
        async with self._there() as there:
            await self._check_width(len(chunks[0][1]), there)
            points = [
                models.PointStruct(
                    id=chunk.id,
                    vector={MEANING: list(vector), WORDS: _weighed(chunk.embedded_text)},
                    payload={
                        "source": chunk.source,
                        "heading": list(chunk.heading),
                        "text": chunk.text,
                        "first_line": chunk.first_line,
                        "last_line": chunk.last_line,
                    },
                )
                for chunk, vector in chunks
            ]
            await self._client.upsert(self._collection, points, wait=True)

    async def settle(self, source: Source, chunks: Sequence[Chunk]) -> None:
        """See Store. What makes the document known comes last: until then it counts as not taken in."""
        async with self._there() as there:
            if not there:
                return
            others = models.Filter(
                must=[models.FieldCondition(key="source", match=models.MatchValue(value=source.name))],
                must_not=[models.HasIdCondition(has_id=[chunk.id for chunk in chunks])],
            )
            id = _source_id(source.name)
            changes: list[models.UpdateOperation] = [
                models.DeleteOperation(delete=models.PointIdsList(points=[id])),
                models.DeleteOperation(delete=models.FilterSelector(filter=others)),
            ]
            for chunk in chunks:
                lines = {"first_line": chunk.first_line, "last_line": chunk.last_line}
                changes.append(
                    models.SetPayloadOperation(set_payload=models.SetPayload(payload=lines, points=[chunk.id]))
                )
            if chunks:
                document = {
                    KIND: DOCUMENT,
                    "name": source.name,
                    "digest": source.digest,
                    "chunks": source.chunks,
                    "added_unix_ms": source.added_unix_ms,
                }
                point = models.PointStruct(id=id, vector={}, payload=document)
                changes.append(models.UpsertOperation(upsert=models.PointsList(points=[point])))
            await self._client.batch_update_points(self._collection, changes, wait=True)

    async def search(self, vector: Sequence[float], text: str, limit: int) -> Found:
        """See Store."""
        async with self._there() as there:
            if not there:
                return Found(chunks={}, by_vector=(), by_words=())
            wanted = sorted({_number(word) for word in query_words(text)})
            words = models.SparseVector(indices=wanted, values=[1.0] * len(wanted))
            near = await self._client.query_points(self._collection, list(vector), using=MEANING, limit=limit)
            by_vector = [_chunk(point) for point in near.points]
            by_words: list[Chunk] = []
            if wanted:
                worded = await self._client.query_points(self._collection, words, using=WORDS, limit=limit)
                by_words = [_chunk(point) for point in worded.points]
            return Found(
                chunks={chunk.id: chunk for chunk in (*by_vector, *by_words)},
                by_vector=tuple(chunk.id for chunk in by_vector),
                by_words=tuple(chunk.id for chunk in by_words),
            )

    async def _all_sources(self) -> list[models.Record]:
        only = models.Filter(must=[models.FieldCondition(key=KIND, match=models.MatchValue(value=DOCUMENT))])
        found: list[models.Record] = []
        offset: Any = None
        while True:
            points, offset = await self._client.scroll(self._collection, only, limit=PAGE, offset=offset)
            found += points
            if offset is None:
                return found

    async def _check_width(self, width: int, there: bool) -> None:
        if not there:
            await self._client.create_collection(
                self._collection,
                {MEANING: models.VectorParams(size=width, distance=models.Distance.COSINE)},
                sparse_vectors_config={WORDS: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
            for field in (KIND, "source"):
                await self._client.create_payload_index(self._collection, field, models.PayloadSchemaType.KEYWORD)
            return
        vectors = (await self._client.get_collection(self._collection)).config.params.vectors
        found = vectors[MEANING].size if isinstance(vectors, dict) and MEANING in vectors else None
        if found != width:
            raise ConfigurationError(
                f"the collection {self._collection} has vectors of {found} numbers and was given some of {width}: "
                "another model has taken the name of the one it was made with; give it a name of its own, or remove "
                "the collection"
            )

    @asynccontextmanager
    async def _there(self) -> AsyncGenerator[bool, None]:
        """Whether the collection exists, for a body whose errors are those of the server."""
        try:
            yield await self._client.collection_exists(self._collection)
        except UnexpectedResponse as error:
            said = f"Qdrant answered {error.status_code} for the collection {self._collection}: {error.content[:300]!r}"
            if error.status_code is not None and 400 <= error.status_code < 500 and error.status_code != 429:
                raise ConfigurationError(said) from error
            raise LibraryUnavailable(said) from error
        except (ResponseHandlingException, ApiException) as error:
            raise LibraryUnavailable(f"Qdrant cannot be reached for {self._collection}: {error}") from error


def _source_id(name: str) -> str:
    return sha256(f"document\0{name}".encode()).hexdigest()[:32]


def _source(point: models.Record) -> Source:
    kept = point.payload or {}
    return Source(name=kept["name"], digest=kept["digest"], chunks=kept["chunks"], added_unix_ms=kept["added_unix_ms"])


def _number(word: str) -> int:
    return zlib.crc32(word.encode())


def _weighed(text: str) -> models.SparseVector:
    """How often each word occurs, saturated and by length, as BM25 has it."""
    words = words_of(text)
    length = 1 - B + B * len(words) / AVERAGE_WORDS
    counts: Counter[int] = Counter(map(_number, words))
    values = [count * (K1 + 1) / (count + K1 * length) for count in counts.values()]
    return models.SparseVector(indices=list(counts), values=values)


def _chunk(point: models.ScoredPoint) -> Chunk:
    kept = point.payload or {}
    return Chunk(
        id=str(point.id).replace("-", ""),
        source=kept["source"],
        heading=tuple(kept["heading"]),
        text=kept["text"],
        first_line=kept["first_line"],
        last_line=kept["last_line"],
    )
