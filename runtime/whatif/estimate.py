"""From per-run savings to a point and a 90 % interval of what as many later runs will save."""

import math
import random
from collections.abc import Callable, Sequence
from statistics import NormalDist, fmean
from typing import TypeVar

from antiphon.schemas.finding import Estimate

_T = TypeVar("_T")

REPLAY_ERROR = 0.033  # of a prediction, in the mean: replays of real systems (Lumos, MLSys 2025, abstract)
RESAMPLES = 200  # the 5 % quantile then rests on ten values
LEVEL = 0.90

_Z = NormalDist().inv_cdf((1 + LEVEL) / 2)

Bounds = Sequence[tuple[float, float]]  # of each run: cautious, hopeful
Recorded = Sequence[tuple[float, float, float]]  # of each run: what it took, and what it would save: cautious, hopeful


def mean(bounds: Bounds) -> float:
    """Midway between the cautious and the hopeful mean."""
    return sum(low + high for low, high in bounds) / (2 * len(bounds))


def estimate(bounds: Sequence[tuple[float, float] | None], rng: random.Random) -> Estimate:
    """Mean saving a run from each run's (cautious, hopeful) replay, runs in the order in which they came.

    The point lies midway between the two means, the interval as for ``interval``. None stands for a run that the remedy
    leaves alone: it is not in the mean, but how many of later runs will be so is as uncertain as what the others save.
    The interval is therefore of what all runs save, divided by the share of those that save anything.
    """
    saving = [pair for pair in bounds if pair is not None]
    point, more = mean(saving), len(bounds) / len(saving)
    found = interval([pair or (0.0, 0.0) for pair in bounds], _means, rng)
    return Estimate(point=point, low=min(found.low * more, point), high=max(found.high * more, point))


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


def interval(rows: Sequence[_T], saved: Callable[[Sequence[_T]], tuple[float, float]], rng: random.Random) -> Estimate:
    """What all ``rows`` save, (cautious, hopeful), as a point and the interval of what as many later runs will save.

    A prediction interval: the rows differ from all runs by chance, and so will the later ones, so two independent
    bootstrap deviations are added, and a normal one for what a replay leaves out (REPLAY_ERROR). Rows are drawn in
    blocks as long as they resemble their neighbours (``block``), since runs that queue together are no independent
    witnesses. What a bootstrap of few rows lacks in width is added (``_expanded``; Hesterberg, American Statistician
    2015, 69:4, section 5.5). Where no run loses, all of them together do not.
    """
    size = len(rows)
    low, high = saved(rows)
    point = (low + high) / 2
    alone = [saved([row]) for row in rows]
    length = block([sum(pair) / 2 for pair in alone])
    least = 0.0 if min(map(min, alone)) >= 0 else -math.inf
    wide = _expanded(size, length)
    drawn = [saved(_redrawn(rows, length, rng)) for _ in range(RESAMPLES)]
    spread = REPLAY_ERROR * math.sqrt(math.pi / 2)  # of a normal error with that mean size
    lows: list[float] = []
    highs: list[float] = []
    for index, (drawn_low, drawn_high) in enumerate(drawn):
        later, left_out = wide * (sum(drawn[index - 1]) / 2 - point), rng.gauss(0.0, spread)
        lows.append(low * (1 + left_out) + wide * (drawn_low - low) + later)
        highs.append(high * (1 + left_out) + wide * (drawn_high - high) + later)
    lows.sort()
    highs.sort()
    out = (1 - LEVEL) / 2
    return Estimate(
        point=point,
        low=min(max(lows[int(out * RESAMPLES)], least), point),
        high=max(highs[int((1 - out) * RESAMPLES) - 1], point),
    )


def block(values: Sequence[float]) -> int:
    """How many neighbours belong together: 1 where values do not resemble the ones before.

    Politis and White (Econometric Reviews 2004, 23:1, with the correction of 2009, 28:4) for the circular bootstrap.
    """
    size = len(values)
    centre = fmean(values)
    left = [value - centre for value in values]
    most = math.ceil(min(3 * math.sqrt(size), size / 3))
    ahead = max(5, math.ceil(math.sqrt(math.log10(max(size, 2)))))
    covariance = [sum(a * b for a, b in zip(left, left[lag:], strict=False)) / size for lag in range(most + 1)]
    if covariance[0] <= 1e-12 * centre * centre or size < 2 * ahead:
        return 1
    limit = 2 * math.sqrt(math.log10(size) / size) * covariance[0]
    lags = range(1, most + 1)
    last = next(
        (lag - 1 for lag in lags if all(abs(c) < limit for c in covariance[lag : lag + ahead])),
        max((lag for lag in lags if abs(covariance[lag]) >= limit), default=0),
    )
    if not last:
        return 1
    weighted = [(lag, min(1.0, 2 * (1 - lag / (2 * last)))) for lag in range(1, min(2 * last, most) + 1)]
    slope = 2 * sum(weight * lag * covariance[lag] for lag, weight in weighted)
    level = covariance[0] + 2 * sum(weight * covariance[lag] for lag, weight in weighted)
    if level <= 0:
        return 1
    return min(max(round(math.cbrt(2 * slope * slope / (4 / 3 * level * level) * size)), 1), most)


def _redrawn(rows: Sequence[_T], length: int, rng: random.Random) -> Sequence[_T]:
    """As many rows, in blocks from anywhere; after the last row comes the first."""
    size = len(rows)
    if length == 1:
        return rng.choices(rows, k=size)
    starts = (rng.randrange(size) for _ in range(math.ceil(size / length)))
    return [rows[(start + i) % size] for start in starts for i in range(length)][:size]


def _expanded(size: int, length: int) -> float:
    """By what the deviations of a bootstrap are too small: blocks leave out what differs between them, and few rows
    have the quantiles of t, not of the normal (Cornish and Fisher's expansion; Abramowitz and Stegun, 26.7.5)."""
    freedom = max(size - 1, 1)
    t = _Z + (_Z**3 + _Z) / (4 * freedom) + (5 * _Z**5 + 16 * _Z**3 + 3 * _Z) / (96 * freedom**2)
    return math.sqrt(size / max(size - length, 1)) * t / _Z


def _means(bounds: Bounds) -> tuple[float, float]:
    return sum(low for low, _ in bounds) / len(bounds), sum(high for _, high in bounds) / len(bounds)


def _p95_fall(runs: Recorded) -> tuple[float, float]:
    was = p95([took for took, _, _ in runs])
    return was - p95([took - low for took, low, _ in runs]), was - p95([took - high for took, _, high in runs])
