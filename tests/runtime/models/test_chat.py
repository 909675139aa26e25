"""Chat completions: conversations to JSON, deltas to chunks."""

from typing import Any

import pytest

from antiphon.runtime.errors import InvalidOutput, InvalidRequest
from antiphon.runtime.models.chat import Completion, body
from antiphon.schemas.inference import (
    FinishReason,
    GenerateRequest,
    OutputSchema,
    Role,
    Sampling,
    TextPart,
    TokenScore,
    ToolCall,
    ToolCallChunk,
    ToolResult,
    ToolSpec,
    Turn,
    Usage,
    turn,
)


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    """An event with one choice."""
    return {"choices": [{"delta": fields, "finish_reason": finish_reason}]}


def call(index: int, id: str, name: str = "", arguments: str = "") -> dict[str, Any]:
    """A piece of a tool call."""
    return {"index": index, "id": id, "function": {"name": name, "arguments": arguments}}


def test_a_conversation_with_tools_becomes_messages() -> None:
    """Text and calls of a turn are one message, each result is its own, failures are marked."""
    search = ToolCall(id="c1", name="search", arguments={"q": "sky"})
    request = GenerateRequest(
        model="m",
        conversation=(
            turn(Role.SYSTEM, "Be brief."),
            turn(Role.USER, "Why?"),
            Turn(role=Role.ASSISTANT, parts=(TextPart(text="Let me see."), search)),
            Turn(
                role=Role.TOOL,
                parts=(
                    ToolResult(id="c1", name="search", content="blue"),
                    ToolResult(id="c2", name="search", content="no network", error=True),
                ),
            ),
        ),
        tools=(ToolSpec(name="search", description="Search.", parameters={"type": "object"}),),
        output=OutputSchema(name="Draft", json_schema={"type": "object"}),
        sampling=Sampling(temperature=0.5, top_p=0.9, top_k=5, seed=3, max_tokens=9, stop=("END",)),
    )
    called = {"id": "c1", "type": "function", "function": {"name": "search", "arguments": '{"q": "sky"}'}}
    assert body(request, "served-as") == {
        "model": "served-as",
        "messages": [
            {
                "role": "system",
                "content": "Be brief.\n\nWhen you answer, reply with JSON that fits this schema and with nothing else: "
                '{"type": "object"}',
            },
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [called]},
            {"role": "tool", "tool_call_id": "c1", "content": "blue"},
            {"role": "tool", "tool_call_id": "c2", "content": "error: no network"},
        ],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "seed": 3,
        "stop": ["END"],
        "tools": [
            {
                "type": "function",
                "function": {"name": "search", "description": "Search.", "parameters": {"type": "object"}},
            }
        ],
    }


def test_a_schema_is_forced_only_where_no_tools_stand_beside_it() -> None:
    """Endpoints that force every reply into the schema would never call a tool; then the schema is told instead."""
    output = OutputSchema(name="Draft", json_schema={"type": "object"})
    request = GenerateRequest(model="m", conversation=(turn(Role.USER, "Hi"),), output=output)
    forced = {"name": "Draft", "schema": {"type": "object"}, "strict": True}
    assert body(request, "m")["response_format"] == {"type": "json_schema", "json_schema": forced}
    tool = ToolSpec(name="search", description="Search.", parameters={"type": "object"})
    sent = body(request.model_copy(update={"tools": (tool,)}), "m")
    assert "response_format" not in sent
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["messages"][0]["content"].endswith('{"type": "object"}')


@pytest.mark.parametrize(
    ("schema", "strict"),
    [
        ({"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}, True),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": False}, False),
        ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False),
        ({"anyOf": [{"type": "null"}, {"properties": {"a": {}}}]}, False),
    ],
)
def test_a_schema_is_strict_only_where_openai_would_take_it(schema: dict[str, Any], strict: bool) -> None:
    """A message with a default field must not be refused for being called strict."""
    output = OutputSchema(name="Draft", json_schema=schema)
    request = GenerateRequest(model="m", conversation=(turn(Role.USER, "Hi"),), output=output)
    assert body(request, "m")["response_format"]["json_schema"]["strict"] is strict


def test_usage_is_the_servers_own() -> None:
    """The last event's numbers win, cached tokens included."""
    completion = Completion("m")
    completion.take(delta(content="a b"))
    completion.take(delta("length"))
    details = {"cached_tokens": 4}
    completion.take(
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": details}}
    )
    (finish,) = completion.end()
    assert finish == completion.finish(FinishReason.LENGTH)
    assert completion.usage() == Usage(input_tokens=9, output_tokens=2, cached_tokens=4)


def test_tool_calls_are_put_together() -> None:
    """Pieces join by index; a new id under an old index is another call; the reason is TOOL_CALLS whatever it says."""
    completion = Completion("m")
    completion.take(delta(tool_calls=[call(0, "a", "search", '{"q":')]))
    completion.take(delta(tool_calls=[call(0, "", "", ' "sky"}'), call(1, "b", "now")]))
    completion.take(delta("stop", tool_calls=[call(0, "c", "search", "{}")]))
    *calls, finish = completion.end()
    assert calls == [
        ToolCallChunk(call=ToolCall(id="a", name="search", arguments={"q": "sky"})),
        ToolCallChunk(call=ToolCall(id="b", name="now", arguments={})),
        ToolCallChunk(call=ToolCall(id="c", name="search", arguments={})),
    ]
    assert finish == completion.finish(FinishReason.TOOL_CALLS)


def test_a_filtered_reply_is_no_reply() -> None:
    """What a content filter cut is not passed on as complete."""
    with pytest.raises(InvalidOutput, match="filter"):
        Completion("m").take(delta("content_filter"))


def test_sampling_is_sent_where_it_is_set() -> None:
    """Servers that do not know a field need not see it; log-probabilities come back with the text."""
    asked = GenerateRequest(
        model="m",
        conversation=(turn(Role.USER, "hi"),),
        tools=(ToolSpec(name="f", description="", parameters={}),),
        must_call=True,
        sampling=Sampling(presence_penalty=1, frequency_penalty=-1, repetition_penalty=1.5, min_p=0.1, logprobs=1),
    )
    sent = body(asked, "m")
    assert sent["tool_choice"] == "required"
    assert [sent[name] for name in ("presence_penalty", "frequency_penalty", "repetition_penalty", "min_p")] == [
        1,
        -1,
        1.5,
        0.1,
    ]
    assert (sent["logprobs"], sent["top_logprobs"], "top_k" in sent, "seed" in sent) == (True, 1, False, False)
    other = {"token": "ho", "logprob": -1.5, "bytes": [7, 8]}
    token = {"token": "hi", "logprob": -0.5, "bytes": None, "top_logprobs": [other]}
    event = delta(content="hi")
    event["choices"][0]["logprobs"] = {"content": [token]}
    (chunk,) = Completion("m").take(event)
    assert [(score.text, score.logprob, score.bytes, score.top) for score in chunk.tokens] == [
        ("hi", -0.5, tuple(b"hi"), (TokenScore(text="ho", logprob=-1.5, bytes=(7, 8)),))
    ]


def test_an_endpoint_for_chats_takes_no_raw_prompt() -> None:
    """It would put it into a template of its own."""
    with pytest.raises(InvalidRequest, match="expected a conversation"):
        body(GenerateRequest(model="m", prompt="once"), "m")
