"""The bootstrap interval covers, orders and repeats."""

import random

import pytest

from antiphon.runtime.whatif.estimate import estimate


def test_equal_runs_give_a_point() -> None:
    """Without variation there is no interval."""
    found = estimate([(2.0, 2.0)] * 5, random.Random(0))
    assert (found.low, found.point, found.high) == (2.0, 2.0, 2.0)


def test_the_bounds_span_the_interval() -> None:
    """It reaches from the cautious to the hopeful mean, the point midway."""
    found = estimate([(0.0, 1.0)] * 5, random.Random(0))
    assert (found.low, found.point, found.high) == (0.0, 0.5, 1.0)


def test_the_interval_covers_the_mean_nine_times_in_ten() -> None:
    """Of 300 samples of 40 runs, 85 to 95 % of the intervals hold the true mean."""
    rng = random.Random(3)
    hits = 0
    for _ in range(300):
        values = [rng.expovariate(1.0) for _ in range(40)]
        found = estimate([(v, v) for v in values], rng)
        hits += found.low <= 1.0 <= found.high
    assert 0.83 <= hits / 300 <= 0.95


def test_the_same_seed_gives_the_same_interval() -> None:
    """Randomness comes from the passed generator only."""
    values = [(float(i), float(i)) for i in range(10)]
    assert estimate(values, random.Random(5)) == estimate(values, random.Random(5))
    assert estimate(values, random.Random(5)).point == pytest.approx(4.5)
