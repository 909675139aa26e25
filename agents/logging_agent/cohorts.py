"""Which runs are alike: one workflow is one cohort, whatever its arguments and however often it loops."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from antiphon.runtime.whatif.cost import Cost, cost_of
from antiphon.runtime.whatif.trace import Trace

if TYPE_CHECKING:
    from antiphon.agents.logging_agent.window import Window

LIMIT = 512
SHAPES = 8  # of one entry, by then: with more, what its runs do is decided while they run, and they are one cohort
KEEP_RUNS = 64  # of each cohort: percentiles rest on the newest of them


@dataclass(slots=True)
class Cohort:
    """What is known of one workflow. Sums, and the newest runs with what each took, are of runs that did not fail.

    ``window`` has the newest runs of all workflows: they share pools.
    """

    key: str
    label: str  # for people: planner.plan#1f0c22ab
    window: "Window | None" = None
    runs: int = 0
    latency_s: float = 0.0
    tokens: float = 0.0
    model_s: float = 0.0
    usd: float = 0.0
    recent_s: "OrderedDict[str, float]" = field(default_factory=OrderedDict)

    def add(self, run: str, latency_s: float, cost: Cost) -> None:
        """One more run."""
        self.recent_s[run] = latency_s
        self.recent_s.move_to_end(run)
        if len(self.recent_s) > KEEP_RUNS:
            self.recent_s.popitem(last=False)
        self.runs += 1
        self.latency_s += latency_s
        self.tokens += cost.tokens
        self.model_s += cost.model_s
        self.usd += cost.usd


class Cohorts:
    """The workflows seen, at most ``limit``; the least recently seen is forgotten."""

    def __init__(self, window: "Window | None" = None, limit: int = LIMIT) -> None:
        self._limit = limit
        self._window = window
        self._shapes: OrderedDict[str, set[str]] = OrderedDict()  # by the handler by which runs come in
        self._known: OrderedDict[str, Cohort] = OrderedDict()

    def see(self, trace: Trace) -> Cohort:
        """The trace's cohort, the trace counted in."""
        key = self._key(trace)
        cohort = self._known.get(key)
        if cohort is None:
            cohort = self._known[key] = Cohort(key, f"{trace.label}#{key[:8]}", self._window)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        self._known.move_to_end(key)
        if not trace.steps[trace.finish].excluded:
            cohort.add(trace.run, trace.latency_ns / 1e9, cost_of(trace.steps))
        return cohort

    def _key(self, trace: Trace) -> str:
        key = template(trace)
        shapes = self._shapes.setdefault(trace.label, set())
        self._shapes.move_to_end(trace.label)
        if len(self._shapes) > self._limit:
            self._shapes.popitem(last=False)
        if len(shapes) < SHAPES:
            shapes.add(key)
        return key if key in shapes else hashlib.sha256(f"any shape of {trace.label}".encode()).hexdigest()


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
