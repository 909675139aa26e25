"""The words of a text."""

import pytest

from antiphon.agents.knowledge.words import query_words, words_of


def test_words_are_compared_without_case_and_marks() -> None:
    """In order, repeated where the text repeats them."""
    assert words_of("The Cat's cat, NATS-2!") == ["the", "cat", "s", "cat", "nats", "2"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("How do I answer an approval, and an approval?", ["answer", "approval"]),
        ("what is it", ["what", "is", "it"]),
        ('"; NEAR(', ["near"]),
        ("?!", []),
    ],
)
def test_a_query_looks_for_words_that_say_something(text: str, words: list[str]) -> None:
    """Each once; where none does, for all there are."""
    assert query_words(text) == words
