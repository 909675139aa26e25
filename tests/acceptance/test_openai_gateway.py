"""The gateway as people meet it: ``antiphon serve --openai``, the real small models, OpenAI's client."""

import json
import re
import shlex
import signal
from typing import TYPE_CHECKING, Any, Literal

import httpx
import openai
import pytest
from pydantic import BaseModel

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

CHAT, EMBEDDER = "smollm2-135m", "all-minilm-l6-v2"
QUESTION: Any = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "the weather in a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


class Capital(BaseModel):
    country: Literal["France", "Spain"]
    continent: Literal["Europe", "Asia"]


@pytest.fixture
def said(place: "Place", models_home: Any) -> str:
    """What the command prints once it serves."""
    place.home.mkdir()
    (place.home / "models").symlink_to(models_home)
    return place.start("serve", "--openai", CHAT, EMBEDDER, "--port", "0").says("OPENAI_BASE_URL").said


def test_everything_that_the_client_can_ask(said: str, place: "Place") -> None:
    """Chats, streams, replies side by side, tools, schemas, raw prompts and vectors; and what is printed works."""
    found = re.search(r"OPENAI_BASE_URL=(\S+) OPENAI_API_KEY=(\S+)", said)
    assert found is not None
    with openai.OpenAI(base_url=found[1], api_key=found[2], max_retries=0, timeout=240) as client:
        assert [model.id for model in client.models.list()] == [CHAT, EMBEDDER]
        chats(client)
        forms(client)
        prompts_and_vectors(client)

    curl = re.search(r"^  (curl .*)$", said, re.M)
    assert curl is not None
    _, url, _, header, _, body = shlex.split(curl[1])
    printed = httpx.post(
        url, json=json.loads(body) | {"max_tokens": 4}, headers=dict([header.split(": ", 1)]), timeout=300
    )
    assert printed.json()["object"] == "chat.completion"
    assert place.started[-1].ends(signal.SIGTERM) == 0


def chats(client: openai.OpenAI) -> None:
    """Whole and in chunks, several side by side, with the probabilities of the tokens."""
    whole = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0, max_tokens=12)
    text = whole.choices[0].message.content or ""
    assert "Paris" in text and whole.usage is not None and whole.usage.prompt_tokens > 10
    stream = client.chat.completions.create(model=CHAT, messages=QUESTION, temperature=0, max_tokens=12, stream=True)
    chunks = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(chunks) == text and len([chunk for chunk in chunks if chunk]) > 3

    twice: Any = {"model": CHAT, "messages": QUESTION, "n": 2, "seed": 3, "max_tokens": 8, "temperature": 1.5}
    # That a seed repeats is tested where nothing else changes: another batch has other roundings.
    replies = {choice.message.content for choice in client.chat.completions.create(**twice).choices}
    assert len(replies) == 2

    scored = client.chat.completions.create(
        model=CHAT, messages=QUESTION, temperature=0, max_tokens=4, logprobs=True, top_logprobs=2
    ).choices[0]
    assert scored.logprobs is not None and scored.logprobs.content is not None
    assert "".join(token.token for token in scored.logprobs.content) == scored.message.content
    assert all(token.logprob == token.top_logprobs[0].logprob <= 0 for token in scored.logprobs.content)


def forms(client: openai.OpenAI) -> None:
    """A tool that must be called, and a schema."""
    forced: Any = {"type": "function", "function": {"name": "weather"}}
    called = client.chat.completions.create(
        model=CHAT, messages=QUESTION, tools=[WEATHER], tool_choice=forced, temperature=0, max_tokens=64
    ).choices[0]
    assert called.finish_reason == "tool_calls"
    assert [call.function.name for call in called.message.tool_calls or () if call.type == "function"] == ["weather"]
    parsed = client.chat.completions.parse(
        model=CHAT, messages=QUESTION, response_format=Capital, temperature=0, max_tokens=64
    )
    assert isinstance(parsed.choices[0].message.parsed, Capital)


def prompts_and_vectors(client: openai.OpenAI) -> None:
    """Prompts as they are, one of them too long; texts near to each other and far apart."""
    raw = client.completions.create(model=CHAT, prompt="The capital of France is", temperature=0, max_tokens=4)
    assert "Paris" in raw.choices[0].text
    with pytest.raises(openai.BadRequestError) as long:
        client.completions.create(model=CHAT, prompt="word " * 9000)
    assert long.value.code == "context_length_exceeded"

    vectors = client.embeddings.create(model=EMBEDDER, input=["reset my password", "recover my account", "rain"]).data
    near, far = (_cosine(vectors[0].embedding, vectors[number].embedding) for number in (1, 2))
    assert near > 0.4 > far
    with pytest.raises(openai.BadRequestError, match="does not embed"):
        client.embeddings.create(model=CHAT, input="x")


def _cosine(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))  # both are of length 1
