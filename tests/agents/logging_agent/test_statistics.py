"""Sequential tests keep their promise however often they are looked at, and covariates only ever help."""

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.statistics import ALPHA, Sums, difference, evidence, interval, interval_p95, lopsided

SEEDS = 400


def unit(*runs: tuple[float, float]) -> Sums:
    """Of runs that are (measured, covariate)."""
    sums = Sums()
    for y, x in runs:
        sums.add(y, x)
    return sums


def arm(rng: random.Random, runs: int, mean: float, slope: float = 0.0) -> list[Sums]:
    """Units of one run each: noise of 0.3 and a covariate of mean 1."""
    units = []
    for _ in range(runs):
        x = rng.gauss(1, 0.3)
        units.append(unit((mean + rng.gauss(0, 0.3) + slope * (x - 1), x)))
    return units


def test_without_an_effect_looking_all_the_time_seldom_finds_one() -> None:
    """Of 400 experiments without an effect, looked at 18 times each, at most 5 % ever say otherwise."""
    wrong = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        treated, control = arm(rng, 200, 1), arm(rng, 200, 1)
        found = (difference(treated[:n], control[:n]) for n in range(20, 200, 10))
        wrong += any(f is not None and evidence(f.saved, f.variance, 0.2) >= 1 / ALPHA for f in found)
    assert wrong / SEEDS <= ALPHA


def test_failures_are_told_from_chance() -> None:
    """One failure in a hundred in both arms seldom trips the guard in 1,000 runs; ten failures of one arm alone do."""
    wrong = 0
    for seed in range(SEEDS):
        rng = random.Random(seed)
        sides = [rng.random() < 0.5 for _ in range(1_000) if rng.random() < 0.05]
        counts = ((sum(sides[:n]), n - sum(sides[:n])) for n in range(len(sides) + 1))
        wrong += any(lopsided(bad, good, 0.5) >= 1 / ALPHA for bad, good in counts)
    assert wrong / SEEDS <= ALPHA
    assert lopsided(10, 0, 0.5) >= 1 / ALPHA
    assert lopsided(0, 10, 0.5) == 0.0


def test_the_covariate_takes_its_share_of_the_noise_away() -> None:
    """A covariate that makes half of the variance halves that of the difference, and does not move it."""
    rng = random.Random(3)
    with_x = difference(arm(rng, 2_000, 1, slope=1), arm(rng, 2_000, 1.2, slope=1))
    rng = random.Random(3)
    plain = [[unit((each.y, 0.0)) for each in arm(rng, 2_000, mean, slope=1)] for mean in (1, 1.2)]
    without = difference(plain[0], plain[1])
    assert with_x is not None and without is not None
    assert with_x.variance < 0.6 * without.variance
    assert with_x.saved == pytest.approx(0.2, abs=0.03)


def test_a_covariate_that_the_remedy_moves_is_left_alone() -> None:
    """Else the saving that it carries would be taken away with it."""
    rng = random.Random(4)
    treated = [unit((x, x)) for x in (rng.gauss(0.5, 0.1) for _ in range(200))]
    control = [unit((x, x)) for x in (rng.gauss(1.0, 0.1) for _ in range(200))]
    found = difference(treated, control)
    assert found is not None
    assert found.saved == pytest.approx(0.5, abs=0.05)


def test_runs_of_one_unit_count_as_one_witness() -> None:
    """A hundred runs in two slices an arm say less than a hundred runs that were assigned one by one."""
    rng = random.Random(5)
    means = [rng.gauss(1, 0.3) for _ in range(40)]
    slices = [unit(*[(mean, 0.0)] * 25) for mean in means]
    runs = [unit((mean, 0.0)) for mean in means for _ in range(25)]
    clustered, loose = difference(slices[:20], slices[20:]), difference(runs[:500], runs[500:])
    assert clustered is not None and loose is not None
    assert clustered.saved == pytest.approx(loose.saved)
    assert clustered.variance > 20 * loose.variance


def test_a_covariate_that_is_the_same_everywhere_adjusts_nothing() -> None:
    """Nor one that differs only by rounding: what sums leave of it is no slope."""
    rng = random.Random(7)
    plain = [[unit((rng.gauss(1, 0.3), 0.0)) for _ in range(50)] for _ in range(2)]
    same = [[unit((each.y, 1e5 / 3)) for each in side] for side in plain]
    assert difference(same[0], same[1]) == difference(plain[0], plain[1])


def test_a_run_that_is_taken_out_leaves_nothing() -> None:
    """As where a later score replaces it."""
    sums = unit((2.0, 3.0), (5.0, 1.0))
    sums.add(2.0, 3.0, times=-1)
    assert sums == unit((5.0, 1.0))


def test_intervals_hold_the_saving() -> None:
    """Point and 90 % interval of mean and 95th percentile, drawn by unit."""
    rng = random.Random(6)
    treated, control = arm(rng, 300, 1), arm(rng, 300, 1.5)
    with_it, without = ([[each.y] for each in side] for side in (treated, control))
    for found in (interval(treated, control, rng), interval_p95(with_it, without, rng)):
        assert found is not None
        assert found.low < 0.5 < found.high
        assert found.low <= found.point <= found.high
    mean = interval(treated, control, rng)
    assert mean is not None
    assert mean.point == pytest.approx(fmean(u.y for u in control) - fmean(u.y for u in treated))
    assert interval([], control, rng) is None


@given(st.floats(-1e6, 1e6), st.floats(0, 1e9), st.floats(0, 1e6))
def test_evidence_is_a_number_for_every_input(effect: float, variance: float, scale: float) -> None:
    """No overflow, no error; nothing speaks for an effect where there is none."""
    assert evidence(effect, variance, scale) >= 0
    assert evidence(0.0, variance, scale) <= 1
