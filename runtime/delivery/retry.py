"""How long to wait before another attempt."""

import random

FIRST_S = 0.5
MAX_S = 30.0


def delay_s(attempt: int, rng: random.Random, *, first_s: float = FIRST_S, max_s: float = MAX_S) -> float:
    """Seconds before attempt ``attempt + 1``: doubling from ``first_s`` to ``max_s``, half of it random.

    "Equal jitter" of Brooker, Exponential Backoff And Jitter (AWS Architecture Blog, 2015): failed work that
    started together does not come back together.
    """
    ceiling = min(max_s, first_s * 2.0 ** min(attempt - 1, 16))
    return ceiling / 2 + rng.random() * ceiling / 2
