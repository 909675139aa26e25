"""From per-run savings to a point and a 90 % interval."""

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from antiphon.schemas.finding import Estimate

_T = TypeVar("_T")

MODEL_ERROR = 0.08  # of the saving; replays of real systems were off by 3 to 15 % (Lumos, MLSys 2025; dPRO, MLSys 2022)
RESAMPLES = 200  # the 5 % quantile then rests on ten values

Bounds = Sequence[tuple[float, float]]  # of each run: cautious, hopeful
Recorded = Sequence[tuple[float, float, float]]  # of each run: what it took, and what it would save: cautious, hopeful


def mean(bounds: Bounds) -> float:
    """Midway between the cautious and the hopeful mean."""
    return sum(low + high for low, high in bounds) / (2 * len(bounds))


def estimate(bounds: Bounds, rng: random.Random) -> Estimate:
    """Mean saving a run from each run's (cautious, hopeful) replay.

    The point lies midway between the two means. The interval reaches from the 5 % quantile of the cautious mean to
    the 95 % quantile of the hopeful one, by bootstrap over runs (Efron's percentile method).
    """
    return interval(bounds, _means, rng)


def estimate_p95(runs: Recorded, rng: random.Random) -> Estimate:
    """How far the 95th percentile of the runs' durations falls: p95(recorded) - p95(recorded - saved).

    Never the 95th percentile of the savings: a remedy may save most where runs are short anyway. The runs that it
    leaves alone belong to ``runs``, with a saving of 0. Point and interval as for ``estimate``, each run drawn with
    its saving.
    """
    return interval(runs, _p95_fall, rng)


def p95(values: Sequence[float]) -> float:
    """The 95th percentile."""
    return quantile(values, 0.95)


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which ``share`` of them lie, between neighbours by straight line (Hyndman and Fan 1996, 7)."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = int(place)
    return ordered[low] + (place - low) * (ordered[min(low + 1, len(ordered) - 1)] - ordered[low])


def _means(bounds: Bounds) -> tuple[float, float]:
    return sum(low for low, _ in bounds) / len(bounds), sum(high for _, high in bounds) / len(bounds)


def _p95_fall(runs: Recorded) -> tuple[float, float]:
    was = p95([took for took, _, _ in runs])
    return was - p95([took - low for took, low, _ in runs]), was - p95([took - high for took, _, high in runs])


def interval(rows: Sequence[_T], saved: Callable[[Sequence[_T]], tuple[float, float]], rng: random.Random) -> Estimate:
    """What all ``rows`` save, (cautious, hopeful), as a point and the interval that redrawn rows give.

    It is never narrower than ``MODEL_ERROR`` on each side: redrawing runs says nothing of what a replay leaves out.
    """
    lows: list[float] = []
    highs: list[float] = []
    for _ in range(RESAMPLES):
        low, high = saved(rng.choices(rows, k=len(rows)))
        lows.append(low)
        highs.append(high)
    lows.sort()
    highs.sort()
    point = sum(saved(rows)) / 2
    low = lows[int(0.05 * RESAMPLES)]
    high = highs[int(0.95 * RESAMPLES) - 1]
    slack = MODEL_ERROR * abs(point)
    return Estimate(point=point, low=min(low, point - slack), high=max(high, point + slack))
