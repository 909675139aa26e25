"""Delays between attempts."""

import random

from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.delivery.retry import FIRST_S, MAX_S, delay_s


@given(attempt=st.integers(1, 10_000), seed=st.integers())
def test_delays_double_up_to_a_limit_half_of_it_random(attempt: int, seed: int) -> None:
    """Always between half the ceiling and the ceiling, whatever the attempt."""
    ceiling = min(MAX_S, FIRST_S * 2.0 ** (attempt - 1)) if attempt < 100 else MAX_S
    assert ceiling / 2 <= delay_s(attempt, random.Random(seed)) <= ceiling


def test_the_same_randomness_gives_the_same_delay() -> None:
    """Replays depend on it."""
    assert delay_s(3, random.Random(1)) == delay_s(3, random.Random(1))
