"""A core that looks at synthetic traces."""

import random
from collections.abc import Callable, Iterable

import pytest

from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.window import Window
from antiphon.runtime.whatif.testing import S, Traced
from antiphon.runtime.whatif.trace import build
from antiphon.schemas.finding import Finding
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch


class Looked:
    """What a core said about some traces, the last word on each finding."""

    def __init__(self, traces: Iterable[Traced], noise: Callable[[list[SpanRecord]], list[SpanRecord]] | None) -> None:
        self.core = LoggingCore(rng=random.Random(1))
        self.findings: dict[str, Finding] = {}
        self.messages = 0
        sequences: dict[str, int] = {}
        for traced in traces:
            spans = list(traced.spans) if noise is None else noise(list(traced.spans))
            now_ns = traced.at_ns + 9 * S
            for span in spans:
                node = traced.nodes[span.span_id]
                sequences[node] = sequences.get(node, 0) + 1
                self.core.feed(TelemetryBatch(node=node, sequence=sequences[node], spans=[span]), now_ns)
            self._note(self.core.tick(now_ns + 3 * S))
        self._note(self.core.tick(now_ns + 100 * S))

    def _note(self, findings: list[Finding]) -> None:
        self.messages += len(findings)
        self.findings.update((finding.id, finding) for finding in findings)

    def of(self, pattern: str) -> list[Finding]:
        """The findings of one pattern."""
        return [finding for finding in self.findings.values() if finding.pattern == pattern]

    def one(self, pattern: str) -> Finding:
        """The only finding of a pattern."""
        found = self.of(pattern)
        assert len(found) == 1, found
        return found[0]


Look = Callable[..., Looked]


@pytest.fixture
def look() -> Look:
    """``look(traces, noise=None)``: feed the traces to a core with all detectors, in order."""

    def looking(
        traces: Iterable[Traced], noise: Callable[[list[SpanRecord]], list[SpanRecord]] | None = None
    ) -> Looked:
        return Looked(traces, noise)

    return looking


@pytest.fixture
def traced() -> type[Traced]:
    """The builder of traces."""
    return Traced


@pytest.fixture
def queued() -> Callable[[int], Window]:
    """``queued(n)``: n runs that all come at once and ask a peer with one slot, in a window.

    The peer looks up two things one after the other, 100 ms each: run k waits for k others and takes 200 (k + 1) ms.
    """

    def runs(count: int) -> Window:
        window = Window()
        cohorts = Cohorts(window)
        for k in range(count):
            one = Traced(k, at_ms=0)
            root = one.ask(None, "writer.write", 0, 200 * (k + 1), node="n0")
            peer = one.ask(root, "critic.review", 0, 200 * (k + 1), capacity=1, wait_ms=200 * k)
            one.tool(peer, "search", 200 * k, 200 * k + 100)
            one.tool(peer, "price", 200 * k + 100, 200 * k + 200)
            trace = build([(span, one.nodes[span.span_id]) for span in one.spans])
            assert trace is not None
            window.add(Observed(trace, cohorts.see(trace)))
        return window

    return runs
