"""The shell feeds batches, reports on ticks and loses no finding when the bus fails."""

import random
from typing import TYPE_CHECKING, Any, cast

import pytest

from antiphon.agents.logging_agent.agent import logging_agent, watch
from antiphon.runtime.errors import BusUnavailable
from antiphon.schemas.finding import Finding
from antiphon.schemas.telemetry import TelemetryBatch

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

S = 1_000_000_000


class Tap:
    """A tap context with a hand-set clock; fails its first ``failures`` reports."""

    def __init__(self, failures: int = 0) -> None:
        self.now = 0
        self.failures = failures
        self.found: list[Finding] = []

    def now_ns(self) -> int:
        """The set time."""
        return self.now

    async def report(self, finding: Finding) -> None:
        """Keep it, or fail."""
        if self.failures:
            self.failures -= 1
            raise BusUnavailable("no server; start one")
        self.found.append(finding)


def batch(traced: "type[Traced]", number: int) -> TelemetryBatch:
    """A run with two independent lookups in a row."""
    trace = traced(number)
    root = trace.ask(None, "planner.plan", 0, 1_000)
    for start in (100, 400):
        trace.tool(root, "look", start, start + 300, causes=[])
    random.Random(number).shuffle(trace.spans)
    return TelemetryBatch(node="n", sequence=number, spans=trace.spans)


async def test_findings_are_reported_on_ticks(traced: "type[Traced]") -> None:
    """Batches only feed; the tick after the grace reports."""
    tap, see = Tap(), watch()
    for number in range(1, 6):
        await see(batch(traced, number), cast(Any, tap))
    assert tap.found == []
    tap.now = 3 * S
    await see(None, cast(Any, tap))
    assert [finding.pattern for finding in tap.found] == ["p1"]


async def test_a_finding_survives_a_failed_report(traced: "type[Traced]") -> None:
    """What could not be sent is sent with the next tick."""
    tap, see = Tap(failures=1), watch()
    await see(batch(traced, 1), cast(Any, tap))
    tap.now = 3 * S
    with pytest.raises(BusUnavailable):
        await see(None, cast(Any, tap))
    await see(None, cast(Any, tap))
    assert len(tap.found) == 1


def test_the_agent_observes_and_each_node_has_its_own_core() -> None:
    """Its spans are marked as its own, and the tap makes a new watcher each time."""
    assert logging_agent.observes
    assert len(logging_agent.taps) == 1
    assert watch() is not watch()
