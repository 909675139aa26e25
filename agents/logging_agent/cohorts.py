"""Which runs are alike: one workflow is one cohort, whatever its arguments and however often it loops."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from antiphon.runtime.whatif.cost import Cost, cost_of
from antiphon.runtime.whatif.trace import Trace

LIMIT = 512


@dataclass(slots=True)
class Cohort:
    """What is known of one workflow. Sums are over its runs that did not fail."""

    key: str
    label: str  # for people: planner.plan#1f0c22ab
    runs: int = 0
    latency_s: float = 0.0
    tokens: float = 0.0
    model_s: float = 0.0

    def add(self, latency_s: float, cost: Cost) -> None:
        """One more run."""
        self.runs += 1
        self.latency_s += latency_s
        self.tokens += cost.tokens
        self.model_s += cost.model_s


class Cohorts:
    """The workflows seen, at most ``limit``; the least recently seen is forgotten."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._known: OrderedDict[str, Cohort] = OrderedDict()

    def see(self, trace: Trace) -> Cohort:
        """The trace's cohort, the trace counted in."""
        key = template(trace)
        cohort = self._known.get(key)
        if cohort is None:
            cohort = self._known[key] = Cohort(key, f"{trace.label}#{key[:8]}")
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        if not trace.steps[trace.finish].excluded:
            cohort.add(trace.latency_ns / 1e9, cost_of(trace.steps))
        return cohort


def template(trace: Trace) -> str:
    """Hash of the workflow's shape: labels of steps and what lies below each, as sets.

    Sets, so that three or five calls of one peer, and calls in a row or together, are one workflow: a remedy must
    not move its runs to another cohort. Failed and retried steps are left out.
    """
    shapes: list[str] = [""] * len(trace.steps)
    for step in reversed(trace.steps):  # children before parents
        if step.excluded:
            continue
        below = sorted({shapes[i] for i in step.children} - {""})
        shapes[step.index] = hashlib.sha256("\n".join((step.label, *below)).encode()).hexdigest()
    roots = sorted({shapes[s.index] for s in trace.steps if s.parent is None} - {""})
    return hashlib.sha256("\n".join(roots).encode()).hexdigest()
