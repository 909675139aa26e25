"""What OpenAI's own client makes of the gateway, in both of its kinds."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from antiphon.runtime.errors import (
    DeadlineExceeded,
    InvalidOutput,
    InvalidRequest,
    ModelBusy,
    ModelError,
    ModelUnavailable,
)
from antiphon.runtime.models.scripted import Scripted
from antiphon.schemas.inference import ToolCall

HI: Any = [{"role": "user", "content": "hi"}]
WEATHER = ToolCall(id="call-1", name="weather", arguments={"place": "Øy"})
CLOCK = ToolCall(id="call-2", name="clock", arguments={})
TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": name, "parameters": {"type": "object", "properties": {"place": {"type": "string"}}}},
    }
    for name in ("weather", "clock")
]


class City(BaseModel):
    name: str
    people: int


async def test_a_chat(ai: openai.AsyncOpenAI) -> None:
    """The reply, why it ended, what it used, and who answered."""
    found = await ai.chat.completions.create(model="scripted", messages=HI)
    assert found.choices[0].message.content == "one two three"
    assert (found.choices[0].finish_reason, found.object, found.model) == ("stop", "chat.completion", "scripted")
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (1, 3, 4)
    assert found.id.startswith("chatcmpl-") and (found.system_fingerprint or "").startswith("fp_")
    assert found.service_tier == "default"


async def test_a_chat_that_is_cut(ai: openai.AsyncOpenAI) -> None:
    """By either name that the limit goes by; a stop string is not the limit."""
    limits: list[Any] = [{"max_tokens": 2}, {"max_completion_tokens": 2, "max_tokens": 9}]
    for limit in limits:
        found = await ai.chat.completions.create(model="scripted", messages=HI, **limit)
        assert (found.choices[0].message.content, found.choices[0].finish_reason) == ("one two ", "length")
    stopped = await ai.chat.completions.create(model="scripted", messages=HI, stop="two")
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("one ", "stop")


async def test_a_stream(ai: openai.AsyncOpenAI) -> None:
    """Token by token; what was used comes last, if it is asked for, and in one chunk without choices."""
    stream = await ai.chat.completions.create(
        model="scripted", messages=HI, stream=True, stream_options={"include_usage": True}
    )
    *chunks, last = [chunk async for chunk in stream]
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].delta.content for chunk in chunks[1:-1]] == ["one ", "two ", "three"]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert all(chunk.usage is None for chunk in chunks)
    assert (last.choices, last.usage.total_tokens if last.usage else 0) == ([], 4)
    assert len({chunk.id for chunk in [*chunks, last]}) == 1


async def test_several_replies(ai: openai.AsyncOpenAI, desk: Any) -> None:
    """Each by its own seed, if there is one; the prompt counts once."""
    found = await ai.chat.completions.create(model="scripted", messages=HI, n=3, seed=2**63 - 2)
    assert [choice.message.content for choice in found.choices] == [f"seed {s}" for s in (2**63 - 2, 2**63 - 1, 0)]
    assert found.usage is not None and (found.usage.prompt_tokens, found.usage.completion_tokens) == (1, 6)
    stream = await ai.chat.completions.create(model="scripted", messages=HI, n=2, stream=True)
    texts = ["", ""]
    async for chunk in stream:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert texts == ["one two three"] * 2
    assert [request.sampling.seed for request in desk.asked[-2:]] == [None, None]


async def test_log_probabilities(ai: openai.AsyncOpenAI) -> None:
    """Of each token, with alternatives, whole and in chunks; absent unless they are asked for."""
    found = await ai.chat.completions.create(model="scripted", messages=HI, logprobs=True, top_logprobs=1)
    scores = found.choices[0].logprobs
    assert scores is not None and scores.content is not None
    assert [(token.token, token.logprob, token.top_logprobs[0].token) for token in scores.content] == [
        ("one ", 0.0, "one "),
        ("two ", 0.0, "two "),
        ("three", 0.0, "three"),
    ]
    assert scores.content[0].bytes == list(b"one ")
    stream = await ai.chat.completions.create(model="scripted", messages=HI, logprobs=True, stream=True)
    streamed = [chunk.choices[0].logprobs async for chunk in stream]
    assert [token.token for logprobs in streamed if logprobs for token in logprobs.content or ()] == [
        "one ",
        "two ",
        "three",
    ]
    assert (await ai.chat.completions.create(model="scripted", messages=HI)).choices[0].logprobs is None


async def test_a_round_trip_through_tools(ai: openai.AsyncOpenAI, desk: Any) -> None:
    """The calls as the client knows them; their results go back to the model under the tools' names."""
    desk.says = Scripted(calls=(WEATHER, CLOCK))
    found = await ai.chat.completions.create(model="scripted", messages=HI, tools=TOOLS)
    message = found.choices[0].message
    assert (found.choices[0].finish_reason, message.content) == ("tool_calls", None)
    calls = message.tool_calls or []
    assert [(call.id, call.function.name, call.function.arguments) for call in calls if call.type == "function"] == [
        ("call-1", "weather", '{"place": "Øy"}'),
        ("call-2", "clock", "{}"),
    ]
    desk.says = "It rains."
    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in calls]
    asked: Any = [*HI, message, *results]
    again = await ai.chat.completions.create(model="scripted", messages=asked, tools=TOOLS)
    assert again.choices[0].message.content == "It rains."
    told = desk.asked[-1].conversation
    assert told[1].parts == (WEATHER, CLOCK)
    assert [(part.id, part.name, part.content) for turn in told[2:] for part in turn.parts] == [
        ("call-1", "weather", "rain"),
        ("call-2", "clock", "rain"),
    ]


