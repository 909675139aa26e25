"""From per-run savings to a point and a 90 % interval."""

import random
from collections.abc import Sequence

from antiphon.schemas.finding import Estimate

RESAMPLES = 200  # the 5 % quantile then rests on ten values


Bounds = Sequence[tuple[float, float]]


def mean(bounds: Bounds) -> float:
    """Midway between the cautious and the hopeful mean."""
    return sum(low + high for low, high in bounds) / (2 * len(bounds))


def estimate(bounds: Bounds, rng: random.Random) -> Estimate:
    """Mean saving a run from each run's (cautious, hopeful) replay.

    The point lies midway between the two means. The interval reaches from the 5 % quantile of the cautious mean to
    the 95 % quantile of the hopeful one, by bootstrap over runs (Efron's percentile method).
    """
    count = len(bounds)
    lows: list[float] = []
    highs: list[float] = []
    for _ in range(RESAMPLES):
        drawn = rng.choices(bounds, k=count)
        lows.append(sum(low for low, _ in drawn) / count)
        highs.append(sum(high for _, high in drawn) / count)
    lows.sort()
    highs.sort()
    point = mean(bounds)
    low = lows[int(0.05 * RESAMPLES)]
    high = highs[int(0.95 * RESAMPLES) - 1]
    return Estimate(point=point, low=min(low, point), high=max(high, point))
