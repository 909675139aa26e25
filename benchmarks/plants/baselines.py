"""Two plainer ways to find waste in the same spans: thresholds with closed-form savings, and the critical path alone.

Thresholds are those that Sentry documents for its performance detectors (consecutive spans: at least two of 30 ms one
after the other, saving = sum - max, at least 10 %; N+1: five or more calls of one description under one parent), and
equal inputs within a trace. The critical path alone (CRISP, ATC'22) says that what it spends most time in should be
made faster, and predicts that all of that time goes away.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.runtime.replay.critical import critical_path
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Step, Trace, build
from antiphon.schemas.telemetry import SpanRecord
from plants.stage import Recording

MIN_S = 0.030
MIN_SHARE = 0.10
MANY = 5
_CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Share of traces that were flagged, and the predicted saving relative to the mean latency."""

    flagged: float
    saving: float


def judge(recording: Recording) -> dict[str, Verdict]:
    """Both baselines over a recording."""
    spans: dict[bytes, list[tuple[SpanRecord, str]]] = defaultdict(list)
    for batch in recording.batches:
        for span in batch.spans:
            if span.end_ns:
                spans[span.trace_id].append((span, batch.node))
    traces = [trace for trace in map(build, spans.values()) if trace is not None]
    return {"thresholds": _verdict(traces, _closed_form), "critical path": _verdict(traces, _critical)}


def _verdict(traces: list[Trace], saving: Callable[[Trace], float]) -> Verdict:
    saved = [saving(trace) for trace in traces]
    took = sum(trace.latency_ns for trace in traces) / 1e9
    flagged = sum(s > MIN_SHARE * trace.latency_ns / 1e9 for s, trace in zip(saved, traces, strict=True))
    return Verdict(flagged / max(len(traces), 1), sum(saved) / took if took else 0.0)


def _closed_form(trace: Trace) -> float:
    return sum(_serial(trace, step) for step in trace.steps if step.operation == facts.PROCESS)


def _serial(trace: Trace, parent: Step) -> float:
    calls = [trace.steps[i] for i in parent.children if trace.steps[i].operation in _CALLS]
    calls = [call for call in calls if call.duration_ns >= MIN_S * 1e9]
    saved = 0.0
    seen: set[str] = set()
    for call in calls:
        content = facts.text(call.span, attr.INPUT_HASH)
        if content and content in seen:
            saved += call.duration_ns / 1e9
        seen.add(content)
    chain: list[Step] = []
    for call in calls:
        if chain and call.start_ns < chain[-1].end_ns:
            saved += _less_the_longest(chain)
            chain = []
        chain.append(call)
    return saved + _less_the_longest(chain)


def _less_the_longest(chain: list[Step]) -> float:
    lasts = [call.duration_ns / 1e9 for call in chain]
    return sum(lasts) - max(lasts, default=0.0)


def _critical(trace: Trace) -> float:
    """The time of the label that the critical path spends most in."""
    return max(critical_path(trace).values(), default=0) / 1e9
