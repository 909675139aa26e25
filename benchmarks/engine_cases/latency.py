"""Time between two tokens while long prompts arrive at random.

A round looks at the engine with nothing else to do, with prompts coming in, with nothing else to do again, and at one
that puts prompts first, with the same prompts coming in. Figures are ratios within a round and then medians over
rounds: a shared machine is another one a minute later. How far the two looks at the engine without prompts differ says
what such a ratio is worth.
"""

import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from engine_cases.load import Bench, bench, percentile, prompt_of

PROMPT = 2000
REPLY = 400  # tokens: several prompts come meanwhile, and each stalls a reply once where prompts go first
STREAMS = 2
BUSY = (
    0.75  # prompts take this share of the engine's time: at 1 replies starve, and at half too few tokens meet a prompt
)


@dataclass(frozen=True, kw_only=True)
class Round:
    """99th percentiles in seconds; the time that a prompt took to its first token, mean."""

    unloaded_s: float
    again_s: float  # unloaded, after the load
    mixed_s: float
    first_s: float
    prompt_mixed_s: float
    prompt_first_s: float

    @property
    def loaded(self) -> float:
        """How many times what it is unloaded."""
        return self.mixed_s / statistics.mean((self.unloaded_s, self.again_s))

    @property
    def gain(self) -> float:
        """How many times better than with prompts first."""
        return self.first_s / self.mixed_s

    @property
    def noise(self) -> float:
        """How many times one look without prompts is the other."""
        return max(self.unloaded_s, self.again_s) / min(self.unloaded_s, self.again_s)


def run(path: Path, rounds: int) -> list[Round]:
    """So many rounds, with other prompts and arrivals in each."""
    with bench(path) as on:
        _learn(on)
        usual_s = statistics.median(_alone(on, 0))
        prompt_s = on.submit(prompt_of(PROMPT, 3), 1).wait().first_s
    return [_round(path, 1 + number, 2 * usual_s, prompt_s / BUSY) for number in range(rounds)]


def _round(path: Path, number: int, target_s: float, every_s: float) -> Round:
    with bench(path, itl_target_s=target_s) as on:
        _learn(on)
        unloaded_s = percentile(_alone(on, 2 * number), 0.99)
        mixed_s, prompt_mixed_s = _under_load(on, number, every_s)
        again_s = percentile(_alone(on, 2 * number + 1), 0.99)
    with bench(path, itl_target_s=target_s, prefill="first") as on:
        _learn(on)
        first_s, prompt_first_s = _under_load(on, number, every_s)
    return Round(
        unloaded_s=unloaded_s,
        again_s=again_s,
        mixed_s=mixed_s,
        first_s=first_s,
        prompt_mixed_s=prompt_mixed_s,
        prompt_first_s=prompt_first_s,
    )


def _learn(on: Bench) -> None:
    """Show the engine both kinds of work, so that it knows what a step takes."""
    watches = [on.submit(prompt_of(32, 7000 + at), 40) for at in range(STREAMS)]
    watches.append(on.submit(prompt_of(PROMPT, 7777), 1))
    for watch in watches:
        watch.wait()


def _alone(on: Bench, seed: int) -> list[float]:
    watches = [on.submit(prompt_of(32, 10 * seed + at), REPLY) for at in range(STREAMS)]
    return [gap for watch in watches for gap in watch.wait().gaps_s]


def _under_load(on: Bench, seed: int, every_s: float) -> tuple[float, float]:
    rng = random.Random(seed)
    watches = [on.submit(prompt_of(32, 5000 + 10 * seed + at), REPLY) for at in range(STREAMS)]
    prompts = []
    while len(watches[0].token_s) < REPLY - 20:
        prompts.append(on.submit(prompt_of(PROMPT, rng.randrange(10**6)), 1))
        time.sleep(every_s * rng.uniform(0.5, 1.5))  # open loop: arrivals wait for nothing
    gaps = [gap for watch in watches for gap in watch.wait().gaps_s]
    return percentile(gaps, 0.99), statistics.mean(prompt.wait().first_s for prompt in prompts)
