"""The logging agent without its shell: batches in, findings out; no await, no clock."""

import random
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.assembler import Limits, TraceAssembler
from antiphon.agents.logging_agent.cases import AGAIN, points, points_differ
from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.detectors import catalogue
from antiphon.agents.logging_agent.detectors.base import Detector, Observed
from antiphon.agents.logging_agent.sampling import Sampling
from antiphon.agents.logging_agent.sequences import Sequences
from antiphon.agents.logging_agent.window import Window
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.foreign import mapped
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.identity import new_id
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

_REPORTED = 4_096


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What the logging agent has seen and what it missed."""

    batches: int
    spans: int
    gaps: int  # batches that never came
    dropped: int  # records that nodes threw away
    late: int  # spans whose trace was closed already
    open_traces: int
    closed_traces: int
    evicted_traces: int  # dropped unanalysed, because a cap was reached
    share: float  # of traces that are analysed now; below 1 where more come than there is time for


class LoggingCore:
    """Feeds detectors and reports what they find, each finding when it is new or says something else.

    ``seen`` is shown every closed trace, ``sighted`` every finding each time that a detector sees it. ``content_hash``
    is for contents of spans that are not ours; without it, one with a key of its own.
    """

    def __init__(
        self,
        *,
        rng: random.Random,
        limits: Limits | None = None,
        using: Sequence[Detector] | None = None,
        seen: Callable[[Trace], None] | None = None,
        sighted: Callable[[Finding], None] | None = None,
        content_hash: ContentHash | None = None,
    ) -> None:
        self._seen = seen
        self._sighted = sighted
        self._detectors = catalogue.make(rng) if using is None else list(using)
        self._hash = ContentHash(new_id()) if content_hash is None else content_hash
        self._streams: dict[str, list[Callable[[SpanRecord, str], None]]] = {}
        for detector in self._detectors:
            for operation in detector.streams:
                self._streams.setdefault(operation, []).append(detector.observe)
        limits = limits or Limits()
        self._assembler = TraceAssembler(limits)
        self._sampling = Sampling(limits.analysed_spans_per_s)
        self._window = Window()
        self._cohorts = Cohorts(self._window)
        self._sequences = Sequences()
        self._reported: OrderedDict[str, Finding] = OrderedDict()
        self._batches = self._spans = 0

    def feed(self, batch: TelemetryBatch, now_ns: int) -> None:
        """Take a node's batch, arrived at ``now_ns``. Spans of the observability system are left out."""
        node = batch.node
        self._sequences.note(node, batch.sequence, batch.dropped)
        self._batches += 1
        self._spans += len(batch.spans)
        self._sampling.note(len(batch.spans), now_ns)
        admits, streams, add = self._sampling.admits, self._streams, self._assembler.add
        content_hash = self._hash
        for span in batch.spans:
            if span.attributes.get(attr.OBS) is True:
                continue
            span = mapped(span, content_hash)
            if admits(span.trace_id):
                add(span, node, now_ns)
            if span.end_ns:
                for observe in streams.get(facts.operation(span), ()):
                    observe(span, node)

    def tick(self, now_ns: int) -> list[Finding]:
        """Close what is due, a bounded part at once (``is_behind``), and return the findings that are new or changed.

        Changed means: its state, its support while that is below what is required, or a saving by more than 5 %, or
        a quarter more support.
        """
        for trace in self._assembler.close(now_ns, partial_since_ns=self._sampling.partial_since_ns):
            if self._seen is not None:
                self._seen(trace)
            observed = Observed(trace, self._cohorts.see(trace))
            is_run = not trace.steps[trace.finish].excluded and not _is_comparison(trace)
            if is_run:
                self._window.add(observed)
            for detector in self._detectors:
                detector.trace(observed)
            if not is_run:
                observed.leave()
        found = [finding for detector in self._detectors for finding in detector.findings(now_ns)]
        if self._sighted is not None:
            for finding in found:
                self._sighted(finding)
        return [finding for finding in found if self._news(finding)]

    @property
    def is_behind(self) -> bool:
        """Whether the last tick left some that was due, or may have: tick again at the same time."""
        return self._assembler.is_behind

    def stats(self) -> Stats:
        """Counts since the start."""
        return Stats(
            batches=self._batches,
            spans=self._spans,
            gaps=self._sequences.gaps,
            dropped=self._sequences.dropped,
            late=self._assembler.late,
            open_traces=self._assembler.open_traces,
            closed_traces=self._assembler.closed,
            evicted_traces=self._assembler.evicted,
            share=self._sampling.share,
        )

    def _news(self, finding: Finding) -> bool:
        before = self._reported.get(finding.id)
        if before is not None and not changed(before, finding):
            return False
        self._reported[finding.id] = finding
        self._reported.move_to_end(finding.id)
        if len(self._reported) > _REPORTED:
            self._reported.popitem(last=False)
        return True


def _is_comparison(trace: Trace) -> bool:
    """Whether a policy at level shadow made it to compare two models: it is no run, and bears the id of one."""
    root = trace.steps[0].span
    return attr.SHADOW_EQUAL in root.attributes and all(step.operation != facts.PROCESS for step in trace.steps)


def changed(before: Finding, now: Finding) -> bool:
    """Whether the finding says something else than before: see ``LoggingCore.tick``."""
    if before.state is not now.state:
        return True
    if now.state is FindingState.CANDIDATE:
        return before.support != now.support
    return now.support >= AGAIN * before.support or points_differ(points(before.saving), points(now.saving))
