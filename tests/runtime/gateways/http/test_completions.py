import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest


@pytest.fixture
async def ai(address: str) -> AsyncIterator[openai.AsyncOpenAI]:
    """The official client."""
    async with openai.AsyncOpenAI(
        base_url=f"{address}v1", api_key="web-0123456789abcdef", max_retries=0, timeout=300
    ) as client:
        yield client


def says(text: str) -> Any:
    """A conversation."""
    return [{"role": "user", "content": text}]


async def test_models_are_the_handlers_that_can_be_talked_to(ai: openai.AsyncOpenAI) -> None:
    """By agent and handler; each can be looked up."""
    names = [model.id async for model in ai.models.list()]
    assert names == [
        "agent:porter.fail",
        "agent:porter.stumble",
        "agent:porter.wait",
        "agent:writer.remember",
        "agent:writer.talk",
        "agent:writer.write",
    ]
    assert (await ai.models.retrieve("agent:writer.write")).owned_by == "antiphon"
    with pytest.raises(openai.NotFoundError):
        await ai.models.retrieve("agent:clerk.add")


async def test_chat(ai: openai.AsyncOpenAI) -> None:
    """The reply is an assistant's turn; what nobody counted is not there."""
    found = await ai.chat.completions.create(model="agent:writer.write", messages=says("hi"), temperature=0.5)
    assert found.choices[0].message.content == "You said: hi"
    assert (found.choices[0].finish_reason, found.model, found.usage) == ("stop", "agent:writer.write", None)


async def test_chat_in_chunks(ai: openai.AsyncOpenAI) -> None:
    """Tokens come as the handler shows them, and once."""
    chunks = [
        chunk
        async for chunk in await ai.chat.completions.create(
            model="agent:writer.write", messages=says("hi"), stream=True
        )
    ]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "You said: hi"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


async def test_a_handler_that_shows_nothing_streams_its_reply(ai: openai.AsyncOpenAI) -> None:
    """A whole conversation goes to a handler that takes one."""
    stream = await ai.chat.completions.create(model="agent:writer.talk", messages=says("hi"), stream=True)
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "user: hi"


async def test_the_user_is_the_key(ai: openai.AsyncOpenAI) -> None:
    """A keyed handler with a field for it; without a user it is an error that names the field."""
    found = await ai.chat.completions.create(model="agent:writer.remember", messages=says("tea"), user="ada")
    assert found.choices[0].message.content == "ada: tea"
    with pytest.raises(openai.UnprocessableEntityError, match="user: required"):
        await ai.chat.completions.create(model="agent:writer.remember", messages=says("tea"))


async def test_after_a_restart_the_whole_reply_comes(ai: openai.AsyncOpenAI) -> None:
    """The protocol cannot take back what a worker showed that died."""
    stream = await ai.chat.completions.create(model="agent:porter.stumble", messages=says("?"), stream=True)
    text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert text == "Air scatters blue light."


async def test_failures_reach_the_client_typed(ai: openai.AsyncOpenAI) -> None:
    """As a status, or in the midst of a stream."""
    with pytest.raises(openai.InternalServerError, match="no ink"):
        await ai.chat.completions.create(model="agent:porter.fail", messages=says("?"))
    stream = await ai.chat.completions.create(model="agent:porter.fail", messages=says("?"), stream=True)
    with pytest.raises(openai.APIError, match="no ink"):
        async for _ in stream:
            pass


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_cancels(ai: openai.AsyncOpenAI, workshop: Any, stream: bool) -> None:
    """Nobody reads on, so the task ends."""

    async def read() -> None:
        found: Any = await ai.chat.completions.create(model="agent:porter.wait", messages=says("?"), stream=stream)
        async for _ in found:
            pass

    reading = asyncio.create_task(read())
    await workshop.waiting.wait()
    reading.cancel()
    async with asyncio.timeout(60):
        await workshop.stopped.wait()


async def test_requests_that_cannot_be(http: httpx.AsyncClient) -> None:
    """Each with what is wrong."""
    good = {"model": "agent:writer.write", "messages": says("hi")}
    for change, status, message in (
        ({"model": "gpt-9"}, 404, "expected agent:NAME.HANDLER"),
        ({"model": "writer.write"}, 404, "expected agent:NAME.HANDLER"),
        ({"model": "agent:clerk.add"}, 404, "expected agent:NAME.HANDLER"),
        ({"model": "agent:nobody.there"}, 404, "no agent 'nobody'"),
        ({"messages": []}, 422, "messages"),
        ({"messages": "hi"}, 422, "messages"),
        ({"n": 2}, 422, "n: "),
        ({"tools": [{"type": "function"}]}, 422, "tools"),
        ({"messages": says("x" * 2001)}, 422, "text: expected at most 2000 characters"),
    ):
        answer = await http.post("/v1/chat/completions", json=good | change)
        assert (answer.status_code, message in answer.json()["error"]["message"]) == (status, True), answer.text