async def test_tool_calls_in_a_stream(ai: openai.AsyncOpenAI, desk: Any) -> None:
    """Numbered in their order; without parallel calls there is one."""
    desk.says = Scripted(text="Let me see.", calls=(WEATHER, CLOCK))
    async with ai.chat.completions.stream(model="scripted", messages=HI, tools=TOOLS) as stream:
        message = (await stream.get_final_completion()).choices[0].message
    assert [call.function.name for call in message.tool_calls or ()] == ["weather", "clock"]
    one = await ai.chat.completions.create(model="scripted", messages=HI, tools=TOOLS, parallel_tool_calls=False)
    assert [call.id for call in one.choices[0].message.tool_calls or ()] == ["call-1"]


async def test_a_parsed_reply(ai: openai.AsyncOpenAI, desk: Any) -> None:
    """The schema of a pydantic class reaches the model, and the reply comes back as an instance."""
    desk.says = '{"name": "Bergen", "people": 294029}'
    found = await ai.chat.completions.parse(model="scripted", messages=HI, response_format=City)
    assert found.choices[0].message.parsed == City(name="Bergen", people=294029)
    assert set(desk.asked[-1].output.json_schema["properties"]) == {"name", "people"}
    await ai.chat.completions.create(model="scripted", messages=HI, response_format={"type": "json_object"})
    assert desk.asked[-1].output.json_schema == {"type": "object"}


async def test_completions(ai: openai.AsyncOpenAI, desk: Any) -> None:
    """Prompts as they are, several at once, n replies each; text and token ids alike."""
    found = await ai.completions.create(model="scripted", prompt=["a b", "c"], n=2, seed=7, logprobs=1)
    assert [(choice.index, choice.text) for choice in found.choices] == [
        (0, "seed 7"),
        (1, "seed 8"),
        (2, "seed 7"),
        (3, "seed 8"),
    ]
    assert found.choices[3].logprobs is not None
    assert found.choices[3].logprobs.text_offset == [0, 5]
    assert found.usage is not None and (found.usage.prompt_tokens, found.usage.completion_tokens) == (3, 8)
    await ai.completions.create(model="scripted", prompt=[[1, 2], [3]])
    assert [request.prompt for request in desk.asked] == ["a b", "a b", "c", "c", (1, 2), (3,)]
    assert [request.sampling.max_tokens for request in desk.asked] == [16] * 6


async def test_completions_in_a_stream(ai: openai.AsyncOpenAI) -> None:
    """Offsets of log-probabilities go on from chunk to chunk."""
    stream = await ai.completions.create(model="scripted", prompt="x", stream=True, logprobs=0)
    chunks = [chunk.choices[0] async for chunk in stream]
    assert "".join(chunk.text for chunk in chunks) == "one two three"
    assert [chunk.logprobs.text_offset for chunk in chunks if chunk.logprobs] == [[0], [4], [8], []]
    assert chunks[-1].finish_reason == "stop"


async def test_embeddings(ai: openai.AsyncOpenAI) -> None:
    """The client asks for base64 and decodes it; numbers on request."""
    packed = await ai.embeddings.create(model="scripted", input=["four", "sixsix"])
    plain = await ai.embeddings.create(model="scripted", input="four", encoding_format="float", dimensions=3)
    assert [each.embedding for each in packed.data] == [[4.0, 0.5, -0.25], [6.0, 0.5, -0.25]]
    assert plain.data[0].embedding == [4.0, 0.5, -0.25]
    assert packed.usage.prompt_tokens == 2


