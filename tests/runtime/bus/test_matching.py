"""Subjects and patterns."""

import re

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.bus.matching import is_pattern, matches

_subject = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)
_pattern = st.tuples(st.lists(st.sampled_from("abc*"), min_size=1, max_size=4), st.booleans()).map(
    lambda parts: ".".join([*parts[0], *([">"] if parts[1] else [])])
)


@given(_pattern, _subject)
def test_matches_is_the_regular_expression(pattern: str, subject: str) -> None:
    """``*`` is one token and a last ``>`` one or more, as the regular expression says."""
    expression = pattern.replace(".", r"\.").replace("*", "[^.]+").replace(">", ".+")
    assert matches(pattern, subject) == bool(re.fullmatch(expression, subject))


@given(_subject)
def test_a_subject_matches_itself_and_all(subject: str) -> None:
    """Equal matches, ``>`` matches everything, and neither is mistaken for a pattern."""
    assert matches(subject, subject) and matches(">", subject)
    assert not is_pattern(subject)
