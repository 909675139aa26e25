"""Under load whole traces are sampled, uniformly; below it all are analysed."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.assembler import Limits
from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.agents.logging_agent.sampling import WIDEN, S, Sampling
from antiphon.runtime.whatif.testing import Traced
from antiphon.schemas.telemetry import TelemetryBatch

IDS = [random.Random(number).randbytes(16) for number in range(4_000)]


def test_everything_is_admitted_below_the_budget() -> None:
    """A quiet system is analysed whole."""
    sampling = Sampling(1_000)
    for second in range(10):
        sampling.note(900, (second + 1) * S)
    assert sampling.share == 1.0
    assert all(sampling.admits(trace) for trace in IDS)
    assert sampling.partial_since_ns is None


@given(st.integers(min_value=2_000, max_value=200_000))
def test_the_share_fits_the_budget(rate: int) -> None:
    """At ``rate`` spans a second, as many are analysed as the budget says, and traces are drawn evenly."""
    sampling = Sampling(1_000)
    for second in range(3):
        sampling.note(rate, (second + 1) * S)
    assert sampling.share * rate == pytest.approx(1_000, rel=1e-6)
    kept = sum(sampling.admits(trace) for trace in IDS)
    expected = sampling.share * len(IDS)
    assert abs(kept - expected) <= 5 * expected**0.5


def test_what_is_admitted_at_a_smaller_share_is_admitted_at_a_larger() -> None:
    """The same traces stay in, so that a slowly widening share does not cut those that run."""
    small, large = Sampling(1_000), Sampling(1_000)
    for second in range(3):
        small.note(50_000, (second + 1) * S)
        large.note(5_000, (second + 1) * S)
    assert all(large.admits(trace) for trace in IDS if small.admits(trace))


def test_the_share_widens_step_by_step() -> None:
    """One quiet second between two bursts does not open the gates."""
    sampling = Sampling(1_000)
    sampling.note(0, S)
    sampling.note(100_000, 2 * S)
    sampling.note(10, 3 * S)
    assert sampling.share == pytest.approx(0.01 * WIDEN)


def test_a_trace_that_came_in_part_is_not_analysed() -> None:
    """The share rose while a trace ran: what of it came before is lost, and nothing is said of the rest."""
    trace = Traced(1)
    root = trace.ask(None, "a.b", 0, 9_000)
    trace.model(root, 8_000, 9_000)
    core = LoggingCore(rng=random.Random(1), limits=Limits(analysed_spans_per_s=1))
    now_ns = trace.at_ns
    core.feed(TelemetryBatch(node="n", sequence=1), now_ns)
    core.feed(TelemetryBatch(node="n", sequence=2, spans=[trace.spans[0]] * 1_000), now_ns + 2 * S)
    assert core.stats().share < 1
    core.feed(TelemetryBatch(node="n", sequence=3, spans=trace.spans[2:]), now_ns + 3 * S)
    core.tick(now_ns + 700 * S)
    assert core.stats().closed_traces == 0
