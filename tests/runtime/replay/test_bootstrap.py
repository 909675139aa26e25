"""Intervals from redraws: the same for the same values, and around what is drawn."""

import pytest

from antiphon.runtime.replay.bootstrap import interval


def test_an_interval_is_the_middle_nine_tenths_of_what_is_drawn() -> None:
    """Of evenly spread draws 5 % lie below and 5 % above; asked again it is the same."""
    found = interval(lambda rng: rng.random())
    assert found == pytest.approx((0.05, 0.95), abs=0.04)
    assert interval(lambda rng: rng.random()) == found


def test_what_never_varies_has_no_width() -> None:
    """Both ends are the value."""
    assert interval(lambda rng: 3.0) == (3.0, 3.0)
