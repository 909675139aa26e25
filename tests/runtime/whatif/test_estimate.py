"""The interval covers what comes later, orders and repeats."""

import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.whatif.estimate import block, estimate, estimate_p95, p95


def test_equal_runs_give_a_point() -> None:
    """Without variation the interval is what a replay leaves out: 3.3 % in the mean, 7 % nine times in ten."""
    found = estimate([(2.0, 2.0)] * 5, random.Random(0))
    assert (found.low, found.point, found.high) == pytest.approx((1.86, 2.0, 2.14), rel=0.02)


def test_the_bounds_span_the_interval() -> None:
    """It reaches from the cautious to the hopeful mean, the point midway."""
    found = estimate([(0.0, 1.0)] * 5, random.Random(0))
    assert (found.low, found.point, found.high) == pytest.approx((0.0, 0.5, 1.07), rel=0.02)


def test_the_interval_covers_the_mean_of_as_many_later_runs_nine_times_in_ten() -> None:
    """Of 300 samples of 40 runs, 85 to 95 % of the intervals hold what 40 other runs then save."""
    rng = random.Random(3)
    hits = 0
    for _ in range(300):
        values, later = ([rng.expovariate(1.0) for _ in range(40)] for _ in range(2))
        found = estimate([(v, v) for v in values], rng)
        hits += found.low <= statistics.fmean(later) <= found.high
    assert 0.85 <= hits / 300 <= 0.95


def test_how_many_runs_save_is_as_uncertain_as_how_much() -> None:
    """One run in three saves 1 s: of 48 later runs 16 in the mean, and nine times in ten from 9 to 23."""
    rows = [(1.0, 1.0) if n % 3 == 0 else None for n in range(48)]
    rng = random.Random(2)
    rng.shuffle(rows)
    found = estimate(rows, rng)
    assert found.point == 1.0
    assert (found.low, found.high) == pytest.approx((9 / 16, 23 / 16), abs=0.12)


def test_runs_that_resemble_their_neighbours_are_few_witnesses() -> None:
    """A queue that comes and goes: the same savings in another order say more."""
    slow = [(level, level + n % 3) for level in (0.0, 4.0, 0.0, 0.0, 4.0, 4.0, 0.0, 4.0) for n in range(12)]
    mixed = random.Random(4).sample(slow, len(slow))
    widths = [found.high - found.low for found in (estimate(rows, random.Random(1)) for rows in (slow, mixed))]
    assert block([low for low, _ in slow]) > 4
    assert block([low for low, _ in mixed]) <= 2
    assert widths[0] > 1.3 * widths[1]


def test_the_same_seed_gives_the_same_interval() -> None:
    """Randomness comes from the passed generator only."""
    values = [(float(i), float(i)) for i in range(10)]
    assert estimate(values, random.Random(5)) == estimate(values, random.Random(5))
    assert estimate(values, random.Random(5)).point == pytest.approx(4.5)


def test_the_95th_percentile_falls_by_what_its_own_runs_save() -> None:
    """Of 19 short runs and two long ones, of 10 s, only the long ones save, 4 s each: the percentile falls by 4 s."""
    runs = [(1.0, 0.0, 0.0)] * 19 + [(10.0, 4.0, 4.0)] * 2
    assert estimate_p95(runs, random.Random(0)).point == pytest.approx(4.0)


def test_what_short_runs_save_does_not_lower_the_95th_percentile() -> None:
    """The mean saving is 0.45 s, yet the long runs, which decide, save nothing."""
    runs = [(1.0, 0.5, 0.5)] * 18 + [(10.0, 0.0, 0.0)] * 2
    found = estimate_p95(runs, random.Random(0))
    assert found.point == pytest.approx(0.0)
    assert found.low <= 0.0 <= found.high


def test_bounds_of_the_95th_percentile_are_cautious_and_hopeful() -> None:
    """Equal runs of 5 s that save 1 to 3 s: 2 s, from 1 to 3 and what a replay leaves out."""
    found = estimate_p95([(5.0, 1.0, 3.0)] * 8, random.Random(0))
    assert (found.low, found.point, found.high) == pytest.approx((0.93, 2.0, 3.21), rel=0.02)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=40))
def test_the_percentile_lies_among_the_values_between_its_neighbours(values: list[float]) -> None:
    """Linear between neighbours; ``statistics`` computes the same from two values on."""
    found = p95(values)
    assert min(values) <= found <= max(values)
    if len(values) > 1:
        assert found == pytest.approx(statistics.quantiles(values, n=20, method="inclusive")[-1])
