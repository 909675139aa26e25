"""The seam between the library and whatever keeps it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from antiphon.agents.knowledge.chunks import Chunk


@dataclass(frozen=True, kw_only=True)
class Source:
    """A document as it was taken in: ``digest`` of its content, how many chunks it has, and when."""

    name: str
    digest: str
    chunks: int
    added_unix_ms: int


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found: the chunks, and their ids twice, nearest vector first and best words first."""

    chunks: dict[str, Chunk]
    by_vector: tuple[str, ...]
    by_words: tuple[str, ...]


class Store(Protocol):
    """Chunks with their vectors and words, and the documents they are of. All of it can be repeated without harm.

    Every method raises LibraryUnavailable where the store cannot be reached or is locked by others for too long, and
    ConfigurationError where what is there is no library.
    """

    async def sources(self, names: Sequence[str] | None = None) -> list[Source]:
        """Those of these documents that are known, by name; None: all."""
        ...

    async def missing(self, ids: Sequence[str]) -> set[str]:
        """Those of these chunks that are not there yet."""
        ...

    async def put(self, chunks: Sequence[tuple[Chunk, Sequence[float]]]) -> None:
        """Add chunks with their vectors; they can be found from now on.

        Raises:
            ConfigurationError: the vectors have another width than those that are there.
        """
        ...

    async def settle(self, source: Source, chunks: Sequence[Chunk]) -> None:
        """The document consists of exactly these chunks, which are there; what else it had goes. No chunk: it goes."""
        ...

    async def search(self, vector: Sequence[float], text: str, limit: int) -> Found:
        """The ``limit`` nearest chunks by the cosine of their vectors, and as many by BM25 of the words in ``text``."""
        ...
