"""What a knowledge agent has: a store, and the document it is at."""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from antiphon.agents.knowledge.chunks import Chunk, chunks_of
from antiphon.agents.knowledge.files import check_size, read_file
from antiphon.agents.knowledge.messages import Document, Passage, Query
from antiphon.agents.knowledge.ranking import fused
from antiphon.agents.knowledge.readers.document import read_document
from antiphon.agents.knowledge.store import Source, Store

CUT: Final = "1"  # of readers and chunker: another value makes every document count as changed
KEPT: Final = 4  # documents whose chunks are kept between the parts of an ingest
CANDIDATES: Final = 30  # of each ranking, at least


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What has to be done to a document: nothing if it is ``known``, else embed ``missing`` of ``chunks``."""

    digest: str
    known: bool
    chunks: Sequence[Chunk] = ()
    missing: Sequence[Chunk] = ()


class Library:
    """Documents in a store. It embeds nothing itself: vectors come from whoever calls."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._chunks: OrderedDict[tuple[str, str], list[Chunk]] = OrderedDict()

    async def plan(self, source: str, document: Document | None) -> Plan:
        """Compare a document with what is there of it.

        Raises:
            KnowledgeError: it cannot be read, or the store cannot.
            MissingExtra: the packages that read it are not installed.
        """
        content = await asyncio.to_thread(read_file, source) if document is None else document.content
        check_size(source, len(content))
        digest = hashlib.sha256(CUT.encode() + content).hexdigest()
        stored = await self.store.sources([source])
        if stored and stored[0].digest == digest:
            return Plan(digest=digest, known=True)
        chunks = await self._read(source, digest, content)
        missing = await self.store.missing([chunk.id for chunk in chunks])
        return Plan(
            digest=digest, known=False, chunks=chunks, missing=[chunk for chunk in chunks if chunk.id in missing]
        )

    async def settle(self, source: str, plan: Plan, unix_ms: int) -> None:
        """The document is what ``plan`` read, all of which is there. Raises LibraryUnavailable."""
        record = Source(name=source, digest=plan.digest, chunks=len(plan.chunks), added_unix_ms=unix_ms)
        await self.store.settle(record, plan.chunks)
        self._chunks.pop((source, plan.digest), None)

    async def remove(self, sources: Sequence[str]) -> list[str]:
        """Forget these documents; those that were there. Raises LibraryUnavailable."""
        there = await self.store.sources(sources) if sources else []
        for source in there:
            await self.store.settle(source, ())
        return [source.name for source in there]

    async def gone(self, folders: Sequence[str], files: Sequence[str]) -> list[str]:
        """Documents that were taken in from these folders and are not among ``files`` now."""
        present = set(files)
        inside = tuple(f"{folder.rstrip('/')}/" for folder in folders)
        known = await self.store.sources() if inside else []
        return [source.name for source in known if source.name.startswith(inside) and source.name not in present]

    async def search(self, query: Query, vector: Sequence[float]) -> tuple[Passage, ...]:
        """What is near the query's vector and what has its words, as one ranking. Raises LibraryUnavailable."""
        found = await self.store.search(vector, query.text, max(CANDIDATES, 2 * query.limit))
        return tuple(
            _passage(found.chunks[id], score)
            for id, score in islice(fused(found.by_vector, found.by_words).items(), query.limit)
        )

    async def _read(self, source: str, digest: str, content: bytes) -> list[Chunk]:
        """The chunks of a document, read once for all parts of its ingest as long as it stays as it is."""
        key = (source, digest)
        if key not in self._chunks:
            sections = await asyncio.to_thread(read_document, source, content)
            self._chunks[key] = await asyncio.to_thread(chunks_of, source, sections)
            while len(self._chunks) > KEPT:
                self._chunks.popitem(last=False)
        return self._chunks[key]


def _passage(chunk: Chunk, score: float) -> Passage:
    return Passage(
        source=chunk.source,
        heading=chunk.heading,
        first_line=chunk.first_line,
        last_line=chunk.last_line,
        text=chunk.text,
        score=score,
    )
