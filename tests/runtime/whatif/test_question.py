"""What may be asked: parsed, refused with what was expected."""

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.whatif.question import Change, Verb, parse
from antiphon.runtime.whatif.selection import Kind, Selection


def test_all_flags_become_changes_in_the_order_of_their_effect() -> None:
    """Another model before its factor, structure after durations, whatever the order on the command line."""
    question = parse(
        hedge=["tool:z=500ms"],
        parallelise=["agent:clerk.refund=4", "agent:clerk"],
        single_flight=["model:m"],
        least_attained=["model:m"],
        drop=["agent:judge"],
        remove=["tool:x"],
        dedupe=["tool:y", "tool:w=60s"],
        scale=["model:critic=0.5"],
        swap=["model:a=b:7"],
        pool=["agent:critic=8", "model:m@n=2"],
    )
    assert [(c.verb, str(c.selection), c.number, c.model) for c in question.changes] == [
        (Verb.SWAP, "model:a", None, "b:7"),
        (Verb.SCALE, "model:critic", 0.5, ""),
        (Verb.DEDUPE, "tool:y", None, ""),
        (Verb.DEDUPE, "tool:w", 60.0, ""),
        (Verb.DEDUPE, "model:m", 0.0, ""),
        (Verb.REMOVE, "tool:x", None, ""),
        (Verb.DROP, "agent:judge", None, ""),
        (Verb.PARALLELISE, "agent:clerk.refund", 4, ""),
        (Verb.PARALLELISE, "agent:clerk", None, ""),
        (Verb.HEDGE, "tool:z", 0.5, ""),
    ]
    assert question.pools == {"agent:critic": 8, "model:m@n": 2}
    assert question.least_attained == ("model:m",)


@pytest.mark.parametrize(
    ("flag", "text", "said"),
    [
        ("pool", "agent:critic", "NAME=VALUE"),
        ("pool", "agent:critic=0", "from 1"),
        ("pool", "agent:critic=many", "whole number"),
        ("pool", "agent:critic=" + "9" * 5_000, "whole number"),
        ("scale", "critic=0.5", "agent:NAME"),
        ("scale", "model:m=-1", "factor"),
        ("scale", "model:m=nan", "factor"),
        ("scale", "model:m=1e9", "factor"),
        ("swap", "tool:a=b", "model:NAME=OTHER"),
        ("hedge", "tool:z", "NAME=VALUE"),
        ("hedge", "tool:z=soon", "the delay"),
        ("dedupe", "tool:y=0s", "the age"),
        ("remove", "tool:", "names nothing"),
        ("drop", "queue:x", "names nothing"),
        ("parallelise", "tool:x", "agent:NAME"),
        ("parallelise", "agent:x=1", "2 or more"),
    ],
)
def test_what_cannot_be_read_is_said(flag: str, text: str, said: str) -> None:
    """With what was found and what was expected."""
    with pytest.raises(ConfigurationError, match=said):
        parse(**{flag: [text]})


def test_nothing_asked_is_an_error() -> None:
    """A replay without a change answers nothing."""
    with pytest.raises(ConfigurationError, match="--pool"):
        parse()


def test_selections_print_as_they_are_typed() -> None:
    """And may have any name after the first colon."""
    assert str(Selection.parse("model:org/m:7b")) == "model:org/m:7b"
    assert Change(verb=Verb.REMOVE, selection=Selection(kind=Kind.TOOL, name="x")).number is None
