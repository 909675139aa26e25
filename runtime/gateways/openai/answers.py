"""An answer as it is sent: whole, or in pieces."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Protocol

import structlog

from antiphon.runtime.errors import AntiphonError, to_info
from antiphon.runtime.gateways.http.events import DONE, data_event
from antiphon.runtime.gateways.openai.refusals import error_body, status_of
from antiphon.runtime.gateways.openai.replies import Numbered
from antiphon.schemas.inference import Chunk

log = structlog.get_logger(__name__)


class Answer(Protocol):
    """What becomes of the replies to one request: a whole, or pieces."""

    def take(self, number: int, chunk: Chunk) -> None:
        """Add a chunk of a reply."""
        ...

    def opening(self) -> Iterator[object]:
        """The pieces that come before all text."""
        ...

    def piece(self, number: int, chunk: Chunk) -> object:
        """The piece that a chunk, which was taken, makes."""
        ...

    def usage(self) -> object:
        """The last piece, if the caller asked for it."""
        ...

    def whole(self) -> object:
        """All of it."""
        ...


async def whole(replies: AsyncGenerator[Numbered, None], answer: Answer) -> object:
    """All of it. Raises whatever a reply raised."""
    async with aclosing(replies):
        async for number, chunk in replies:
            answer.take(number, chunk)
    return answer.whole()


async def first(replies: AsyncGenerator[Numbered, None]) -> Numbered:
    """The first chunk: what is refused fails here, while there is still a status to say it with."""
    return await anext(replies)


async def events(
    begun: Numbered, replies: AsyncGenerator[Numbered, None], answer: Answer, *, with_usage: bool
) -> AsyncGenerator[str, None]:
    """An answer in pieces, as events. One that fails ends with an error, and without the mark of a good end."""

    def taken(number: int, chunk: Chunk) -> str:
        answer.take(number, chunk)
        return data_event(answer.piece(number, chunk))

    try:
        async with aclosing(replies):
            for piece in answer.opening():
                yield data_event(piece)
            yield taken(*begun)
            async for number, chunk in replies:
                yield taken(number, chunk)
        if with_usage:
            yield data_event(answer.usage())
        yield DONE
    except AntiphonError as error:
        log.warning("openai_stream_failed", error=str(error))
        yield data_event(error_body(status_of(error), to_info(error)))
