"""Budgets as they are said: names, amounts, the deadline among them."""

import math

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.policies.limits import check_budget, deadline_of, parse_budget


def test_a_budget_is_numbers_by_name() -> None:
    """Whole numbers are as good as others, and nothing has to be named."""
    assert check_budget({"tokens": 10_000, "usd": 0.5, "steps": 0, "wall_s": 1.5}) == {
        "tokens": 10_000.0,
        "usd": 0.5,
        "steps": 0.0,
        "wall_s": 1.5,
    }
    assert check_budget({}) == {}


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({"token": 5}, "there is no budget 'token', expected tokens, usd, steps or wall_s"),
        ({"tokens": -1}, "budget tokens is -1, expected a finite number from 0"),
        ({"usd": math.nan}, "budget usd is nan"),
        ({"steps": math.inf}, "budget steps is inf"),
        ({"steps": "many"}, "budget steps is 'many'"),
    ],
)
def test_a_budget_that_means_nothing_is_refused(budget: dict[str, float], says: str) -> None:
    """With the name, what was found and what is accepted."""
    with pytest.raises(ConfigurationError, match=says):
        check_budget(budget)


def test_a_budget_can_be_typed() -> None:
    """As names and amounts with commas between."""
    assert parse_budget("tokens=10000, usd=0.5") == {"tokens": 10_000.0, "usd": 0.5}


@pytest.mark.parametrize("text", ["", "tokens", "tokens=", "tokens=much", "tokens=1,", "=1", "tokens=nan"])
def test_what_was_typed_wrong_is_told(text: str) -> None:
    """Every malformed text is a ConfigurationError that shows the form or the accepted names."""
    with pytest.raises(ConfigurationError, match="budget"):
        parse_budget(text)


def test_wall_time_is_a_deadline() -> None:
    """Counted from the run's beginning, in milliseconds; a run without such a budget has none."""
    assert deadline_of({"wall_s": 1.5}, 1_000) == 2_500
    assert deadline_of({"tokens": 5.0}, 1_000) is None
