"""Several replies to one caller, as they come."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from antiphon.runtime.errors import DeadlineExceeded, ModelUnavailable
from antiphon.schemas.inference import Chunk, Finish, FinishReason, ToolCallChunk

Numbered = tuple[int, Chunk]


async def interleaved(streams: Sequence[AsyncGenerator[Chunk, None]]) -> AsyncGenerator[Numbered, None]:
    """The chunks of all streams, each with its stream's number, until all have ended. To close it closes all.

    Raises:
        DeadlineExceeded: time ran out for one of them.
        ModelError: whatever a stream raised; the first ends all others.
        ModelUnavailable: a stream ended without a Finish, which no instance may do.
    """
    items: asyncio.Queue[tuple[int, Chunk | Exception]] = asyncio.Queue(maxsize=len(streams))
    readers = [asyncio.create_task(_read(number, stream, items)) for number, stream in enumerate(streams)]
    try:
        going = len(streams)
        while going:
            number, item = await items.get()
            if isinstance(item, Exception):
                raise item
            if isinstance(item, Finish):
                going -= 1
                if item.reason is FinishReason.CANCELLED:
                    raise DeadlineExceeded(
                        f"time ran out after {item.usage.output_tokens} tokens: allow more (timeout_s), or ask for less"
                    )
            yield number, item
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(
    number: int, stream: AsyncGenerator[Chunk, None], items: "asyncio.Queue[tuple[int, Chunk | Exception]]"
) -> None:
    try:
        async with aclosing(stream):
            async for chunk in stream:
                await items.put((number, chunk))
                if isinstance(chunk, Finish):
                    return
    except Exception as error:
        await items.put((number, error))
        return
    ended = ModelUnavailable("the reply ended without saying how: the instance is at fault; ask again")
    await items.put((number, ended))


async def with_one_call(stream: AsyncGenerator[Chunk, None]) -> AsyncGenerator[Chunk, None]:
    """The stream without the tool calls that follow its first."""
    called = False
    async with aclosing(stream):
        async for chunk in stream:
            if isinstance(chunk, ToolCallChunk):
                if called:
                    continue
                called = True
            yield chunk
