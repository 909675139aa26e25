"""Finding what was said before."""

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.engine.token_history import KEY_TOKENS, LONGEST_MATCH, TokenHistory

TEXT = st.lists(st.integers(0, 2), max_size=40)


def longest(texts: list[list[int]], suffix: list[int]) -> int:
    """The length of the longest end of ``suffix`` that some text goes on from, by looking everywhere."""
    found = 0
    for text in texts:
        for place in range(1, len(text)):
            length = 0
            while length < min(place, len(suffix)) and text[place - 1 - length] == suffix[-1 - length]:
                length += 1
            found = max(found, length)
    return found if found >= KEY_TOKENS else 0


@given(texts=st.lists(TEXT, max_size=4), suffix=TEXT)
def test_a_match_is_real_and_found_where_there_is_one(texts: list[list[int]], suffix: list[int]) -> None:
    """What matches is the end of the suffix; of few candidates the longest; texts do not run into one another."""
    history = TokenHistory(256)
    for text in texts:
        history.extend(text)
        history.end_text()
    place, length = history.match(suffix)
    best = longest(texts, suffix)
    assert (length > 0) == (best > 0)
    assert length <= best
    if length:
        joined = [token for text in texts for token in (*text, -1)]
        assert joined[place - length : place] == suffix[-length:]
        following = history.following(place, 5)
        expected = joined[place : place + 5]
        assert following == (expected[: expected.index(-1)] if -1 in expected else expected)


@given(st.lists(st.lists(st.integers(0, 2), max_size=12), max_size=10))
def test_old_text_is_written_over(texts: list[list[int]]) -> None:
    """With room for 16 tokens, whatever is found still lies there."""
    history = TokenHistory(16)
    everything: list[int] = []
    for text in texts:
        history.extend(text)
        history.end_text()
        everything += [*text, -1]
        place, length = history.match(text)
        if length:
            following = history.following(place, 4)
            assert place - length >= history.end - 16
            assert everything[place - length : place + len(following)] == [*text[-length:], *following]


def test_a_text_that_repeats_itself_goes_round() -> None:
    """What follows the end of the text is what followed before, as often as it takes."""
    history = TokenHistory(64)
    history.extend([7, 1, 2, 3, 1, 2, 3])
    place, length = history.match([7, 1, 2, 3, 1, 2, 3])
    assert (place, length) == (4, 3)
    assert history.following(place, 8) == [1, 2, 3, 1, 2, 3, 1, 2]


def test_the_latest_of_equal_matches_counts() -> None:
    """A habit that changed; but a longer match outweighs a later one."""
    history = TokenHistory(64)
    for text in ([9, 1, 2, 3, 4], [8, 1, 2, 3, 5], [6, 1, 2, 3, 6]):
        history.extend(text)
        history.end_text()
    assert history.following(history.match([1, 2, 3])[0], 1) == [6]
    assert history.following(history.match([9, 1, 2, 3])[0], 1) == [4]
    assert history.match([2, 3]) == (0, 0)


def test_matches_are_not_measured_without_end() -> None:
    """Beyond LONGEST_MATCH a match is good enough."""
    history = TokenHistory(256)
    history.extend(range(200))
    assert history.match(list(range(150))) == (150, LONGEST_MATCH)
