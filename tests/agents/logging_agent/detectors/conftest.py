"""A trace as a detector is shown it."""

from collections.abc import Callable

import pytest

from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.window import Window
from antiphon.runtime.whatif.testing import Traced
from antiphon.runtime.whatif.trace import build


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
