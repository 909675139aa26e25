"""Tests that may be looked at after every run, and means that are compared: two arms, units assigned by chance.

A unit is what was assigned: a run, or a time slice with all its runs. Sums over units keep the unit as the cluster.
"""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from antiphon.runtime.whatif.estimate import RESAMPLES, p95
from antiphon.schemas.finding import Estimate

_T = TypeVar("_T")

ALPHA = 0.05  # of each test: the chance that it ever says so where nothing is
WORTH = 0.05  # of the variance, that the covariate must explain to be used
ROUNDING = 1e-9  # of a sum of squares: what is left of it by subtraction may be less than its rounding error
BALANCE = 3.0  # standard errors between the arms' covariates: more is no chance


@dataclass(slots=True)
class Sums:
    """Of one unit's runs: how many, and the sums of what was measured (y), of its covariate (x), and of products."""

    runs: int = 0
    y: float = 0.0
    x: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    xx: float = 0.0

    def add(self, y: float, x: float = 0.0, times: int = 1) -> None:
        """One more run; with ``times`` -1 one that was added is taken out."""
        self.runs += times
        self.y += times * y
        self.x += times * x
        self.yy += times * y * y
        self.xy += times * x * y
        self.xx += times * x * x


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Control minus treated: ``saved`` a run with its variance, and the control's mean."""

    saved: float
    variance: float
    control: float


def difference(treated: Sequence[Sums], control: Sequence[Sums]) -> Difference | None:
    """The difference of the arms' means a run; None with fewer than two units in an arm.

    Adjusted by the covariate where that lowers the variance by 5 % or more (CUPED: Deng, Xu, Kohavi and Walker, WSDM
    2013): y - theta (x - mean x), theta = cov(x, y) / var(x) over both arms. Variances are those of a ratio estimator
    over units (Cochran 1977, chapter 6), so runs of one unit may be alike.
    """
    if len(treated) < 2 or len(control) < 2:
        return None
    theta, centre = _theta([*treated, *control])
    if theta and _unbalanced(treated, control):
        theta = 0.0  # the remedy moves the covariate, or chance did: an adjustment would bias
    of_treated, of_control = (_mean(units, theta, centre) for units in (treated, control))
    return Difference(
        saved=of_control[0] - of_treated[0], variance=of_treated[1] + of_control[1], control=of_control[0]
    )


def evidence(effect: float, variance: float, scale: float) -> float:
    """How much likelier ``effect`` is under effects around ``scale`` than under none: stop when it reaches 1/ALPHA.

    The mixture sequential probability ratio test (Johari, Koomen, Pekelis and Walsh, "Peeking at A/B tests", KDD
    2017): sqrt(V / (V + t2)) exp(t2 d2 / (2 V (V + t2))), V the variance of d, t2 the square of ``scale``. Looking
    after every run costs nothing; ``scale`` must not follow from what is measured.
    """
    if variance <= 0 or scale <= 0:
        return 0.0 if effect == 0 else math.inf
    mixed = variance + scale * scale
    exponent = scale * scale / mixed * min(effect * effect / (2 * variance), 1_400.0)  # so that no product is infinite
    return math.sqrt(variance / mixed) * math.exp(min(exponent, 700.0))


def lopsided(treated: int, control: int, share: float) -> float:
    """How much likelier it is that bad units fall to the treated arm by more than its ``share``; stop at 1/ALPHA.

    Without an effect each bad unit is treated with probability ``share``, however rare it is; the alternative is
    uniform over all shares. A likelihood ratio of a mixture, so by Ville's inequality it ever reaches 1/ALPHA with
    probability ALPHA at most (Robbins 1970).
    """
    bad = treated + control
    if not bad or not 0 < share < 1 or treated <= share * bad:
        return 0.0
    mixture = math.lgamma(treated + 1) + math.lgamma(control + 1) - math.lgamma(bad + 2)
    return math.exp(min(mixture - treated * math.log(share) - control * math.log1p(-share), 700.0))


def interval(treated: Sequence[Sums], control: Sequence[Sums], rng: random.Random) -> Estimate | None:
    """The saving a run with its 90 % interval: bootstrap over units, all runs of a unit drawn with it."""
    return _bootstrap(treated, control, rng, lambda units: sum(u.y for u in units) / sum(u.runs for u in units))


def interval_p95(
    treated: Sequence[Sequence[float]], control: Sequence[Sequence[float]], rng: random.Random
) -> Estimate | None:
    """As ``interval``, of the 95th percentile of what each unit's runs took."""
    return _bootstrap(treated, control, rng, lambda units: p95(list(chain.from_iterable(units))))


def _bootstrap(
    treated: Sequence[_T], control: Sequence[_T], rng: random.Random, of: Callable[[Sequence[_T]], float]
) -> Estimate | None:
    if not treated or not control:
        return None
    point = of(control) - of(treated)
    drawn = sorted(
        of(rng.choices(control, k=len(control))) - of(rng.choices(treated, k=len(treated))) for _ in range(RESAMPLES)
    )
    low, high = drawn[int(0.05 * RESAMPLES)], drawn[int(0.95 * RESAMPLES) - 1]
    return Estimate(point=point, low=min(low, point), high=max(high, point))


def _theta(units: Sequence[Sums]) -> tuple[float, float]:
    """The covariate's slope and mean; slope 0 where it explains less than 5 %."""
    runs = sum(unit.runs for unit in units)
    mean_x, mean_y = sum(unit.x for unit in units) / runs, sum(unit.y for unit in units) / runs
    all_xx, all_yy = sum(unit.xx for unit in units), sum(unit.yy for unit in units)
    spread_x, spread_y = all_xx - runs * mean_x**2, all_yy - runs * mean_y**2
    both = sum(unit.xy for unit in units) - runs * mean_x * mean_y
    if spread_x <= ROUNDING * all_xx or spread_y <= ROUNDING * all_yy or both * both < WORTH * spread_x * spread_y:
        return 0.0, mean_x
    return both / spread_x, mean_x


def _unbalanced(treated: Sequence[Sums], control: Sequence[Sums]) -> bool:
    arms = [_mean([Sums(runs=unit.runs, y=unit.x) for unit in units], 0.0, 0.0) for units in (treated, control)]
    (mean_t, variance_t), (mean_c, variance_c) = arms
    return (mean_t - mean_c) ** 2 > BALANCE**2 * (variance_t + variance_c)


def _mean(units: Sequence[Sums], theta: float, centre: float) -> tuple[float, float]:
    """The adjusted mean a run, and its variance."""
    sums = [(unit.y - theta * (unit.x - centre * unit.runs), unit.runs) for unit in units]
    runs = sum(count for _, count in sums)
    mean = sum(total for total, _ in sums) / runs
    squares = sum((total - mean * count) ** 2 for total, count in sums)
    return mean, squares / (runs * runs) * len(sums) / (len(sums) - 1)
