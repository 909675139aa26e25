"""Thousands of ways in which durable work can go wrong, each checked against what must hold whatever happens."""

import pytest
from tests.runtime.delivery.scenario import Scenario
from tests.runtime.delivery.state_machine import simulate

BLOCK = 25
SEEDS = 100


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_whatever_happens_every_task_ends_once_and_nothing_recorded_is_done_again(first: int) -> None:
    """Kills, drains, stalls, lost heartbeats, duplicates, cancels, outages and lost answers, in any order."""
    wrong = {seed: found for seed in range(first, first + BLOCK) if (found := simulate(seed).wrong)}
    assert not wrong


def test_a_seed_repeats_everything() -> None:
    """Whoever gets a failing seed sees the failure again."""
    for seed in (7, 23, 41):
        assert simulate(seed).lines == simulate(seed).lines
        assert Scenario.of(seed) == Scenario.of(seed)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_whatever_happens_in_thousands_of_seeds() -> None:
    """The same with seeds that the suite leaves out."""
    wrong = {seed: found for seed in range(SEEDS, 5000) if (found := simulate(seed).wrong)}
    assert not wrong
