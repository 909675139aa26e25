"""Names and ids."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.schemas.identity import Address, InvalidName, check_task, check_topic, derived_id, new_id

PARTS = st.lists(st.text(st.characters(codec="utf-8")), max_size=4)


@given(PARTS, PARTS)
def test_derived_ids_are_equal_exactly_for_equal_parts(one: list[str], other: list[str]) -> None:
    """Moving a boundary between parts gives another id; every id is 32 hexadecimal digits."""
    assert (derived_id(*one) == derived_id(*other)) is (one == other)
    assert check_task(derived_id(*one)) == derived_id(*one)
    assert len(derived_id(*one)) == 32


def test_a_boundary_counts() -> None:
    """The example of the docstring."""
    assert derived_id("ab", "c") != derived_id("a", "bc")


def test_new_ids_differ_and_may_be_task_ids() -> None:
    """128 random bits."""
    assert len({new_id() for _ in range(100)}) == 100
    assert check_task(new_id())


@pytest.mark.parametrize("text", ["writer", "", ".", "writer.", ".write", "a.b.c", "Writer.write", "wri ter.write"])
def test_what_is_no_address_is_refused(text: str) -> None:
    """One dot between two names."""
    with pytest.raises(InvalidName, match="expected"):
        Address.parse(text)


@pytest.mark.parametrize("topic", ["", ".", "a.", ".a", "a..b", "a.>", "*", "A", ".".join("abcdefghi")])
def test_what_is_no_topic_is_refused(topic: str) -> None:
    """Eight names at most, no wildcards."""
    with pytest.raises(InvalidName, match="expected dot-separated names"):
        check_topic(topic)


@pytest.mark.parametrize("task", ["", "a.b", "a b", "a/b", "*", "ä", "x" * 129, "line\n"])
def test_what_is_no_task_id_is_refused(task: str) -> None:
    """It becomes a subject token."""
    with pytest.raises(InvalidName, match="expected 1 to 128"):
        check_task(task)
