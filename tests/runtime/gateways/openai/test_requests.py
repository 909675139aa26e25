from typing import Any

import pytest

from antiphon.runtime.errors import InvalidRequest
from antiphon.runtime.gateways.openai.requests import ChatRequest, CompletionRequest, EmbeddingRequest, read
from antiphon.schemas.inference import Sampling

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def sampling(**given: Any) -> Sampling:
    """As a chat gives it."""
    chat = read(ChatRequest, CHAT | given)
    return chat.sampling(max_tokens=8, unless_given=9, logprobs=None)


def test_sampling_is_taken_as_it_is_meant() -> None:
    """OpenAI's defaults where nothing is said or null; vLLM's -1 is all; negative seeds have a place."""
    plain = Sampling(temperature=1.0, max_tokens=8)
    assert sampling() == sampling(temperature=None, top_p=None, stop=None, seed=None) == plain
    assert sampling(top_k=-1, frequency_penalty=0) == plain
    assert sampling(temperature=0, top_k=3, min_p=0.1, repetition_penalty=1.5, presence_penalty=-1, seed=5) == Sampling(
        temperature=0, top_k=3, min_p=0.1, repetition_penalty=1.5, presence_penalty=-1, seed=5, max_tokens=8
    )
    assert (sampling(stop="a").stop, sampling(stop=["a", "b"]).stop) == (("a",), ("a", "b"))
    assert sampling(seed=-1).seed == 2**63 - 1


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content[0].type"),
        ({"n": 0}, "n"),
        ({"n": 129}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": -1}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_k": -2}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"logit_bias": {"50256": -100}}, "logit_bias"),
        ({"repetition_penalty": 1e-40}, "repetition_penalty"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"seed": 2**63}, "seed"),
        ({"stop": [""]}, "stop[0]"),
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": {"a": 1}}, "stop"),
        ({"service_tier": 5}, "service_tier"),
        ({"metadata": {"run": 5}}, "metadata.run"),
        ({"metadata": {"run": "x" * 513}}, "metadata"),
        ({"stream_options": "x"}, "stream_options"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}},
            "response_format.json_schema.schema",
        ),
        ({"logprobs": "much"}, "logprobs"),
    ],
)
def test_a_value_that_cannot_be_names_its_field(change: dict[str, Any], param: str) -> None:
    """As OpenAI writes it, at any depth."""
    with pytest.raises(InvalidRequest) as raised:
        read(ChatRequest, CHAT | change).sampling(max_tokens=8, unless_given=9, logprobs=None)
    assert raised.value.details == {"param": param}
    assert raised.value.message.startswith(f"{param}: ")


def test_fields_that_nobody_knows_are_passed_over() -> None:
    """As other servers do, at any depth."""
    chat = read(
        ChatRequest, CHAT | {"modalities": ["text"], "user": "ada", "messages": [CHAT["messages"][0] | {"x": 1}]}
    )
    assert chat == read(ChatRequest, CHAT | {"user": "ada"})


@pytest.mark.parametrize(
    ("given", "prompts"),
    [
        ("a", ("a",)),
        (["a", "b"], ("a", "b")),
        ([1, 2], ((1, 2),)),
        ([[1, 2], [3]], ((1, 2), (3,))),
        (["a", [3]], ("a", (3,))),
    ],
)
def test_prompts_have_many_forms(given: Any, prompts: Any) -> None:
    """Text, texts, token ids, lists of those."""
    assert read(CompletionRequest, {"model": "m", "prompt": given}).prompt == prompts
    assert read(EmbeddingRequest, {"model": "m", "input": given}).input == prompts


@pytest.mark.parametrize("given", [None, "", [], [[]], [""], 5, {"a": 1}, [1.5], [True], [-1], ["a", 1], [2**31]])
def test_what_is_no_prompt(given: Any) -> None:
    """The message says what would be one."""
    with pytest.raises(InvalidRequest, match="prompt: expected text, a list of token ids"):
        read(CompletionRequest, {"model": "m", "prompt": given})
