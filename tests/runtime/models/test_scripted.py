"""The scripted double: what it says, counts and remembers."""

import time
from collections.abc import Callable

import pytest

from antiphon.runtime.errors import ModelError, ModelUnavailable
from antiphon.runtime.models.scripted import Scripted, ScriptedModel
from antiphon.runtime.models.structured import collect
from antiphon.schemas.inference import (
    Chunk,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    Sampling,
    TextChunk,
    ToolCall,
    Usage,
)
from antiphon.schemas.message import Message

Ask = Callable[..., GenerateRequest]


class Note(Message):
    """A message to script."""

    text: str


async def test_a_list_is_said_in_order(ask: Ask) -> None:
    """Text, messages, tool calls and errors, then an error that the script is used up."""
    search = ToolCall(id="1", name="search", arguments={})
    model = ScriptedModel(["one two", Note(text="hi"), search, ModelUnavailable("away")])
    assert (await collect(model.generate(ask()))).text == "one two"
    assert (await collect(model.generate(ask()))).text == '{"text":"hi"}'
    reply = await collect(model.generate(ask()))
    assert (reply.tool_calls, reply.finish.reason) == ((search,), FinishReason.TOOL_CALLS)
    with pytest.raises(ModelUnavailable, match="away"):
        await collect(model.generate(ask()))
    with pytest.raises(ModelError, match="no reply left for request 5"):
        await collect(model.generate(ask()))
    assert len(model.requests) == 5


async def test_a_function_sees_the_request(ask: Ask) -> None:
    """The reply may depend on what was asked."""
    model = ScriptedModel(lambda request: request.conversation[-1].text.upper())
    assert (await collect(model.generate(ask("hello there")))).text == "HELLO THERE"


async def test_a_token_is_a_word_and_its_space(ask: Ask) -> None:
    """Chunks are tokens, so that tests can count on both."""
    chunks: list[Chunk] = [chunk async for chunk in ScriptedModel([" a  b\nc"]).generate(ask("x y"))]
    assert [chunk.text for chunk in chunks if isinstance(chunk, TextChunk)] == [" ", "a  ", "b\n", "c"]
    reply = await collect(ScriptedModel(["a b c"]).generate(ask("x y", max_tokens=2)))
    assert (reply.text, reply.finish.reason) == ("a b ", FinishReason.LENGTH)
    assert reply.finish.usage == Usage(input_tokens=2, output_tokens=2)


async def test_prompts_and_log_probabilities() -> None:
    """A raw prompt has its words or its ids; every token that is said was certain, and says so if it is asked."""
    for prompt, tokens in (("x y z", 3), ((5, 6), 2)):
        for wanted, top in ((None, None), (0, 0), (2, 1)):
            asked = GenerateRequest(model="m", prompt=prompt, sampling=Sampling(logprobs=wanted))
            first, *_, end = [chunk async for chunk in ScriptedModel(["\u00fc b"]).generate(asked)]
            assert isinstance(first, TextChunk) and isinstance(end, Finish)
            assert end.usage.input_tokens == tokens
            scores = [(token.text, token.logprob, bytes(token.bytes), len(token.top)) for token in first.tokens]
            assert scores == ([] if top is None else [("\u00fc ", 0.0, "\u00fc ".encode(), top)])


async def test_an_error_can_come_after_text(ask: Ask) -> None:
    """Instances may fail between chunks, and so may the double."""
    model = ScriptedModel([Scripted(text="so far", error=ModelUnavailable("gone"))])
    stream = model.generate(ask())
    assert await anext(stream) == TextChunk(text="so ")
    with pytest.raises(ModelUnavailable):
        await collect(stream)


async def test_time_is_what_the_test_says_it_is(ask: Ask) -> None:
    """With a clock and a sleep of its own, the double needs no real time, deadlines included."""

    class Manual:
        now_s = 1_000.0

        def unix_ns(self) -> int:
            return int(self.now_s * 1e9)

        def monotonic_s(self) -> float:
            return self.now_s

        async def sleep(self, seconds: float) -> None:
            self.now_s += seconds

    clock = Manual()
    model = ScriptedModel(["a b c d e"], token_s=10.0, clock=clock, sleep=clock.sleep)
    started = time.monotonic()
    reply = await collect(model.generate(ask(deadline_unix_ms=1_025_000)))
    assert (reply.text, reply.finish.reason) == ("a b ", FinishReason.CANCELLED)
    assert reply.finish.timing.decode_s == 30.0
    assert time.monotonic() - started < 25


async def test_vectors_can_be_scripted() -> None:
    """A function of the text, or no embedding at all."""
    model = ScriptedModel([], embed=lambda text: [float(len(text))])
    found = await model.embed(EmbedRequest(model="m", texts=("a", "b c")))
    assert (found.vectors, found.usage.input_tokens) == (((1.0,), (3.0,)), 3)
