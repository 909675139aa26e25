"""Calls that a handler makes at once and waits for: how long they take by what they have to do, and what is left."""

import math
import statistics
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.window import RUNS
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.estimate import p95
from antiphon.runtime.whatif.regression import fit_line
from antiphon.runtime.whatif.trace import Step, Trace

MIN_WIDTH = 3  # calls of one fan-out
LEAVES = 1_000  # of one call in one cohort: some 100 KB

_CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})
_FITTED = 300  # calls that the law of sizes rests on: some 10 ms
_LARGEST = 1e12  # tokens or bytes; more is not believed


@dataclass(frozen=True, slots=True)
class Leaf:
    """A call of a fan-out: how long it took, waiting included, and how much it had to do.

    ``size`` is not a number where that is not on record. ``key`` is the trace and the step of the call.
    """

    key: tuple[str, int]
    start_ns: int
    took_s: float
    size: float


class FanOuts:
    """The fan-outs of one call in the newest RUNS runs of a cohort, at most LEAVES calls: more than a window has."""

    def __init__(self) -> None:
        self._runs: deque[list[list[Leaf]]] = deque()
        self._leaves = 0

    def add(self, groups: list[list[Leaf]]) -> None:
        """What one more run made at once."""
        self._runs.append(groups)
        self._leaves += sum(map(len, groups))
        while len(self._runs) > RUNS or (self._leaves > LEAVES and len(self._runs) > 1):
            self._leaves -= sum(map(len, self._runs.popleft()))

    def groups(self) -> list[list[Leaf]]:
        """All of them, oldest first."""
        return [group for run in self._runs for group in run]


@dataclass(frozen=True, slots=True)
class Tail:
    """What calls take by size, and what is left."""

    at_least_s: float
    per_size_s: float
    left_s: tuple[float, ...]
    ratio: float  # E[slowest of a fan-out] / median, at equal size
    delay_s: float

    def expected_s(self, leaf: Leaf) -> float:
        """What a call of that size takes."""
        return self.at_least_s + self.per_size_s * leaf.size


def fan_outs(trace: Trace) -> Iterator[list[Step]]:
    """The calls of one label that a handler made at once and waited for all of."""
    for handler in trace.steps:
        if handler.operation != facts.PROCESS or handler.excluded or len(handler.children) < MIN_WIDTH:
            continue
        groups: dict[tuple[str, str], list[Step]] = {}
        for index in handler.children:
            step = trace.steps[index]
            if step.operation in _CALLS and not step.excluded:
                groups.setdefault((facts.text(step.span, attr.GROUP), step.label), []).append(step)
        for (path, _), group in groups.items():
            if len(group) >= MIN_WIDTH and (_all_needed(handler, trace, path) if path else _overlap(group)):
                yield group


def _all_needed(handler: Step, trace: Trace, path: str) -> bool:
    """Whether the group waits for all its branches: one may make several calls, ``3.b.1`` is of branch b of group 3."""
    found = [s for i in handler.children if facts.text((s := trace.steps[i]).span, attr.GROUP) == path]
    branches = {facts.text(s.span, attr.PATH).removeprefix(f"{path}.").partition(".")[0] or s.id for s in found}
    needed = max((facts.whole(s.span, attr.GROUP_NEEDED) or 0 for s in found), default=0)
    return not needed or needed >= len(branches)


def _overlap(group: Sequence[Step]) -> bool:
    return max(step.start_ns for step in group) < min(step.end_ns for step in group)


def leaf_of(trace: Trace, step: Step) -> Leaf:
    """The call, with what it had to do: tokens at and below it, or else bytes in and out."""
    return Leaf((trace.id, step.index), step.start_ns, step.duration_ns / 1e9, _size(trace, step))


def _size(trace: Trace, step: Step) -> float:
    below = list(trace.below(step.index))
    if any(s.operation == facts.MODEL for s in below):
        tokens = cost_of(below).tokens
        return tokens if 0 < tokens <= _LARGEST else math.nan
    sizes = [facts.number(s.span, key) for s in below[:2] for key in (attr.MESSAGING_BODY_SIZE, attr.RESULT_SIZE)]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and max(known) <= _LARGEST else math.nan


def tail_of(groups: Sequence[Sequence[Leaf]]) -> Tail | None:
    """The law and tail of calls in fan-outs; None where the size of one is not on record."""
    leaves = [leaf for group in groups for leaf in group]
    if any(math.isnan(leaf.size) for leaf in leaves):
        return None
    fitted = leaves[-_FITTED:]
    at_least_s, per_size_s = fit_line([(1.0, leaf.size) for leaf in fitted], [leaf.took_s for leaf in fitted])

    def left_s(leaf: Leaf) -> float:
        return leaf.took_s - at_least_s - per_size_s * leaf.size

    typical_s = statistics.median(leaf.took_s for leaf in leaves)
    slowest_s = statistics.fmean(typical_s + max(left_s(leaf) for leaf in group) for group in groups)
    if typical_s <= 0:
        return None
    delay_s = p95([leaf.took_s for leaf in leaves])
    return Tail(at_least_s, per_size_s, tuple(map(left_s, leaves)), slowest_s / typical_s, delay_s)
