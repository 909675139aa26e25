"""Long texts fall into pieces that a small change leaves as they were, all but one or two."""

import random

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.models.pieces import LEAST, MOST_PIECES, pieces

WORDS = [f"word{n}" for n in range(500)]


def prose(seed: int, sentences: int) -> str:
    """Sentences of random words."""
    rng = random.Random(seed)
    return "".join(" ".join(rng.choices(WORDS, k=rng.randrange(4, 20))) + ". " for _ in range(sentences))


@given(st.text(max_size=5_000))
def test_pieces_are_the_text(text: str) -> None:
    """Put together they give the text, whatever it is."""
    assert "".join(pieces(text)) == text


@given(st.integers(0, 10_000), st.integers(10, 2_000))
def test_pieces_are_bounded(seed: int, sentences: int) -> None:
    """None but the last is shorter than the least, and there are not many."""
    found = pieces(prose(seed, sentences))
    assert all(len(piece) >= LEAST for piece in found[:-1])
    assert len(found) <= MOST_PIECES + 1


@given(st.integers(0, 1_000))
def test_a_change_at_the_beginning_leaves_the_rest(seed: int) -> None:
    """A date in front of a long text changes the first pieces, and most of the later ones are found again."""
    text = prose(seed, 400)
    before, after = pieces(f"It is 10:42. {text}"), pieces(f"It is Tuesday, 10:43 in the morning. {text}")
    again = set(before) & set(after)
    assert before[0] != after[0]
    assert sum(map(len, again)) > 0.8 * len(text)


def test_a_short_text_is_one_piece() -> None:
    """Questions and tool results are not cut."""
    assert pieces("What is the weather? Tell me. ") == ["What is the weather? Tell me. "]


def test_a_text_without_any_end_is_one_piece() -> None:
    """Encoded data has no sentences; it is not cut in arbitrary places."""
    assert len(pieces("A" * 100_000)) == 1
