"""A trace as a detector is shown it."""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import pytest

from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.detectors.base import Detector, Observed
from antiphon.agents.logging_agent.window import Window
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.testing import Traced
from antiphon.runtime.whatif.trace import build

Stripped = Callable[[Sequence[Traced]], Sequence[Traced]]
Nested = Callable[[Sequence[Traced], int], list[Traced]]
Spoiled = Callable[[Detector, Sequence[Traced]], None]


@pytest.fixture
def observed() -> Callable[[Traced], Observed]:
    """``observed(traced)``: the trace closed, in its cohort and in the window, for a detector without a core."""
    window = Window()
    cohorts = Cohorts(window)

    def closing(traced: Traced) -> Observed:
        trace = build([(span, traced.nodes[span.span_id]) for span in traced.spans])
        assert trace is not None
        seen = Observed(trace, cohorts.see(trace))
        window.add(seen)
        return seen

    return closing


@pytest.fixture
def nested() -> Nested:
    """``nested(runs, size)``: of each ``size`` runs one, in which the first one's handler asked for all the others."""

    def nest(runs: Sequence[Traced], size: int) -> list[Traced]:
        found = []
        for first in range(0, len(runs), size):
            outer, *inner = runs[first : first + size]
            asked, handler = outer.spans[:2]
            for run in inner:
                for span in run.spans:
                    span.trace_id = outer.trace_id
                    span.parent_id = span.parent_id or handler.span_id
                outer.spans += run.spans
                outer.nodes |= run.nodes
            asked.end_ns = handler.end_ns = max(span.end_ns for span in outer.spans)
            found.append(outer)
        return found

    return nest


@pytest.fixture
def stripped() -> Stripped:
    """``stripped(runs)``: the same work without our facts on record."""

    def strip(runs: Sequence[Traced]) -> Sequence[Traced]:
        for span in (span for run in runs for span in run.spans):
            span.attributes = {k: v for k, v in span.attributes.items() if not k.startswith("antiphon.")}
        return runs

    return strip


@pytest.fixture(params=["x", -1, 2**70, 1e308, True, None, [1]])
def spoiled(request: pytest.FixtureRequest, observed: Callable[[Traced], Observed]) -> Spoiled:
    """``spoiled(detector, runs)``: shows it the runs, every third span with another attribute that cannot be."""
    wrong: Any = request.param

    def show(detector: Detector, runs: Sequence[Traced]) -> None:
        names = cycle(sorted({name for run in runs for span in run.spans for name in span.attributes}))
        for run in runs:
            for span in run.spans[::3]:
                span.attributes[next(names)] = wrong
            for span in run.spans:
                if facts.operation(span) in detector.streams:
                    detector.observe(span, "n0")
            detector.trace(observed(run))
            detector.findings(0)

    return show
