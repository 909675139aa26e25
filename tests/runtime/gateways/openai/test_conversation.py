from typing import Any

import pytest
from pydantic import TypeAdapter

from antiphon.runtime.errors import InvalidRequest
from antiphon.runtime.gateways.openai.conversation import turns
from antiphon.schemas.inference import Role, TextPart, ToolCall, ToolResult, Turn
from antiphon.schemas.openai import ChatMessage

MESSAGES = TypeAdapter(list[ChatMessage])


def call(id: str = "c1", arguments: str = '{"x": 1}') -> dict[str, Any]:
    """An assistant's message that calls a tool."""
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}],
    }


def test_every_role_has_its_turn() -> None:
    """A developer is the system; parts are joined; a result carries the name of the tool that was called."""
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "name": "ada"},
        call(),
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
        {"role": "assistant", "content": ""},
        call("c2", ""),
    ]
    assert turns(MESSAGES.validate_python(messages)) == (
        Turn(role=Role.SYSTEM, parts=(TextPart(text="Be brief."),)),
        Turn(role=Role.USER, parts=(TextPart(text="ab"),)),
        Turn(role=Role.ASSISTANT, parts=(ToolCall(id="c1", name="f", arguments={"x": 1}),)),
        Turn(role=Role.TOOL, parts=(ToolResult(id="c1", name="f", content="2"),)),
        Turn(role=Role.ASSISTANT, parts=(TextPart(text=""),)),
        Turn(role=Role.ASSISTANT, parts=(ToolCall(id="c2", name="f", arguments={}),)),
    )


@pytest.mark.parametrize(
    ("message", "param", "why"),
    [
        (
            {"role": "user", "content": [{"type": "image_url"}]},
            "messages[1].content",
            "'image_url', expected text only",
        ),
        ({"role": "tool", "content": "2"}, "messages[1].tool_call_id", "expected the id of a call"),
        ({"role": "tool", "tool_call_id": "c9", "content": "2"}, "messages[1].tool_call_id", "'c9'"),
        (call(arguments="[1]"), "messages[1].tool_calls[0].function.arguments", "expected a JSON object"),
        (call(arguments="{"), "messages[1].tool_calls[0].function.arguments", "expected a JSON object"),
        (call(arguments="[" * 9999), "messages[1].tool_calls[0].function.arguments", "expected a JSON object"),
    ],
)
def test_what_cannot_be_said(message: Any, param: str, why: str) -> None:
    """Pictures, results of no call, and arguments that are none: the field is named."""
    with pytest.raises(InvalidRequest, match=why) as raised:
        turns(MESSAGES.validate_python([{"role": "user", "content": "hi"}, message]))
    assert raised.value.details == {"param": param}
