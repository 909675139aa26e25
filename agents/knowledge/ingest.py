"""Taking documents in, durably and in parts.

The journal of an ingest stays small: each part of a document is one ``ask``, of which it keeps a few numbers. Inside an
ask nothing is journaled, so the vectors (8 KB of JSON each) are in no journal; its embedding calls and its writes are
traced all the same. A part that is repeated after a crash finds in the store what it had put there.
"""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar

from antiphon.agents.knowledge.files import Listing, list_files
from antiphon.agents.knowledge.library import Library
from antiphon.agents.knowledge.messages import (
    AddPart,
    Document,
    Ingest,
    Ingested,
    IngestProgress,
    PartAdded,
    Refused,
    Remove,
    Removed,
)
from antiphon.runtime.agent import Handler
from antiphon.runtime.context import Context
from antiphon.runtime.errors import KnowledgeError, LibraryUnavailable

T = TypeVar("T")

PART: Final = 32  # chunks of one ask: some seconds of work on one core
BATCH: Final = 16  # texts of one embedding call: its answer, 130 KB of JSON, is below what the bus carries
PART_TIMEOUT_S: Final = 60.0  # how long an ingest waits for a node that died in a part


async def ingest(library: Library, add: Handler[AddPart, PartAdded], request: Ingest, ctx: Context) -> Ingested:
    """Take in what ``request`` names, document by document; one that is refused keeps no other out.

    Raises:
        DocumentTooLarge, UnreadableDocument: the paths hold too many documents, or a folder that cannot be searched.
        LibraryUnavailable, ModelError: nothing can be taken in now.
    """

    async def list_paths() -> Listing:
        return await asyncio.to_thread(list_files, request.paths)

    listing = await ctx.run("list files", list_paths, effect="read")
    wanted: list[tuple[str, Document | None]] = [(file, None) for file in listing.files]
    wanted += [(document.name, document) for document in request.documents]
    added = embedded = 0
    refused: list[Refused] = []
    for done, (source, document) in enumerate(wanted):
        try:
            more = True
            while more:
                part = await ctx.ask(add, AddPart(source=source, document=document), timeout_s=PART_TIMEOUT_S)
                embedded += part.embedded
                more = part.remaining > 0
                now = done if more else done + 1
                await ctx.emit(IngestProgress(done=now, total=len(wanted), source=source, embedded=embedded))
            added += part.changed
        except LibraryUnavailable:
            raise
        except KnowledgeError as error:
            refused.append(Refused(source=source, error=error.info()))

    async def forget_gone() -> int:
        return len(await library.remove(await library.gone(listing.folders, listing.files)))

    removed = await ctx.run("forget what is gone", repeatable(forget_gone), effect="write")
    unchanged = len(wanted) - added - len(refused)
    return Ingested(added=added, unchanged=unchanged, removed=removed, embedded=embedded, refused=tuple(refused))


async def add_part(library: Library, model: str, request: AddPart, ctx: Context) -> PartAdded:
    """Embed and store the next PART chunks of a document that are not there yet; settle it when none remains.

    Raises:
        KnowledgeError: the document cannot be read, or the store cannot be reached.
        ModelError: as the model says.
    """
    plan = await library.plan(request.source, request.document)
    if plan.known:
        return PartAdded(changed=False)
    part = plan.missing[:PART]
    for batch in (part[start : start + BATCH] for start in range(0, len(part), BATCH)):
        vectors = (await ctx.model.using(model).embed([chunk.embedded_text for chunk in batch])).vectors
        pairs = list(zip(batch, vectors, strict=True))
        await ctx.run("put chunks", repeatable(partial(library.store.put, pairs)), effect="write")
    remaining = len(plan.missing) - len(part)
    if not remaining:
        now_ms = int(ctx.now() * 1000)
        await ctx.run("settle", repeatable(partial(library.settle, request.source, plan, now_ms)), effect="write")
    return PartAdded(changed=True, embedded=len(part), remaining=remaining)


async def remove(library: Library, request: Remove, ctx: Context) -> Removed:
    """Forget documents. Raises LibraryUnavailable."""

    forget = repeatable(partial(library.remove, request.sources))
    return Removed(sources=tuple(await ctx.run("forget", forget, effect="write")))


def repeatable(write: Callable[[], Awaitable[T]]) -> Callable[[str], Awaitable[T]]:
    """A write that takes the idempotency key and so may be repeated: a store's writes can be, with any key."""

    async def keyed(key: str) -> T:
        return await write()

    return keyed
