"""Two groups of recorded runs: what differs, and how surely, as a whole and by operation."""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from antiphon.runtime.replay.bootstrap import interval
from antiphon.runtime.replay.critical import critical_path
from antiphon.runtime.store.spending import covered_ns
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.estimate import quantile
from antiphon.runtime.whatif.trace import Trace

MOST_LABELS: Final = 60  # of 400 runs each takes 20 ms to draw intervals for
_NS = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What one operation took in one run: how often, seconds in which no work below it ran, and on the critical path.

    Times include waiting. On the critical path they add up to the run's latency.
    """

    count: float = 0.0
    own_s: float = 0.0
    critical_s: float = 0.0


_NOTHING: Final = Spent()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One run. ``failed``: it did not end well; ``spent``: by label; ``scores``: what was said of it, by name."""

    failed: bool
    latency_s: float
    tokens: float
    model_s: float
    usd: float
    spent: Mapping[str, Spent]
    scores: Mapping[str, float] = field(default_factory=dict)

    def of(self, label: str) -> Spent:
        """What an operation took; nothing where the run has none."""
        return self.spent.get(label, _NOTHING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One quantity in both groups and the difference, second minus first, with its 90 % interval.

    The interval is None where a group has fewer than two runs to draw from. ``unit``: s, tokens, usd, share or empty.
    ``runs``: in how many of each group it was measured.
    """

    name: str
    unit: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    runs: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One operation in a mean run of each group, and the differences of its two times with their intervals."""

    label: str
    first: Spent
    second: Spent
    own: Measured
    critical: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """``operations``: those that change latency most first; ``more`` others are left out."""

    runs: tuple[int, int]
    measured: tuple[Measured, ...]
    operations: tuple[Operation, ...]
    more: int


def sample_of(trace: Trace, *, failed: bool, scores: Mapping[str, float]) -> Sample:
    """What is compared of one run."""
    counts: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for step in trace.steps:
        below = ((trace.steps[i].start_ns, trace.steps[i].end_ns) for i in step.children)
        counts[step.label] += 1
        own[step.label] += step.duration_ns - covered_ns(below, step.start_ns, step.end_ns)
    critical = critical_path(trace)
    cost = cost_of(trace.steps)
    return Sample(
        failed=failed,
        latency_s=trace.latency_ns / _NS,
        tokens=cost.tokens,
        model_s=cost.model_s,
        usd=cost.usd,
        spent={
            label: Spent(count=count, own_s=own[label] / _NS, critical_s=critical.get(label, 0) / _NS)
            for label, count in counts.items()
        },
        scores=scores,
    )


def contrast(first: Sequence[Sample], second: Sequence[Sample]) -> Contrast:
    """What differs between the groups, of which neither may be empty.

    The runs of each group are drawn again apart from those of the other: nothing pairs them. Everything but the share
    of failures and the scores is of runs that did not fail, as a run that fails early costs less and is no better.
    """
    groups = (first, second)
    well = tuple([run for run in group if not run.failed] for group in groups)
    measured = [_measured("failed", "share", groups, lambda run: float(run.failed))]
    if all(well):
        measured = [_measured(name, unit, well, value, of) for name, unit, value, of in _QUANTITIES] + measured
    for name in sorted({name for group in groups for run in group for name in run.scores}):
        scored = tuple([run for run in group if name in run.scores] for group in groups)
        if all(scored):
            measured.append(_measured(f"score {name}", "", scored, _score(name)))
    operations = _operations(*well) if all(well) else []
    operations.sort(key=_weight)
    return Contrast(
        runs=(len(first), len(second)),
        measured=tuple(each for each in measured if each.unit != "usd" or each.first or each.second),
        operations=tuple(
            Operation(
                label=label,
                first=a,
                second=b,
                own=_measured("own time", "s", well, _spend(label, "own_s")),
                critical=_measured("critical path", "s", well, _spend(label, "critical_s")),
            )
            for label, a, b in operations[:MOST_LABELS]
        ),
        more=len(operations[MOST_LABELS:]),
    )


def _operations(first: Sequence[Sample], second: Sequence[Sample]) -> list[tuple[str, Spent, Spent]]:
    labels = {label for run in (*first, *second) for label in run.spent}
    return [(label, _spent(first, label), _spent(second, label)) for label in labels]


def _spent(runs: Sequence[Sample], label: str) -> Spent:
    found = [run.of(label) for run in runs]
    return Spent(
        count=sum(each.count for each in found) / len(runs),
        own_s=sum(each.own_s for each in found) / len(runs),
        critical_s=sum(each.critical_s for each in found) / len(runs),
    )


def _spend(label: str, part: Literal["own_s", "critical_s"]) -> Callable[[Sample], float]:
    return lambda run: run.of(label).own_s if part == "own_s" else run.of(label).critical_s


def _weight(operation: tuple[str, Spent, Spent]) -> tuple[float, float, str]:
    label, a, b = operation
    return -abs(b.critical_s - a.critical_s), -abs(b.own_s - a.own_s), label


def _score(name: str) -> Callable[[Sample], float]:
    return lambda run: run.scores[name]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_QUANTITIES: Final[tuple[tuple[str, str, Callable[[Sample], float], Callable[[Sequence[float]], float]], ...]] = (
    ("latency, mean", "s", lambda run: run.latency_s, _mean),
    ("latency, p50", "s", lambda run: run.latency_s, lambda values: quantile(values, 0.5)),
    ("latency, p95", "s", lambda run: run.latency_s, lambda values: quantile(values, 0.95)),
    ("tokens a run", "tokens", lambda run: run.tokens, _mean),
    ("model time a run", "s", lambda run: run.model_s, _mean),
    ("cost a run", "usd", lambda run: run.usd, _mean),
)


def _measured(
    name: str,
    unit: str,
    groups: Sequence[Sequence[Sample]],
    value: Callable[[Sample], float],
    of: Callable[[Sequence[float]], float] = _mean,
) -> Measured:
    a, b = ([value(run) for run in group] for group in groups)

    def drawn(rng: random.Random) -> float:
        return of(rng.choices(b, k=len(b))) - of(rng.choices(a, k=len(a)))

    low, high = interval(drawn) if len(a) > 1 and len(b) > 1 else (None, None)
    return Measured(
        name=name, unit=unit, first=of(a), second=of(b), difference=of(b) - of(a), low=low, high=high,
        runs=(len(a), len(b)),
    )  # fmt: skip
