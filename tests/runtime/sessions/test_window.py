"""What of a conversation a model is shown."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.sessions.window import Window, exchanges, tokens_of, without_tools
from antiphon.schemas.inference import Role, TextPart, ToolCall, ToolResult, Turn, turn

USER = turn(Role.USER, "What is the time?")
REPLY = turn(Role.ASSISTANT, "Noon.")
CALL = Turn(role=Role.ASSISTANT, parts=(TextPart(text="One moment."), ToolCall(id="1", name="clock", arguments={})))
RESULT = Turn(role=Role.TOOL, parts=(ToolResult(id="1", name="clock", content="12:00 " * 100),))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Turn, ...]:
    """Users, replies, and calls that are answered at once, later, or never; ids are used again."""
    turns: list[Turn] = []
    for n in range(draw(st.integers(0, 8))):
        turns += [turn(Role.USER, draw(st.text(max_size=40)))] * draw(st.integers(0, 2))
        ids = draw(st.lists(st.sampled_from("abc"), unique=True, max_size=3))
        if ids:
            turns.append(Turn(role=Role.ASSISTANT, parts=tuple(ToolCall(id=i, name="t", arguments={}) for i in ids)))
            turns += [turn(Role.USER, "meanwhile")] * draw(st.integers(0, 1))
            for i in ids[: draw(st.integers(0, 3))]:
                content = draw(st.text(max_size=200))
                turns.append(Turn(role=Role.TOOL, parts=(ToolResult(id=i, name="t", content=content),)))
        turns += [turn(Role.ASSISTANT, f"reply {n}")] * draw(st.integers(0, 1))
    return tuple(turns)


WINDOWS = st.builds(Window, tokens=st.integers(1, 300), turns=st.none() | st.integers(1, 20), summarise=st.just(False))


@given(turns=conversations(), window=WINDOWS)
def test_a_window_is_the_end_of_the_conversation_in_order_and_in_its_bounds(
    turns: tuple[Turn, ...], window: Window
) -> None:
    """Whole exchanges from the newest back; only the oldest that is shown may be without its tools."""
    shown = window.cut(turns)
    assert window.holds(shown)
    whole, spoken = list(exchanges(turns)), shown
    while whole and spoken and spoken[-len(whole[-1]) :] == whole[-1]:
        spoken = spoken[: -len(whole.pop())]
    assert spoken == () or spoken == without_tools(whole[-1])


@given(turns=conversations())
def test_no_result_is_parted_from_its_call(turns: tuple[Turn, ...]) -> None:
    """Each call that is answered at all is answered in its own exchange."""
    assert [pair for part in exchanges(turns) for pair in _answered(part)] == _answered(turns)


@given(turns=conversations())
def test_everything_is_in_some_exchange(turns: tuple[Turn, ...]) -> None:
    """Nothing is lost where a conversation is cut, and each part but the first begins with a user."""
    parts = exchanges(turns)
    assert tuple(found for part in parts for found in part) == turns
    assert all(part[0].role is Role.USER for part in parts[1:])


def test_an_exchange_that_does_not_fit_is_shown_without_its_tools() -> None:
    """And nothing older than it."""
    turns = (USER, REPLY, USER, CALL, RESULT, REPLY)
    assert Window(tokens=40).cut(turns) == (USER, turn(Role.ASSISTANT, "One moment."), REPLY)
    assert Window(tokens=400).cut(turns) == turns
    assert Window(tokens=5).cut(turns) == ()


def test_turns_are_counted_in_whole_exchanges() -> None:
    """An exchange of two does not fit into one more turn."""
    assert Window(turns=3).cut((USER, REPLY, USER, REPLY)) == (USER, REPLY)
    assert Window(turns=4).cut((USER, REPLY) * 3) == (USER, REPLY) * 2


@given(turns=conversations(), tokens=st.integers(256, 600), limit=st.none() | st.integers(4, 20))
def test_what_overflows_leaves_half_of_the_window(turns: tuple[Turn, ...], tokens: int, limit: int | None) -> None:
    """Nothing is summed up while all fits; else whole exchanges are, and what stays fits behind the summary."""
    window = Window(tokens=tokens, turns=limit, summarise=True)
    summary = (turn(Role.USER, "Sum up."), turn(Role.ASSISTANT, "s" * tokens))  # a quarter of the window
    old = window.overflow(summary, turns)
    if window.holds((*summary, *turns)):
        assert old == 0
    else:
        assert old > 0
        assert old in {sum(map(len, exchanges(turns)[:n])) for n in range(len(turns) + 1)}
        assert window.cut(turns[old:], behind=summary) == (*summary, *turns[old:])


def test_tokens_are_a_quarter_of_the_bytes() -> None:
    """And four for each turn, tool calls and results counted as JSON."""
    assert tokens_of((turn(Role.USER, "12345678"),)) == 6
    assert tokens_of((turn(Role.USER, "漢字"),)) == 6
    assert tokens_of((RESULT,)) > 150
    assert tokens_of(()) == 0


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"tokens": 0}, "tokens are 0, expected 1 or more"),
        ({"turns": 0}, "turns are 0, expected 1 or more, or None"),
        ({"tokens": 100, "summarise": True}, "tokens are 100, expected 256 or more"),
        ({"turns": 3, "summarise": True}, "turns are 3, expected 4 or more, or None"),
    ],
)
def test_a_window_that_cannot_be_is_refused(given_: dict[str, Any], says: str) -> None:
    """With the number and what was expected."""
    with pytest.raises(ConfigurationError, match=says):
        Window(**given_)


def _answered(turns: tuple[Turn, ...]) -> list[tuple[str, str]]:
    """Each result that has its call before it: the id, and the content."""
    called: set[str] = set()
    found: list[tuple[str, str]] = []
    for part in (part for each in turns for part in each.parts):
        if isinstance(part, ToolCall):
            called.add(part.id)
        elif isinstance(part, ToolResult) and part.id in called:
            called.discard(part.id)
            found.append((part.id, part.content))
    return found
