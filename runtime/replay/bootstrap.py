"""90 % intervals from values drawn again (bootstrap, Efron's percentile method)."""

import random
from collections.abc import Callable
from typing import Final

from antiphon.runtime.whatif.estimate import quantile

RESAMPLES: Final = 500
_SEED: Final = 1  # the same values have the same interval


def interval(drawn: Callable[[random.Random], float]) -> tuple[float, float]:
    """The 5 % and 95 % quantiles of ``drawn``, which makes its statistic of values drawn with the given chance."""
    rng = random.Random(_SEED)
    found = [drawn(rng) for _ in range(RESAMPLES)]
    return quantile(found, 0.05), quantile(found, 0.95)
