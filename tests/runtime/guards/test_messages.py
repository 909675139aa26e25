"""A handler's function between its guards, or without any."""

import pytest

from antiphon import Context, Message
from antiphon.runtime.guards import Guard, forbids
from antiphon.runtime.guards.guard import Guards
from antiphon.runtime.guards.messages import guarded
from antiphon.schemas.identity import Address


class Note(Message):
    """A text."""

    text: str


async def echo(note: Note, ctx: Context) -> Note:
    """Say it again."""
    return note


@pytest.mark.parametrize("guards", [None, Guards([forbids("x", "model.input", "tool.result")])])
def test_a_handler_without_guards_of_its_own_pays_nothing(guards: Guards | None) -> None:
    """Its function is the very one that was written."""
    assert guarded(echo, guards, Address("a", "echo")) is echo


@pytest.mark.parametrize("guard", [forbids("x", "handler.input"), forbids("x", "handler.output")])
def test_one_on_either_side_is_enough(guard: Guard) -> None:
    """To stand around it."""
    assert guarded(echo, Guards([guard]), Address("a", "echo")) is not echo
