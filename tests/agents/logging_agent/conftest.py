"""A core that looks at synthetic traces."""

import random
from collections.abc import Callable, Iterable

import pytest

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.runtime.whatif.testing import S, Traced
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