async def test_models(ai: openai.AsyncOpenAI) -> None:
    """Those that are served, one by one too, with the context where it is known."""
    found = [model async for model in ai.models.list()]
    assert [(model.id, getattr(model, "max_model_len", None)) for model in found] == [("scripted", 40), ("held", None)]
    assert (await ai.models.retrieve("held")).owned_by == "antiphon"


def sync_client_calls(address: str) -> Iterator[str]:
    """What the other kind of client gets."""
    with openai.OpenAI(base_url=f"{address}v1", api_key="web-0123456789abcdef", max_retries=0, timeout=300) as client:
        yield client.chat.completions.create(model="scripted", messages=HI).choices[0].message.content or ""
        stream = client.chat.completions.create(model="scripted", messages=HI, stream=True)
        yield "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        yield client.completions.create(model="scripted", prompt="x").choices[0].text
        yield str(len(client.embeddings.create(model="scripted", input="x").data))
        yield ",".join(model.id for model in client.models.list())


async def test_the_client_without_asyncio(address: str) -> None:
    """The same answers."""
    found = await asyncio.to_thread(list, sync_client_calls(address))
    assert found == ["one two three", "one two three", "one two three", "1", "scripted,held"]


ERRORS: list[tuple[Exception, type[openai.APIStatusError], int, str | None]] = [
    (InvalidRequest("no such schema"), openai.BadRequestError, 400, None),
    (InvalidOutput("the call was cut"), openai.BadRequestError, 400, "invalid_output"),
    (ModelBusy("full", retry_after_s=2.4), openai.RateLimitError, 429, "rate_limit_exceeded"),
    (ModelUnavailable("gone"), openai.InternalServerError, 503, "model_unavailable"),
    (ModelError("odd"), openai.InternalServerError, 500, "model_error"),
    (DeadlineExceeded("late"), openai.InternalServerError, 504, "deadline_exceeded"),
]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("error", "kind", "status", "code"), ERRORS)
async def test_errors(
    ai: openai.AsyncOpenAI,
    desk: Any,
    error: Any,
    kind: type[openai.APIStatusError],
    status: int,
    code: str | None,
    stream: bool,
) -> None:
    """Each as the client's own class; a stream that has not begun fails with a status like the rest."""
    desk.says = error
    with pytest.raises(kind, match=error.message) as raised:
        await ai.chat.completions.create(model="scripted", messages=HI, stream=stream)
    assert (raised.value.status_code, raised.value.code) == (status, code)
    waits = {429: "3", 503: "1"}
    assert raised.value.response.headers.get("retry-after") == waits.get(status)


async def test_an_error_in_the_midst_of_a_stream(ai: openai.AsyncOpenAI, desk: Any) -> None:
    """What was said before it stays said; the stream ends with the error."""
    desk.says = Scripted(text="one two", error=ModelUnavailable("the process ended"))
    stream = await ai.chat.completions.create(model="scripted", messages=HI, stream=True)
    said = []
    with pytest.raises(openai.APIError, match="the process ended") as raised:
        async for chunk in stream:
            said.append(chunk.choices[0].delta.content)
    assert (said, raised.value.code) == (["", "one ", "two"], "model_unavailable")


async def test_who_is_refused(address: str, ai: openai.AsyncOpenAI) -> None:
    """A wrong key, a model that is not there, and a prompt beyond the context, with both numbers."""
    async with openai.AsyncOpenAI(base_url=f"{address}v1", api_key="wrong", max_retries=0) as stranger:
        with pytest.raises(openai.AuthenticationError) as unknown:
            await stranger.models.list()
    assert unknown.value.code == "invalid_api_key"
    with pytest.raises(openai.NotFoundError, match="expected one of scripted, held") as missing:
        await ai.chat.completions.create(model="gpt-9", messages=HI)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    long: Any = [{"role": "user", "content": "word " * 50}]
    with pytest.raises(openai.BadRequestError, match=r"50 tokens.* fewer than 40") as full:
        await ai.chat.completions.create(model="scripted", messages=long, stream=True)
    assert full.value.code == "context_length_exceeded"


async def test_a_model_that_does_not_embed(ai: openai.AsyncOpenAI) -> None:
    """It says so."""
    with pytest.raises(openai.BadRequestError, match="does not embed"):
        await ai.embeddings.create(model="held", input="x")
