"""What a window of 50 runs shows of one workflow, many windows show of each of thirteen that take turns in it."""

import random
from typing import TYPE_CHECKING, Any

import pytest
from tests.agents.logging_agent.detectors import test_p15_unused_results as p15
from tests.agents.logging_agent.detectors import test_p16_straggler as p16
from tests.agents.logging_agent.detectors import test_p17_queue_bound as p17
from tests.agents.logging_agent.detectors import test_p19_blocked_behind_long_runs as p19
from tests.agents.logging_agent.detectors import test_p20_missed_batching as p20

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.agents.logging_agent.detectors.catalogue import catalogue
from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.telemetry import TelemetryBatch

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

S = 1_000_000_000
WORKFLOWS = 13  # so that a window has four runs of one at most, of five that it takes

_RUNS: Any = {
    "p15": lambda traced: p15.runs(traced, 26 * WORKFLOWS, p15.two),
    "p16": lambda traced: [p16.fan_out(traced, n, every=5) for n in range(1, 30 * WORKFLOWS)],
    "p17": lambda traced: [p17.burst(traced, n) for n in range(1, 6 * WORKFLOWS)],
    "p19": lambda traced: [run for n in range(1, 3 * WORKFLOWS) for run in p19.hour(traced, n)],
    "p20": lambda traced: [run for n in range(1, 3 * WORKFLOWS) for run in p20.burst(traced, n)],
}


def as_workflow(run: "Traced", number: int) -> None:
    """Let it come in by a handler of its own."""
    handler = next(span for span in run.spans if attr.HANDLER in span.attributes)
    handler.attributes[attr.HANDLER] += str(number)


@pytest.mark.parametrize("pattern", _RUNS)
def test_each_of_many_workflows_with_the_waste_is_found(traced: "type[Traced]", pattern: str) -> None:
    """None of them ever has five runs in a window."""
    core = LoggingCore(rng=random.Random(1), using=[catalogue()[pattern](random.Random(1))])
    found: dict[str, Finding] = {}
    for number, run in enumerate(_RUNS[pattern](traced)):
        as_workflow(run, number % WORKFLOWS)
        core.feed(TelemetryBatch(node="n1", sequence=1, spans=run.spans), run.at_ns + 9 * S)
        found |= {finding.id: finding for finding in core.tick(run.at_ns + 12 * S)}
    cohorts = {finding.cohort.partition("#")[0] for finding in found.values() if finding.state is FindingState.OPEN}
    assert len(cohorts) == WORKFLOWS
