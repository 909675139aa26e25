"""Server-sent events: any cut of the bytes gives the same events, within bounds."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.models.sse import EventParser, EventTooLong


@given(
    events=st.lists(st.lists(st.text(st.characters(exclude_characters="\r\n", codec="utf-8")), min_size=1), max_size=5),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 200)),
)
def test_cuts_do_not_matter(events: list[list[str]], newline: str, cuts: list[int]) -> None:
    """Wherever the network cuts the stream, and whichever line ends it uses, the events are the same."""
    raw = "".join("".join(f"data: {line}{newline}" for line in event) + newline for event in events).encode()
    parser = EventParser()
    borders = sorted({0, *(cut for cut in cuts if cut < len(raw)), len(raw)})
    found = [event for a, b in pairwise(borders) for event in parser.feed(raw[a:b])]
    assert found == ["\n".join(event) for event in events]


def test_only_data_counts() -> None:
    """Comments, names and ids are skipped; an event without data is none; an unfinished one waits."""
    parser = EventParser()
    assert parser.feed(b": hello\nevent: x\nid: 3\n\ndata:a\ndata\ndata: b\n\ndata: c\n") == ["a\n\nb"]
    assert parser.feed(b"\n") == ["c"]


@pytest.mark.parametrize("piece", [b"x" * 60, b"data: " + b"x" * 40 + b"\n"])
def test_an_endless_event_is_refused(piece: bytes) -> None:
    """Neither a line nor an event without end is kept."""
    parser = EventParser(longest=100)
    with pytest.raises(EventTooLong):
        for _ in range(4):
            parser.feed(piece)
