"""What shorter model calls save their run."""

from typing import TYPE_CHECKING

import pytest

from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.shorter import gain_of
from antiphon.runtime.whatif.trace import build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def run(traced: "type[Traced]", *, served: bool = False) -> Observed:
    """Two model calls of 500 and 800 ms at once, and one of 300 ms after them."""
    trace = traced(1)
    root = trace.ask(None, "helper.help", 0, 1_100)
    for start_ms, end_ms in ((0, 500), (0, 800), (800, 1_100)):
        call = trace.model(root, start_ms, end_ms)
        if served:
            trace.add(call, "process model", start_ms, end_ms, kind=4, antiphon__pool__id="model:m@n2")
    built = build([(span, "n1") for span in trace.spans])
    assert built is not None
    return Observed(built, Cohorts().see(built))


@pytest.mark.parametrize("served", [False, True])
def test_only_what_others_wait_for_saves_latency(traced: "type[Traced]", served: bool) -> None:
    """The longer of two calls is shorter by 0.2 s and the shorter by 0.4: the run ends 0.2 s earlier. It is the same
    where a server on another node did the work."""
    observed = run(traced, served=served)
    short, long, last = [step for step in observed.trace.steps if step.operation == "model"]
    gain = gain_of(observed, [(short, 0.4), (long, 0.2)], 10)
    assert gain.latency_s == pytest.approx((0.2, 0.2))
    assert gain.tokens == 10
    assert gain.model_s == pytest.approx(0.6)
    assert gain_of(observed, [(last, 5.0)], 0).latency_s == pytest.approx((0.3, 0.3))


def test_without_seconds_there_are_tokens(traced: "type[Traced]") -> None:
    """One call of unknown time leaves nothing to be said of time."""
    observed = run(traced)
    one, two, _ = [step for step in observed.trace.steps if step.operation == "model"]
    gain = gain_of(observed, [(one, 0.1), (two, None)], 10)
    assert (gain.latency_s, gain.tokens, gain.model_s) == (None, 10, None)
