"""Sums of what a unit's runs took, whatever comes in whatever order, in little memory."""

import random

from antiphon.agents.logging_agent.units import LATENCIES, SCORES, Sample, Unit, arms


def sample(number: int, *, failed: bool = False, usd: float = 0.0) -> Sample:
    """A run of ``number`` seconds."""
    return Sample(
        run=f"r{number}", failed=failed, latency_s=number, tokens=10, model_s=0.5, usd=usd, input_tokens=2.0 * number
    )


def test_a_failed_run_counts_and_gives_no_sums() -> None:
    """What it took is no measure of what runs take."""
    unit = Unit(True)
    unit.add(sample(3))
    unit.add(sample(1_000, failed=True))
    assert (unit.runs, unit.failed, unit.sums["latency_s"].y, unit.sums["latency_s"].x) == (2, 1, 3, 6)


def test_the_draw_of_latencies_does_not_depend_on_their_order() -> None:
    """So that a record that is read again gives the same percentiles."""
    numbers = list(range(500))
    units = [Unit(True), Unit(True)]
    for unit in units:
        for number in numbers:
            unit.add(sample(number))
        random.Random(1).shuffle(numbers)
    assert sorted(units[0].latencies_s) == sorted(units[1].latencies_s)
    assert len(units[0].latencies_s) == LATENCIES


def test_a_metric_that_is_nothing_for_all_is_none() -> None:
    """As the cost of a model that costs nothing; of one run that costs something all count."""
    units = [Unit(True), Unit(False)]
    for number, unit in enumerate(units):
        unit.add(sample(number))
    assert arms(units, "usd") == ([], [])
    units[0].add(sample(7, usd=0.1))
    assert [sums.runs for side in arms(units, "usd") for sums in side] == [2, 1]


def test_names_of_scores_are_bounded() -> None:
    """Those that came first are judged."""
    unit = Unit(True)
    for number in range(3 * SCORES):
        unit.score(f"s{number}", 1.0, None)
    unit.score("s0", 0.25, 1.0)
    assert list(unit.sums) == [f"score s{number}" for number in range(SCORES)]
    assert (unit.sums["score s0"].runs, unit.sums["score s0"].y) == (1, 0.25)
