"""Subjects and patterns."""

import re

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.bus.matching import is_pattern, matches, overlap

_subject = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map(".".join)
_pattern = st.tuples(st.lists(st.sampled_from("abc*"), min_size=1, max_size=4), st.booleans()).map(
    lambda parts: ".".join([*parts[0], *([">"] if parts[1] else [])])
)


@given(_pattern, _subject)
def test_matches_is_the_regular_expression(pattern: str, subject: str) -> None:
    """``*`` is one token and a last ``>`` one or more, as the regular expression says."""
    expression = pattern.replace(".", r"\.").replace("*", "[^.]+").replace(">", ".+")
    assert matches(pattern, subject) == bool(re.fullmatch(expression, subject))


@given(_pattern, _pattern, _subject)
def test_patterns_overlap_where_they_share_a_subject(one: str, other: str, subject: str) -> None:
    """Both ways round; what matches both is in the overlap."""
    assert overlap(one, other) == overlap(other, one)
    if matches(one, subject) and matches(other, subject):
        assert overlap(one, other)


@given(_pattern, _pattern)
def test_patterns_that_overlap_have_a_subject_in_common(one: str, other: str) -> None:
    """It is found by filling the wildcards of each with the tokens of the other."""
    ours, theirs = one.split("."), other.split(".")
    length = max(len(ours), len(theirs)) + 1
    shared = False
    for size in range(1, length + 1):
        filled = []
        for place in range(size):
            tokens = {part[min(place, len(part) - 1)] for part in (ours, theirs)} - {"*", ">"}
            filled.append(min(tokens, default="a"))
        shared = shared or (matches(one, ".".join(filled)) and matches(other, ".".join(filled)))
    assert overlap(one, other) == shared


@given(_subject)
def test_a_subject_matches_itself_and_all(subject: str) -> None:
    """Equal matches, ``>`` matches everything, and neither is mistaken for a pattern."""
    assert matches(subject, subject) and matches(">", subject)
    assert not is_pattern(subject)
