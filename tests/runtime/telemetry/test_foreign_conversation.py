"""What foreign programs recorded of a conversation shows as ours does, whatever they called it."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.conversation import MOST_BYTES
from antiphon.runtime.telemetry.foreign import mapped
from antiphon.runtime.telemetry.foreign_conversation import with_contents
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.telemetry.otlp_json import spans_of
from antiphon.schemas.telemetry import SpanEvent, SpanRecord

DATA = Path(__file__).parents[2] / "data" / "foreign"
HASH = ContentHash("key")
MARK = {"openinference.span.kind": "LLM"}


def kept(attributes: dict[str, Any], *events: SpanEvent) -> dict[str, Any]:
    """What is stored of a model call where contents are captured."""
    span = SpanRecord(
        trace_id=bytes(16), span_id=b"12345678", parent_id=None, name="n", start_ns=1, end_ns=2,
        attributes=MARK | attributes, events=list(events),
    )  # fmt: skip
    return with_contents(mapped(span, HASH), span)


def read(attributes: dict[str, Any]) -> tuple[Any, Any]:
    """Prompt and reply, as the console reads them."""
    found = (attributes.get(name) for name in (attr.GENAI_INPUT_MESSAGES, attr.GENAI_OUTPUT_MESSAGES))
    asked, replied = (None if each is None else json.loads(each) for each in found)
    return asked, replied


def event(name: str, **attributes: Any) -> SpanEvent:
    return SpanEvent(name=f"gen_ai.{name}", unix_ns=1, attributes={"gen_ai.system": "x", **attributes})


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "content": said}


ARGUMENTS = '{"city":"Lisbon"}'
PROMPT = [
    {"role": "system", "parts": [text("Be brief.")]},
    {"role": "user", "parts": [text("Rain?")]},
    {"role": "assistant", "parts": [{"type": "tool_call", "id": "c1", "name": "weather", "arguments": ARGUMENTS}]},
    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": "dry"}]},
]
REPLY = [{"role": "assistant", "parts": [text("No.")]}]
OPENINFERENCE = {
    "llm.input_messages.0.message.role": "system",
    "llm.input_messages.0.message.content": "Be brief.",
    "llm.input_messages.1.message.role": "user",
    "llm.input_messages.1.message.contents.0.message_content.type": "text",
    "llm.input_messages.1.message.contents.0.message_content.text": "Rain?",
    "llm.input_messages.2.message.role": "assistant",
    "llm.input_messages.2.message.tool_calls.0.tool_call.id": "c1",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.name": "weather",
    "llm.input_messages.2.message.tool_calls.0.tool_call.function.arguments": ARGUMENTS,
    "llm.input_messages.3.message.role": "tool",
    "llm.input_messages.3.message.tool_call_id": "c1",
    "llm.input_messages.3.message.content": "dry",
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": "No.",
}
OPENLLMETRY = {
    "gen_ai.prompt.0.role": "system",
    "gen_ai.prompt.0.content": "Be brief.",
    "gen_ai.prompt.1.role": "user",
    "gen_ai.prompt.1.content": '[{"type": "text", "text": "Rain?"}]',
    "gen_ai.prompt.2.role": "assistant",
    "gen_ai.prompt.2.tool_calls.0.id": "c1",
    "gen_ai.prompt.2.tool_calls.0.name": "weather",
    "gen_ai.prompt.2.tool_calls.0.arguments": ARGUMENTS,
    "gen_ai.prompt.3.role": "tool",
    "gen_ai.prompt.3.tool_call_id": "c1",
    "gen_ai.prompt.3.content": "dry",
    "gen_ai.completion.0.role": "assistant",
    "gen_ai.completion.0.content": "No.",
    "gen_ai.completion.0.finish_reason": "stop",
}
GENAI = {
    "gen_ai.system_instructions": json.dumps(PROMPT[0]["parts"]),
    "gen_ai.input.messages": json.dumps(PROMPT[1:]),
    "gen_ai.output.messages": json.dumps(REPLY),
}
CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": ARGUMENTS}}
EVENTS = (
    event("system.message", content="Be brief."),
    event("user.message", content="Rain?"),
    event("assistant.message", tool_calls=[CALL]),
    event("tool.message", id="c1", content="dry"),
    event("choice", index=0, finish_reason="stop", message={"role": "assistant", "content": "No."}),
)


@pytest.mark.parametrize(
    ("attributes", "events"),
    [(OPENINFERENCE, ()), (OPENLLMETRY, ()), (GENAI, ()), ({}, EVENTS),
     ({}, (SpanEvent(name="gen_ai.client.inference.operation.details", unix_ns=1, attributes=GENAI),))],
    ids=["openinference", "openllmetry", "genai", "events", "details"],
)  # fmt: skip
def test_every_vocabulary_is_the_same_conversation(attributes: dict[str, Any], events: tuple[SpanEvent, ...]) -> None:
    """System first, calls of tools with their arguments, what they returned, and the reply."""
    found = kept(attributes, *events)
    assert read(found) == (PROMPT, REPLY)
    assert "gen_ai.system_instructions" not in found, "it would be shown twice"
    assert {key: found[key] for key in attributes if key not in GENAI}.items() <= attributes.items(), "all stays"


@pytest.mark.parametrize("program", ["langgraph", "pydantic_ai", "openai_agents"])
def test_recorded_programs_have_conversations(program: str) -> None:
    """Each of four calls: what was asked first, and then calls of tools by name with what they returned."""
    spans = spans_of(json.loads((DATA / f"{program}.json").read_text()))
    calls = [with_contents(found, span) for span in spans if (found := mapped(span, HASH)) is not span]
    read_ = [read(call) for call in calls if call.get(attr.OPERATION) == "model" and attr.GENAI_INPUT_MESSAGES in call]
    prompts, replies = zip(*sorted(read_, key=lambda each: len(each[0])), strict=True)
    assert len(prompts) == 4 and [len(prompt) for prompt in prompts] == sorted({len(prompt) for prompt in prompts})
    assert "Lisbon" in json.dumps(prompts[0])
    parts = [part for message in prompts[-1] for part in message["parts"]]
    names = [part["name"] for part in parts if part["type"] == "tool_call"]
    assert names == ["get_weather", "find_hotels", "get_weather"]
    assert all(part["response"] for part in parts if part["type"] == "tool_call_response")
    assert sum(part["type"] == "tool_call_response" for part in parts) == 3
    assert replies[-1][0]["parts"][0]["type"] == "text"


def test_a_long_conversation_is_whole_json() -> None:
    """Where the raw attribute would be cut in the middle."""
    long = [{"role": "user", "parts": [text("x" * 5_000)]} for _ in range(10)]
    found = kept({"gen_ai.input.messages": json.dumps(long)})[attr.GENAI_INPUT_MESSAGES]
    assert len(found) <= MOST_BYTES and len(json.loads(found)) == 10


def test_what_is_no_conversation_stays_as_it_was_sent() -> None:
    """Half a JSON text, and spans without messages."""
    half = json.dumps(PROMPT)[:-4]
    assert kept({"gen_ai.input.messages": half})["gen_ai.input.messages"] == half
    found = kept({"input.value": "Rain?"})
    assert found["input.value"] == "Rain?" and attr.GENAI_INPUT_MESSAGES not in found


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | st.integers(), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(sorted({*OPENINFERENCE, *OPENLLMETRY, *GENAI, "gen_ai.prompt.1", "gen_ai.prompt.0.tool_calls"}))


@given(st.dictionaries(keys, json_values | json_values.map(lambda value: json.dumps(value, default=str)), max_size=8))
def test_hostile_values_are_survived(given: dict[str, Any]) -> None:
    """Any value under any name: a text that fits, or nothing, never an error."""
    found = kept(given, event("user.message", **given), event("choice", message=given))
    for name in (attr.GENAI_INPUT_MESSAGES, attr.GENAI_OUTPUT_MESSAGES):
        value = found.get(name)
        if isinstance(value, str) and name not in given:
            assert len(value.encode("utf-8", "replace")) <= MOST_BYTES
