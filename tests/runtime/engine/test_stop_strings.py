"""Cutting at stop strings."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.engine.stop_strings import StopStrings


def run(stops: list[str], pieces: list[str]) -> tuple[str, bool]:
    """What is shown of the pieces, and whether it stopped."""
    filter_ = StopStrings(stops)
    shown = ""
    for piece in pieces:
        shown += filter_.push(piece)
        if filter_.stopped:
            return shown, True
    return shown + filter_.flush(), False


def test_a_stop_string_in_pieces_is_never_shown() -> None:
    """Its beginning is held back until it is complete or turns out to be something else."""
    filter_ = StopStrings(["END"])
    assert [filter_.push(piece) for piece in ("aE", "N", "xE", "ND")] == ["a", "", "ENx", ""]
    assert filter_.stopped


def test_the_earliest_of_several_cuts() -> None:
    """Text after it is gone."""
    assert run(["yy", "x"], ["abyyx"]) == ("ab", True)
    assert run(["b", "ab"], ["ab"]) == ("", True)


def test_without_stop_strings_nothing_is_held() -> None:
    """Text passes at once."""
    assert StopStrings([]).push("abc") == "abc"


@given(
    stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3),
    pieces=st.lists(st.text("abc", max_size=4), max_size=10),
)
def test_cutting_into_pieces_changes_nothing_that_is_not_a_stop(stops: list[str], pieces: list[str]) -> None:
    """What is shown contains no stop string, begins the text, and is all of it if none occurs."""
    text = "".join(pieces)
    shown, stopped = run(stops, pieces)
    assert stopped == any(stop in text for stop in stops)
    assert text.startswith(shown)
    assert not any(stop in shown for stop in stops)
    if not stopped:
        assert shown == text
