"""Sixteen agents with one system prompt of 1,000 tokens: time to first token with and without the prefix cache."""

import statistics
from pathlib import Path

from engine_cases.load import bench, prompt_of

AGENTS, SHARED, OWN = 16, 1000, 40


def run(path: Path, rounds: int) -> tuple[float, float]:
    """Mean time to first token of all sixteen, asked at once: (with, without). Medians over rounds.

    With the cache the prompt was seen before, as an agent's system prompt was after its first call.
    """
    found = []
    for cached in (True, False):
        with bench(path, prefix_cache=cached) as on:
            means = []
            for round in range(rounds):
                shared = prompt_of(SHARED, round)
                on.submit(shared, 1).wait()
                watches = [on.submit(shared + prompt_of(OWN, 50 * round + at + 7), 8) for at in range(AGENTS)]
                means.append(statistics.mean(watch.wait().first_s for watch in watches))
            found.append(statistics.median(means))
    return found[0], found[1]
