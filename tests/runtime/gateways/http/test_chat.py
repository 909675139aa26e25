from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.gateways.http.chat import ChatRequest, chat_input, still_to_say, text_of
from antiphon.runtime.gateways.http.refusals import Refusal
from antiphon.schemas.node import HandlerCard, TypeCard


def card(**fields: Any) -> HandlerCard:
    """A handler whose input has these properties; those whose name ends in ? are not required."""
    schema = {
        "type": "object",
        "properties": {name.rstrip("?"): shape for name, shape in fields.items()},
        "required": [name for name in fields if not name.endswith("?")],
    }
    type_ = TypeCard(name="T", version=1, json_schema=schema)
    return HandlerCard(name="h", description="", input=type_, output=type_)


STRING = {"type": "string"}
TURNS = {"type": "array", "items": {"type": "object", "properties": {"role": STRING, "content": STRING}}}
CHAT = {
    "model": "agent:a.h",
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "text", "text": "wo"}]},
    ],
    "temperature": 0.3,
    "user": "ada",
}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"text": STRING}, "text"),
        ({"question": STRING, "limit?": {"type": "integer"}}, "question"),
        ({"user": STRING, "text": STRING}, "text"),
        ({"messages": TURNS, "tone?": STRING}, "messages"),
        ({"user": STRING, "messages": TURNS}, "messages"),
        ({"n": {"type": "integer"}}, None),
        ({"title": STRING, "text": STRING}, None),
        ({"text?": STRING}, None),
        ({"messages": {"type": "array", "items": STRING}}, None),
        ({"messages": TURNS, "tone": STRING}, None),
        ({}, None),
    ],
)
def test_which_handlers_can_be_talked_to(fields: dict[str, Any], field: str | None) -> None:
    """Nothing is required but one text, or a conversation; a text called user is the caller's user."""
    found = chat_input(card(**fields))
    assert (found.field if found else None) == field


def test_items_may_be_a_definition() -> None:
    """As pydantic writes a list of models."""
    handler = card(messages={"type": "array", "items": {"$ref": "#/$defs/Turn"}})
    handler.input.json_schema["$defs"] = {"Turn": {"properties": {"role": STRING, "content": STRING}}}
    assert chat_input(handler) is not None
    handler.input.json_schema["$defs"] = {"Turn": {"properties": {"speaker": STRING}}}
    assert chat_input(handler) is None


def test_what_a_handler_is_given() -> None:
    """The newest turn of the user, or all of them as they are; the user where there is a field for it."""
    chat = ChatRequest.model_validate(CHAT)
    text, turns, user = (
        chat_input(card(**f)) for f in ({"q": STRING}, {"messages": TURNS}, {"user": STRING, "q": STRING})
    )
    assert text is not None and turns is not None and user is not None
    assert text.message(chat) == {"q": "two"}
    assert user.message(chat) == {"q": "two", "user": "ada"}
    assert turns.message(chat) == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": ""},
            {"role": "user", "content": "two"},
        ]
    }


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "only this"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}],
    ],
)
def test_what_cannot_be_said(messages: list[Any]) -> None:
    """A conversation without a user, and pictures, are refused rather than guessed at."""
    form = chat_input(card(q=STRING))
    assert form is not None
    with pytest.raises(Refusal, match=r"expected one of role user|agents take text"):
        form.message(ChatRequest.model_validate(CHAT | {"messages": messages}))


@pytest.mark.parametrize(
    ("fields", "reply", "text"),
    [
        ({"text": STRING}, {"text": "hi"}, "hi"),
        ({"answer": STRING}, {"answer": ""}, ""),
        ({"text": STRING, "sources": {"type": "array"}}, {"text": "hi", "sources": ["ü"]}, "hi"),
        ({"n": {"type": "integer"}}, {"n": 1}, '{"n": 1}'),
        ({"title": STRING, "text": STRING}, {"title": "a", "text": "ü"}, '{"title": "a", "text": "ü"}'),
        ({}, {}, "{}"),
    ],
)
def test_a_reply_as_text(fields: dict[str, Any], reply: Any, text: str) -> None:
    """The one text field; where there are several or none, nothing is left out."""
    assert text_of(card(**fields), reply) == text


@pytest.mark.parametrize(
    ("shown", "reply", "rest"),
    [
        ("", "all of it", "all of it"),
        ("all of", "all of it", " it"),
        ("all of it", "all of it", ""),
        ("\nall of it \n", "all of it", ""),
        ('{"text": "all of it"}', "all of it", ""),
        ("thinking…", "42", "\n\n42"),
    ],
)
def test_what_is_still_to_say(shown: str, reply: str, rest: str) -> None:
    """A reader who has followed the tokens gets the rest; one who saw something else gets the whole reply."""
    assert still_to_say(shown, reply) == rest


@given(st.text(), st.text())
def test_the_reader_always_has_the_whole_reply(shown: str, reply: str) -> None:
    """Whatever was shown before, the reply is in what was shown in the end."""
    assert reply.strip() in shown + still_to_say(shown, reply)
