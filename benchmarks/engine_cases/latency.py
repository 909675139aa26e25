"""Time between two tokens while long prompts arrive at random."""

import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from engine_cases.load import Bench, bench, percentile, prompt_of

PROMPT = 2000
REPLY = 240
STREAMS = 2


@dataclass(frozen=True)
class Gaps:
    """99th percentiles in seconds; the time that a prompt took to its first token, mean."""

    unloaded_s: float
    mixed_s: float
    first_s: float
    prompt_mixed_s: float
    prompt_first_s: float


def run(path: Path, replies: int) -> Gaps:
    """The same arrivals for both orders, exponential gaps: often enough that a prompt is in more than 1 % of gaps."""
    with bench(path) as on:
        _streams(on, 0)
        gaps = [gap for round in range(replies) for gap in _streams(on, 1 + round)]
        prompt_s = on.submit(prompt_of(PROMPT, 3), 1).wait().first_s
    unloaded_s, usual_s = percentile(gaps, 0.99), statistics.median(gaps)
    loaded = {}
    for prefill in ("mixed", "first"):
        with bench(path, prefill=prefill, itl_target_s=2 * usual_s) as on:
            _streams(on, 0)
            loaded[prefill] = _under_load(on, replies, prompt_s)
    return Gaps(unloaded_s, loaded["mixed"][0], loaded["first"][0], loaded["mixed"][1], loaded["first"][1])


def _streams(on: Bench, seed: int) -> list[float]:
    watches = [on.submit(prompt_of(32, 10 * seed + at), REPLY) for at in range(STREAMS)]
    return [gap for watch in watches for gap in watch.wait().gaps_s]


def _under_load(on: Bench, replies: int, every_s: float) -> tuple[float, float]:
    rng = random.Random(11)
    gaps: list[float] = []
    prompts = []
    for round in range(replies):
        watches = [on.submit(prompt_of(32, 500 + 10 * round + at), REPLY) for at in range(STREAMS)]
        while len(watches[0].token_s) < REPLY - 20:
            time.sleep(min(rng.expovariate(1 / every_s), 2 * every_s))  # open loop: arrivals wait for nothing
            prompts.append(on.submit(prompt_of(PROMPT, rng.randrange(10**6)), 1))
        gaps += [gap for watch in watches for gap in watch.wait().gaps_s]
        for prompt in prompts:
            prompt.wait()
    return percentile(gaps, 0.99), statistics.mean(prompt.first_s for prompt in prompts)
