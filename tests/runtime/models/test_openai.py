"""The HTTP adapter against servers that refuse, break off, talk nonsense or say nothing."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from antiphon.runtime.errors import (
    ContextTooLong,
    InvalidOutput,
    InvalidRequest,
    ModelBusy,
    ModelError,
    ModelUnavailable,
    UnknownModel,
)
from antiphon.runtime.models.openai import OpenAIModel
from antiphon.runtime.models.structured import collect
from antiphon.schemas.inference import EmbedRequest, FinishReason, GenerateRequest, TextChunk

Ask = Callable[..., GenerateRequest]
Raw = Any  # conftest.RawServer, which importlib mode cannot import

HELLO = b'data: {"model": "m-2", "choices": [{"delta": {"content": "Hello"}}]}\n\n'
STOP = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
DONE = b"data: [DONE]\n\n"


@asynccontextmanager
async def opened(raw: Raw, **options: Any) -> AsyncGenerator[OpenAIModel, None]:
    """A model at the raw server, closed afterwards."""
    model = OpenAIModel(raw.url, "m", **options)
    try:
        yield model
    finally:
        await model.close()


async def test_the_request_carries_model_and_key(raw: Raw, ask: Ask) -> None:
    """The key is in the Authorization header and the conversation in the body."""
    raw.stream(HELLO, STOP, DONE)
    async with opened(raw, api_key=SecretStr("k3y")) as model:
        reply = await collect(model.generate(ask(max_tokens=7, stop=("x",))))
    head, _, body = raw.received[0].partition(b"\r\n\r\n")
    assert b"POST /v1/chat/completions" in head
    assert b"Authorization: Bearer k3y" in head
    assert json.loads(body)["messages"] == [{"role": "user", "content": "Hello there."}]
    assert (json.loads(body)["model"], json.loads(body)["stop"], json.loads(body)["max_tokens"]) == ("m", ["x"], 7)
    assert (reply.text, reply.finish.model, reply.finish.usage.output_tokens) == ("Hello", "m-2", 1)


@pytest.mark.parametrize(
    ("status", "body", "expected", "words"),
    [
        (401, '{"error": {"message": "bad key k3y"}}', ModelError, "api_key_env"),
        (403, "no", ModelError, "api_key_env"),
        (404, '{"error": "model m not found"}', UnknownModel, "model m not found"),
        (400, '{"error": {"message": "maximum context length is 4096 tokens"}}', ContextTooLong, "4096"),
        (400, '{"error": {"message": "top_k unknown"}}', InvalidRequest, "top_k unknown"),
        (422, '{"detail": "no schema"}', InvalidRequest, "no schema"),
        (429, "", ModelBusy, "429"),
        (500, "<html>k3y</html>", ModelUnavailable, "500"),
        (503, '{"object": "error", "message": "loading"}', ModelUnavailable, "loading"),
        (301, "", ModelError, "moved"),
    ],
)
async def test_a_status_becomes_a_typed_error(
    raw: Raw, ask: Ask, status: int, body: str, expected: type[ModelError], words: str
) -> None:
    """The error says what the server said and what to do; the key never shows, even if the server repeats it."""
    raw.answer(status, body)
    async with opened(raw, api_key=SecretStr("k3y")) as model:
        with pytest.raises(ModelError, match=words) as raised:
            await collect(model.generate(ask()))
    assert type(raised.value) is expected
    assert "k3y" not in str(raised.value)
    assert raised.value.retryable == issubclass(expected, ModelUnavailable)


async def test_retry_after_is_passed_on(raw: Raw, ask: Ask) -> None:
    """A policy that retries can wait as long as the server asked."""
    raw.answer(429, "slow down", Retry_After="7")
    async with opened(raw) as model:
        with pytest.raises(ModelUnavailable) as raised:
            await collect(model.generate(ask()))
    assert raised.value.details["retry_after_s"] == "7"


async def test_nobody_listening_is_unavailable(raw: Raw, ask: Ask, unused_tcp_port: int) -> None:
    """A refused connection is an error that names the address, at once."""
    model = OpenAIModel(f"http://me:secret@127.0.0.1:{unused_tcp_port}/v1", "m")
    with pytest.raises(ModelUnavailable, match="is it running") as raised:
        await collect(model.generate(ask()))
    assert "secret" not in str(raised.value)
    await model.close()


async def test_a_url_that_is_none_is_a_clear_error(ask: Ask) -> None:
    """A base URL that cannot be parsed is the caller's mistake."""
    model = OpenAIModel("http://host:port/v1", "m")
    with pytest.raises(InvalidRequest, match="base URL"):
        await collect(model.generate(ask()))
    await model.close()


async def test_a_silent_server_is_unavailable(raw: Raw, ask: Ask) -> None:
    """A server that takes the request and says nothing is given up after timeout_s."""
    raw.stream(HELLO, then=asyncio.Event())
    async with opened(raw, timeout_s=0.2) as model:
        with pytest.raises(ModelUnavailable, match="silent"):
            await asyncio.wait_for(collect(model.generate(ask())), 20)


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: {not json\n\n"],
        [b"data: [1, 2]\n\n"],
        [b'data: {"choices": 7}\n\n'],
        [b'data: {"choices": [{"delta": {"content": 5}}]}\n\n'],
        [b'data: {"choices": [{"delta": {"tool_calls": [{"index": "x"}]}}]}\n\n'],
        [b'data: {"choices": [], "usage": [3]}\n\n'],
        [b"<html>It works!</html>"],
        [b"data: " + b"x" * 1_000_000 + b"\n"] * 5,
    ],
    ids=["json", "array", "choices", "content", "tool", "usage", "html", "huge"],
)
async def test_nonsense_is_unavailable(raw: Raw, ask: Ask, pieces: list[bytes]) -> None:
    """Whatever a server sends instead of events is one typed error, and nothing is kept without bound."""
    raw.stream(*pieces)
    async with opened(raw) as model:
        with pytest.raises(ModelUnavailable):
            await asyncio.wait_for(collect(model.generate(ask())), 60)


