"""Which field takes what is typed, and which names the conversation."""

from typing import Any

import pytest

from antiphon.runtime.cli.chat_form import Form, answer_of, form_of
from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.identity import Address
from antiphon.schemas.node import HandlerCard, TypeCard

SAY = Address("bot", "say")


def card(*required: str, keyed: bool = True, **properties: str) -> HandlerCard:
    """A handler whose message has these text fields, and others by their type."""
    types = dict.fromkeys(required, "string") | properties
    schema: dict[str, Any] = {
        "properties": {name: {"type": type_} for name, type_ in types.items()},
        "required": [name for name in required],
    }
    found = TypeCard(name="Line", version=1, json_schema=schema)
    return HandlerCard(name="say", description="", input=found, output=found, keyed=keyed)


def form(found: HandlerCard, field: str = "", session: str = "") -> Form:
    return form_of(SAY, found, field=field, session=session, default_session="me")


@pytest.mark.parametrize(
    ("found", "field", "session", "message"),
    [
        (card("text", keyed=False), "", "", {"text": "hi"}),
        (card("question", keyed=False), "", "", {"question": "hi"}),
        (card("user", "text"), "", "", {"user": "me", "text": "hi"}),
        (card("user", "text"), "", "ada", {"user": "ada", "text": "hi"}),
        (card("a", "b"), "a", "ada", {"a": "hi", "b": "ada"}),
        (card("a", "b"), "", "b=ada", {"a": "hi", "b": "ada"}),
        (card("user", "text"), "", "user=a=b", {"user": "a=b", "text": "hi"}),
        (card("user", "text"), "", "team=a", {"user": "team=a", "text": "hi"}),
        (card("text", room="string"), "", "room=kitchen", {"text": "hi", "room": "kitchen"}),
        (card("text", room="string"), "", "", {"text": "hi"}),
        (card("text", "note", keyed=False), "note", "", None),
        (card("user", "text"), "text", "", {"user": "me", "text": "hi"}),
    ],
)
def test_a_line_becomes_a_message(found: HandlerCard, field: str, session: str, message: dict[str, str] | None) -> None:
    """By the names of its fields, and by what is required; what else is required stops it."""
    if message is None:
        with pytest.raises(ConfigurationError, match="also requires text"):
            form(found, field, session)
    else:
        assert form(found, field, session).message("hi") == message


@pytest.mark.parametrize(
    ("found", "field", "session", "says"),
    [
        (card("text", keyed=False), "", "ada", "bot.say has no key, so it keeps no conversations"),
        (card("text"), "nothing", "", "Line of bot.say has no text field 'nothing'; it has: text"),
        (card("text", n="integer"), "", "n=4", "has no text field 'n'; it has: text"),
        (card("a", "b"), "", "ada", "which field of Line takes what is typed .*: a, b"),
        (card("n", keyed=False, n="integer"), "", "", "Line of bot.say has no text field for what is typed"),
        (card(keyed=False, a="string"), "", "", "Say --field NAME; its required text fields: none"),
        (card("text"), "", "ada", "Say --session FIELD=NAME; required besides 'text': none"),
        (card("text", "a", "b"), "", "ada", "required besides 'text': a, b"),
        (card("text", "a", "b"), "", "", "also requires a, b: a chat fills one text field"),
    ],
)
def test_what_cannot_be_filled_is_said(found: HandlerCard, field: str, session: str, says: str) -> None:
    """With what there is, and what to say."""
    with pytest.raises(ConfigurationError, match=says):
        form(found, field, session)


def test_an_answer_is_the_one_text_field_of_the_reply() -> None:
    """Whatever else it has; none with several."""
    assert answer_of(card("text", n="integer"), {"text": "hi", "n": 4}) == "hi"
    assert answer_of(card("a", "b"), {"a": "x", "b": "y"}) is None
