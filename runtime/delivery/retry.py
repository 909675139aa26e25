"""How long to wait before another attempt."""

import random

FIRST_S = 0.5
MAX_S = 30.0


def delay_s(attempt: int, rng: random.Random) -> float:
    """Seconds before attempt ``attempt + 1``: doubling from FIRST_S to MAX_S, half of it random.

    "Equal jitter" of Brooker, Exponential Backoff And Jitter (AWS Architecture Blog, 2015): failed work that
    started together does not come back together.
    """
    ceiling = min(MAX_S, FIRST_S * 2.0 ** min(attempt - 1, 16))
    return ceiling / 2 + rng.random() * ceiling / 2