@pytest.mark.parametrize("cut", [True, False], ids=["hung up", "ended early"])
async def test_a_reply_that_breaks_off_is_unavailable(raw: Raw, ask: Ask, cut: bool) -> None:
    """Without the server's word that it is done, the text so far is no reply."""
    raw.stream(HELLO, cut=cut)
    async with opened(raw) as model, aclosing(model.generate(ask())) as stream:
        assert await anext(stream) == TextChunk(text="Hello")
        with pytest.raises(ModelUnavailable):
            await anext(stream)


async def test_an_error_event_is_mapped(raw: Raw, ask: Ask) -> None:
    """Servers that fail after the first chunk say so in an event."""
    raw.stream(HELLO, b'data: {"error": {"message": "out of memory", "code": 500}}\n\n')
    async with opened(raw) as model:
        with pytest.raises(ModelUnavailable, match="out of memory"):
            await collect(model.generate(ask()))


async def test_a_missing_done_is_forgiven(raw: Raw, ask: Ask) -> None:
    """Some servers end the stream after the finish reason."""
    raw.stream(HELLO, STOP)
    async with opened(raw) as model:
        assert (await collect(model.generate(ask()))).finish.reason is FinishReason.STOP


async def test_tool_arguments_that_are_no_json_are_invalid_output(raw: Raw, ask: Ask) -> None:
    """A small model's broken call is a retryable error that shows what came."""
    call = {"index": 0, "id": "c", "function": {"name": "search", "arguments": '{"query": '}}
    raw.stream(f"data: {json.dumps({'choices': [{'delta': {'tool_calls': [call]}}]})}\n\n".encode(), STOP, DONE)
    async with opened(raw) as model:
        with pytest.raises(InvalidOutput, match="search"):
            await collect(model.generate(ask()))


async def test_closing_the_generator_hangs_up(raw: Raw, ask: Ask) -> None:
    """The server sees the connection close, so that it can stop generating."""
    raw.stream(HELLO, then=asyncio.Event())
    async with opened(raw) as model:
        async with aclosing(model.generate(ask())) as stream:
            await anext(stream)
        await asyncio.wait_for(raw.gone.wait(), 60)


async def test_a_deadline_hangs_up(raw: Raw, ask: Ask) -> None:
    """A reply that is still coming at the deadline ends as cancelled, and the server is let go."""
    raw.stream(HELLO, then=asyncio.Event())
    async with opened(raw) as model:
        reply = await collect(model.generate(ask(deadline_unix_ms=int(time.time() * 1000) + 1_500)))
        assert (reply.finish.reason, reply.text) == (FinishReason.CANCELLED, "Hello")
        await asyncio.wait_for(raw.gone.wait(), 60)


async def test_embeddings_are_put_in_order(raw: Raw) -> None:
    """Vectors come back one a text, whatever order the server wrote them in."""
    found = {"data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1.5]}], "usage": {"prompt_tokens": 3}}
    raw.answer(200, json.dumps(found))
    async with opened(raw) as model:
        embeddings = await model.embed(EmbedRequest(model="m", texts=("a", "b")))
    assert embeddings.vectors == ((1.5,), (2.0,))
    assert embeddings.usage.input_tokens == 3


@pytest.mark.parametrize(
    "body", ['{"data": []}', '{"data": [{"index": 0}]}', "[]", "oops", '{"data": [{"embedding": ["x"]}]}']
)
async def test_embeddings_of_another_shape_are_unavailable(raw: Raw, body: str) -> None:
    """A wrong number of vectors is never passed on as if it fitted the texts."""
    raw.answer(200, body)
    async with opened(raw) as model:
        with pytest.raises(ModelUnavailable):
            await model.embed(EmbedRequest(model="m", texts=("a",)))


async def test_an_endpoint_without_embeddings_is_an_invalid_request(raw: Raw) -> None:
    """404 on /embeddings means that this endpoint cannot, not that it is away."""
    raw.answer(404, "page not found")
    async with opened(raw) as model:
        with pytest.raises(InvalidRequest, match="may not embed"):
            await model.embed(EmbedRequest(model="m", texts=("a",)))


@pytest.mark.parametrize(
    ("status", "body", "context"),
    [
        (200, '{"data": [{"id": "other"}, {"id": "m", "max_model_len": 4096}]}', 4096),
        (200, '{"data": [{"id": "m:latest"}]}', None),
        (404, "", None),
    ],
)
async def test_capabilities_are_what_the_server_says(raw: Raw, status: int, body: str, context: int | None) -> None:
    """Unknown is None, not a guess."""
    raw.answer(status, body)
    async with opened(raw) as model:
        capabilities = await model.capabilities()
    assert (capabilities.model, capabilities.context_tokens, capabilities.tools) == ("m", context, None)
