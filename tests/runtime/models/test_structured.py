"""Whole replies and typed messages from chunks."""

import asyncio
from collections.abc import AsyncGenerator, Callable

import pytest

from antiphon.runtime.errors import DeadlineExceeded, InvalidOutput, ModelUnavailable
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.models.structured import collect, message_of, output_schema
from antiphon.schemas.inference import Chunk, GenerateRequest, TextChunk
from antiphon.schemas.message import Message

Ask = Callable[..., GenerateRequest]


class Review(Message):
    """A small message."""

    accepted: bool
    comment: str


async def test_a_valid_reply_becomes_the_message(ask: Ask) -> None:
    """What fits is the message; the schema that asks for it is strict about unknown fields."""
    reply = await collect(ScriptedModel([Review(accepted=True, comment="good")]).generate(ask()))
    assert message_of(reply, Review) == Review(accepted=True, comment="good")
    assert output_schema(Review).json_schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("reply", "max_tokens", "words"),
    [
        ("Sure! Here it is", 64, "the whole does not fit .*'Sure! Here it is'"),
        ('{"accepted": true}', 64, "comment does not fit"),
        ('{"accepted": true, "comment": "a b c d"}', 3, "cut after 3 tokens: .*raise max_tokens"),
        ("x" * 500, 64, "'" + "x" * 200 + "'…"),
    ],
)
async def test_an_invalid_reply_says_what_came(ask: Ask, reply: str, max_tokens: int, words: str) -> None:
    """Clipped, with the field that does not fit or the limit that cut it."""
    came = await collect(ScriptedModel([reply]).generate(ask(max_tokens=max_tokens)))
    with pytest.raises(InvalidOutput, match=words):
        message_of(came, Review)


async def test_a_reply_that_ran_out_of_time_says_so(ask: Ask) -> None:
    """A deadline is not the model's fault."""
    came = await collect(ScriptedModel(["{}"]).generate(ask(deadline_unix_ms=1)))
    with pytest.raises(DeadlineExceeded, match="allow more time"):
        message_of(came, Review)


async def test_a_stream_without_finish_is_unavailable() -> None:
    """A silent end is never taken for a reply, and the stream is closed."""
    closed = asyncio.Event()

    async def stream() -> AsyncGenerator[Chunk, None]:
        try:
            yield TextChunk(text="so far")
        finally:
            closed.set()

    with pytest.raises(ModelUnavailable, match="without saying how"):
        await collect(stream())
    assert closed.is_set()
