"""A trace as a detector is shown it."""

from collections.abc import Callable

import pytest

from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.runtime.whatif.testing import Traced
from antiphon.runtime.whatif.trace import build


@pytest.fixture
def observed() -> Callable[[Traced], Observed]:
    """``observed(traced)``: the trace closed and in its cohort, for a detector without a core around it."""
    cohorts = Cohorts()

    def closing(traced: Traced) -> Observed:
        trace = build([(span, traced.nodes[span.span_id]) for span in traced.spans])
        assert trace is not None
        return Observed(trace, cohorts.see(trace))

    return closing
