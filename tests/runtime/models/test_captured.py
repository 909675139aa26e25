"""Prompts and replies as other tools and the console read them: the conventions' JSON, whatever their size."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.models.captured import prompt_text, reply_text
from antiphon.runtime.telemetry.conversation import MOST_BYTES
from antiphon.schemas.inference import (
    Finish,
    FinishReason,
    GenerateRequest,
    Reply,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
    Turn,
    Usage,
    turn,
)


def request(*turns: Turn) -> GenerateRequest:
    return GenerateRequest(model="m", conversation=turns)


def reply(text: str, *calls: ToolCall, reason: FinishReason = FinishReason.STOP) -> Reply:
    usage = Usage(input_tokens=1, output_tokens=1)
    return Reply(text=text, tool_calls=calls, finish=Finish(reason=reason, usage=usage))


CALL = ToolCall(id="c1", name="find", arguments={"word": "sky"})


def test_a_conversation_has_roles_and_typed_parts() -> None:
    """As the schema of gen_ai.input.messages has them."""
    asked = Turn(role=Role.ASSISTANT, parts=(TextPart(text="let me see"), CALL))
    answered = Turn(role=Role.TOOL, parts=(ToolResult(id="c1", name="find", content="blue"),))
    assert json.loads(prompt_text(request(turn(Role.SYSTEM, "be short"), asked, answered))) == [
        {"role": "system", "parts": [{"type": "text", "content": "be short"}]},
        {
            "role": "assistant",
            "parts": [
                {"type": "text", "content": "let me see"},
                {"type": "tool_call", "id": "c1", "name": "find", "arguments": {"word": "sky"}},
            ],
        },
        {
            "role": "tool",
            "parts": [{"type": "tool_call_response", "id": "c1", "name": "find", "response": "blue"}],
        },
    ]


def test_raw_prompts_are_what_a_user_says() -> None:
    """Token ids have no text to show."""
    said = json.loads(prompt_text(GenerateRequest(model="m", prompt="go on")))
    assert said == [{"role": "user", "parts": [{"type": "text", "content": "go on"}]}]
    assert json.loads(prompt_text(GenerateRequest(model="m", prompt=(1, 2)))) == []


def test_a_reply_says_why_it_ended() -> None:
    """Text and calls of tools in one message; the reason in the conventions' word."""
    (said,) = json.loads(reply_text(reply("hm", CALL, reason=FinishReason.TOOL_CALLS)))
    assert [part["type"] for part in said["parts"]] == ["text", "tool_call"]
    assert (said["role"], said["finish_reason"]) == ("assistant", "tool_call")


def test_long_parts_are_shortened_and_say_so() -> None:
    """All messages are there, and nothing that was short is touched."""
    said = json.loads(prompt_text(request(turn(Role.SYSTEM, "short"), turn(Role.USER, "x" * 100_000))))
    assert said[0]["parts"][0]["content"] == "short"
    assert said[1]["parts"][0]["content"] == "x" * 2048 + "… (97952 characters left out)"


def test_of_many_messages_the_first_and_the_newest_stay() -> None:
    """With the number of those that are not there."""
    turns = [turn(Role.USER, f"{number} {'y' * 200}") for number in range(400)]
    said = json.loads(prompt_text(request(turn(Role.SYSTEM, "rules"), *turns)))
    assert said[0]["parts"][0]["content"] == "rules"
    assert said[0]["parts"][1]["content"] == f"({401 - len(said)} messages left out)"
    assert said[-1]["parts"][0]["content"].startswith("399 ") and 20 < len(said) < 401


texts = st.tuples(st.text(max_size=5), st.sampled_from([1, 40, 900])).map(lambda drawn: drawn[0] * drawn[1])
parts: st.SearchStrategy[Any] = st.one_of(
    texts.map(lambda text: TextPart(text=text)),
    st.dictionaries(st.text(max_size=3), texts | st.integers(), max_size=3).map(
        lambda given: ToolCall(id="c", name="n", arguments=given)
    ),
    texts.map(lambda text: ToolResult(id="c", name="n", content=text)),
)
turns = st.builds(Turn, role=st.sampled_from(Role), parts=st.lists(parts, max_size=4).map(tuple))


@settings(max_examples=50, deadline=None)
@given(st.lists(turns, min_size=1, max_size=12))
def test_it_is_always_whole_json_of_a_size_that_is_not_cut(conversation: list[Turn]) -> None:
    """Whatever is said, in any alphabet."""
    text = prompt_text(request(*conversation))
    assert len(text.encode()) <= MOST_BYTES
    assert isinstance(json.loads(text), list)
