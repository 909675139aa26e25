"""The core reports what is new, counts what it missed and ignores itself."""

import random
from typing import TYPE_CHECKING, ClassVar

import pytest

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced

S = 1_000_000_000


def serial(traced: "type[Traced]", number: int) -> "Traced":
    """A run with two independent lookups of 300 ms in a row."""
    trace = traced(number)
    root = trace.ask(None, "planner.plan", 0, 1_000)
    for start in (100, 400):
        trace.tool(root, "look", start, start + 300, causes=[])
    return trace


def test_a_finding_is_told_when_it_changes(traced: "type[Traced]", look: "Look") -> None:
    """Four candidates, each with more support, then open, then again at a quarter more support: not once a run."""
    looked = look([serial(traced, n) for n in range(1, 16)])
    assert looked.one("p1").state is FindingState.OPEN
    assert looked.messages == 4 + 1 + 4  # at 5, then at 7, 9, 12 and 15 runs


def test_own_spans_are_ignored(traced: "type[Traced]", look: "Look") -> None:
    """What the observability system does is no evidence, or it would watch itself watching."""
    found = [serial(traced, n) for n in range(1, 10)]
    for trace in found:
        for span in trace.spans:
            span.attributes["antiphon.obs"] = True
    looked = look(found)
    assert looked.findings == {}
    assert looked.core.stats().closed_traces == 0


def test_argument_values_do_not_split_a_finding(traced: "type[Traced]", look: "Look") -> None:
    """One pattern, one cohort, one subject: one id."""
    found = [serial(traced, n) for n in range(1, 10)]
    for number, trace in enumerate(found):
        for span in trace.spans:
            span.attributes["antiphon.input.sha256"] = f"{number}"
    assert len(look(found).findings) == 1


def test_stats_count_what_was_missed(traced: "type[Traced]") -> None:
    """Batches, spans, gaps, drops, late spans and open traces."""
    core = LoggingCore(rng=random.Random(0))
    trace = serial(traced, 1)
    core.feed(TelemetryBatch(node="n", sequence=1, spans=trace.spans), 0)
    core.feed(TelemetryBatch(node="n", sequence=4, dropped=7, spans=serial(traced, 2).spans[:1]), 0)
    core.tick(3 * S)
    core.feed(TelemetryBatch(node="n", sequence=5, dropped=7, spans=trace.spans[:2]), 4 * S)
    stats = core.stats()
    assert (stats.batches, stats.spans) == (3, 7)
    assert (stats.gaps, stats.dropped, stats.late) == (2, 7, 2)
    assert (stats.open_traces, stats.closed_traces, stats.evicted_traces) == (1, 1, 0)


def test_a_clean_system_raises_no_alarm(traced: "type[Traced]", look: "Look") -> None:
    """A thousand runs of varied, sensible work: nothing to report."""
    rng = random.Random(11)
    found = []
    for number in range(1, 1_001):
        trace = traced(number)
        root = trace.ask(None, "writer.write", 0, 2_000, node="n0")
        plan = trace.model(root, 10, 10 + rng.uniform(100, 300), causes=[], content=f"p{number}")
        together = [
            trace.ask(root, "reader.read", 320, 320 + rng.uniform(50, 400), causes=[plan.span_id.hex()])
            for _ in range(rng.randint(1, 4))
        ]
        causes = [trace.publish_of(t).span_id.hex() for t in together]
        trace.model(root, 750, 750 + rng.uniform(100, 500), causes=causes, content=f"d{number}")
        if rng.random() < 0.3:
            trace.tool(root, "save", 1_300, 1_400, causes=causes, effect="write")
        found.append(trace)
    assert look(found).findings == {}


class _Counted:
    """A detector that looks at the window only."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self) -> None:
        self.seen: list[int] = []

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing."""

    def trace(self, observed: Observed) -> None:
        """How many runs the window has."""
        assert observed.cohort.window is not None
        self.seen.append(len(list(observed.cohort.window)))

    def findings(self, now_ns: int) -> list[Finding]:
        """None."""
        return []


def test_what_compares_two_models_is_no_run(traced: "type[Traced]") -> None:
    """A route at level shadow asks the other model in a trace of its own; a run whose answer was compared is a run."""
    counted = _Counted()
    core = LoggingCore(rng=random.Random(0), using=[counted])
    runs = [serial(traced, 1), serial(traced, 3)]
    runs[1].spans[0].attributes["antiphon.shadow.equal"] = True
    beside = traced(2, run="run1")
    beside.add(None, "shadow p", 0, 10, antiphon__shadow__equal=True, antiphon__operation="model")
    for trace in (runs[0], beside, runs[1]):
        core.feed(TelemetryBatch(node="n", sequence=trace.number, spans=trace.spans), trace.at_ns)
        core.tick(trace.at_ns + 3 * S)
    assert counted.seen == [1, 1, 2]


@pytest.mark.parametrize("value", [None, 3, "x", [1], {"a": 1}, float("nan"), -1, True])
def test_hostile_attributes_are_survived(traced: "type[Traced]", look: "Look", value: object) -> None:
    """Any value in any attribute is read or ignored, never raised."""
    trace = serial(traced, 1)
    trace.model(trace.spans[1], 700, 800)
    for span in trace.spans:
        for key in span.attributes:
            if key != "antiphon.operation":
                span.attributes[key] = value
    look([trace])
