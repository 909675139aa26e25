"""How sure equal results make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.agreement import KEEP, Agreement


def compared(equal: int, different: int) -> Agreement:
    """So many comparisons of each outcome."""
    found = Agreement()
    for outcome in [True] * equal + [False] * different:
        found.note(outcome)
    return found


def test_189_of_189_are_enough_for_98_percent_and_188_are_not() -> None:
    """Wilson's lower bound at full agreement is n / (n + z^2)."""
    assert compared(189, 0).bounds()[0] == pytest.approx(189 / (189 + 1.96**2))
    assert compared(189, 0).bounds()[0] >= 0.98 > compared(188, 0).bounds()[0]


def test_five_percent_of_differences_rule_98_percent_out() -> None:
    """190 of 200: the upper bound is below 0.98."""
    low, high = compared(190, 10).bounds()
    assert low < 0.95 < high < 0.98


def test_the_newest_count() -> None:
    """A model that changed is judged by what it says now."""
    found = compared(KEEP, KEEP)
    assert (found.compared, found.equal) == (KEEP, 0)


@given(st.integers(0, 300), st.integers(0, 300))
def test_the_share_is_within_its_bounds(equal: int, different: int) -> None:
    """Whatever was compared, also nothing."""
    low, high = compared(equal, different).bounds()
    assert 0 <= low <= equal / max(equal + different, 1) + 1e-9
    assert (equal / (equal + different) if equal + different else 1) - 1e-9 <= high <= 1
