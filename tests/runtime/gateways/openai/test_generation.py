from typing import Any

import pytest

from antiphon.runtime.errors import InvalidRequest
from antiphon.runtime.gateways.openai.generation import CHAT_TOKENS, Stamp, chat_requests, completion_requests
from antiphon.runtime.gateways.openai.requests import ChatRequest, CompletionRequest, read
from antiphon.schemas.inference import GenerateRequest

STAMP = Stamp(tenant="acme", deadline_unix_ms=9)
TOOLS = [
    {"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}},
    {"type": "function", "function": {"name": "g"}},
]


def chat(stamp: Stamp = STAMP, **given: Any) -> list[GenerateRequest]:
    """The requests of a chat."""
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | given
    return chat_requests(read(ChatRequest, body), stamp)


def completion(**given: Any) -> list[GenerateRequest]:
    """The requests of a completion."""
    return completion_requests(read(CompletionRequest, {"model": "m", "prompt": "x"} | given), STAMP)


def test_a_request_carries_what_the_gateway_knows() -> None:
    """Tenant and deadline; a limit of its own where the caller has none, which the instance may lower."""
    (request,) = chat()
    assert (request.tenant, request.deadline_unix_ms, request.run) == ("acme", 9, None)
    assert (request.sampling.max_tokens, request.sampling.clip) == (CHAT_TOKENS, True)
    assert [each.sampling.clip for each in (*chat(max_tokens=4096), *completion(), *completion(max_tokens=5))] == [
        False,
        True,
        False,
    ]


def test_calls_of_one_program_say_so() -> None:
    """By ``metadata.run``: the same name is the same run, in one tenant, for chats and completions alike."""
    mine, again, other = (
        each[0].run
        for each in (chat(metadata={"run": "r"}), completion(metadata={"run": "r"}), chat(metadata={"run": "s"}))
    )
    theirs = chat(Stamp(tenant="other", deadline_unix_ms=9), metadata={"run": "r"})[0].run
    assert mine == again
    assert len({mine, other, theirs, None}) == 4


def test_tools_may_be_chosen_for_the_model() -> None:
    """All, none, any, or one by name; a tool that says nothing of itself takes no arguments."""
    f, g = chat(tools=TOOLS)[0].tools
    assert (f.description, f.parameters, g.description) == ("d", {"type": "object"}, "")
    assert g.parameters == {"type": "object", "properties": {}}
    for wanted, tools, must_call in (
        (None, (f, g), False),
        ("auto", (f, g), False),
        ("none", (), False),
        ("required", (f, g), True),
        ({"type": "function", "function": {"name": "g"}}, (g,), True),
    ):
        (request,) = chat(tools=TOOLS, tool_choice=wanted)
        assert (request.tools, request.must_call) == (tools, must_call)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"tool_choice": "required"}, "tool_choice"),
        ({"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "h"}}}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "logprobs"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 0}, "max_tokens"),
    ],
)
def test_chats_that_cannot_be(given: dict[str, Any], param: str) -> None:
    """Each names its field."""
    with pytest.raises(InvalidRequest) as raised:
        chat(**given)
    assert raised.value.details == {"param": param}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"echo": True}, "echo"),
        ({"suffix": "end"}, "suffix"),
        ({"best_of": 2}, "best_of"),
        ({"prompt": ["x"] * 65, "n": 2}, "prompt"),
        ({"logprobs": 21}, "logprobs"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_completions_that_cannot_be(given: dict[str, Any], param: str) -> None:
    """What is not supported is refused, not passed over."""
    with pytest.raises(InvalidRequest) as raised:
        completion(**given)
    assert raised.value.details == {"param": param}


def test_what_changes_nothing_is_taken() -> None:
    """Values that ask for what is done anyway."""
    assert len(completion(echo=False, suffix="", best_of=2, n=2)) == 2
    assert chat(response_format={"type": "text"})[0].output is None
    assert [request.sampling.logprobs for request in (*chat(logprobs=True), *chat(logprobs=False))] == [0, None]
