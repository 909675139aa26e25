"""The wire identity of messages, and how strict they are."""

import pytest
from pydantic import ValidationError

from antiphon import Message


class Question(Message):
    """Named after its class."""

    text: str


class Renamed(Message, name="Question", version=2):
    """Keeps its wire name, with another shape."""

    words: str


def test_the_name_is_the_class_s_unless_given() -> None:
    """A subclass has its own identity; it does not inherit its parent's."""

    class Longer(Renamed):
        more: str = ""

    assert (Question.message_name, Question.message_version) == ("Question", 1)
    assert (Renamed.message_name, Renamed.message_version) == ("Question", 2)
    assert (Longer.message_name, Longer.message_version) == ("Longer", 1)


def test_a_generic_message_has_a_name_a_header_can_carry() -> None:
    """Brackets of a parametrised class become underscores."""
    from typing import Generic, TypeVar

    T = TypeVar("T")

    class Box(Message, Generic[T]):
        content: T

    assert Box[int].message_name == "Box_int_"


@pytest.mark.parametrize("name", ["", "1st", "a-b", "a b", "ä", "x" * 65])
def test_a_name_that_no_header_can_carry_is_refused(name: str) -> None:
    """Where the class is defined."""
    with pytest.raises(TypeError, match="expected letters, digits and _"):
        type("Odd", (Message,), {}, name=name)


def test_versions_begin_at_one() -> None:
    """Zero would look like a missing header."""
    with pytest.raises(TypeError, match="version is 0, expected 1 or more"):
        type("Odd", (Message,), {}, version=0)


def test_messages_are_frozen_and_refuse_what_they_do_not_know() -> None:
    """A typing mistake surfaces where it is made."""
    with pytest.raises(ValidationError, match="frozen"):
        Question(text="a").text = "b"
    with pytest.raises(ValidationError, match="Extra inputs"):
        Question.model_validate({"text": "a", "txet": "b"})
