import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from antiphon.runtime.errors import DeadlineExceeded, ModelError, ModelUnavailable
from antiphon.runtime.gateways.openai.replies import interleaved, with_one_call
from antiphon.schemas.inference import Chunk, Finish, FinishReason, TextChunk, ToolCall, ToolCallChunk, Usage

END = Finish(reason=FinishReason.STOP, usage=Usage())


class Streams:
    """Streams, and how many are open."""

    def __init__(self) -> None:
        self.open = 0

    async def of(self, *items: Chunk | Exception | None) -> AsyncGenerator[Chunk, None]:
        """These; None never comes."""
        self.open += 1
        try:
            for item in items:
                if item is None:
                    await asyncio.Event().wait()
                elif isinstance(item, Exception):
                    raise item
                else:
                    yield item
        finally:
            self.open -= 1


def text(said: str) -> TextChunk:
    return TextChunk(text=said)


async def test_each_stream_keeps_its_order() -> None:
    """Nothing is lost, and the end of one does not end the others."""
    streams = Streams()
    found = [each async for each in interleaved([streams.of(text("a"), text("b"), END), streams.of(END)])]
    assert [chunk for number, chunk in found if number == 0] == [text("a"), text("b"), END]
    assert [chunk for number, chunk in found if number == 1] == [END]
    assert streams.open == 0


@pytest.mark.parametrize(
    ("items", "error"),
    [
        ((ModelError("no"),), ModelError),
        ((text("a"), ZeroDivisionError("no")), ZeroDivisionError),
        ((text("a"),), ModelUnavailable),
        ((Finish(reason=FinishReason.CANCELLED, usage=Usage()),), DeadlineExceeded),
    ],
)
async def test_the_first_to_fail_ends_all(items: tuple[Chunk | Exception, ...], error: type[Exception]) -> None:
    """An error, a stream that breaks off, and one whose time ran out."""
    streams = Streams()
    with pytest.raises(error):
        async for _ in interleaved([streams.of(None), streams.of(*items)]):
            pass
    assert streams.open == 0


async def test_closing_closes_all() -> None:
    """Wherever they are: waiting, or with a chunk that nobody takes."""
    streams = Streams()
    async with aclosing(interleaved([streams.of(text("a"), None), streams.of(*[text("b")] * 9)])) as replies:
        await anext(replies)
        assert streams.open == 2
    assert streams.open == 0


async def test_one_call_of_several() -> None:
    """The first; text and end pass."""
    streams = Streams()
    first, second = (ToolCallChunk(call=ToolCall(id=id, name="f", arguments={})) for id in "ab")
    found = [chunk async for chunk in with_one_call(streams.of(text("a"), first, second, END))]
    assert found == [text("a"), first, END]
    assert streams.open == 0
