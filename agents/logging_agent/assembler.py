"""Spans in any order become closed traces, in bounded memory."""

from collections import OrderedDict
from dataclasses import dataclass

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.foreign_trace import joined
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.telemetry import SpanRecord

S = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is kept and how long is waited. Defaults hold about 100 MB in the worst case (2 KB a span)."""

    traces: int = 10_000  # the budget of spans in traces of one span each: what comes in a tick and the grace
    spans: int = 50_000
    spans_per_trace: int = 2_000
    grace_ns: int = 2 * S  # after the last span of a trace that looks complete
    idle_ns: int = 30 * S  # after the last span of a trace that lacks something
    running_ns: int = 600 * S  # the same while a span of it is known to be running: models take minutes
    spans_per_tick: int = 1_000  # at once: closing analyses a trace, 50 us a span, and must not hold the loop
    analysed_spans_per_s: int = 3_000  # about a sixth of a core; of more, whole traces are sampled


class _Open:
    __slots__ = ("began_ns", "complete", "overfull", "seen_ns", "spans")

    def __init__(self) -> None:
        self.spans: dict[bytes, tuple[SpanRecord, str]] = {}
        self.began_ns = 0
        self.seen_ns = 0
        self.overfull = False
        self.complete: bool | None = None  # None: not judged since the last span came


class TraceAssembler:
    """Collects spans by trace and hands out each trace once, when nothing more is to be expected.

    What does not fit is dropped whole and counted, never analysed in part: a cap may cause misses, not false
    alarms. The same spans in any order, any number of times, give the same trace.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._open: OrderedDict[bytes, _Open] = OrderedDict()  # least recently touched first
        self._closed: OrderedDict[bytes, None] = OrderedDict()
        self._spans = 0
        self.evicted = 0  # traces dropped unanalysed
        self.late = 0  # spans that came after their trace was closed
        self.closed = 0
        self.is_behind = False  # more was due at the last ``close`` than it takes at once

    @property
    def open_traces(self) -> int:
        """Traces held now."""
        return len(self._open)

    @property
    def open_spans(self) -> int:
        """Spans held now."""
        return self._spans

    def add(self, span: SpanRecord, node: str, now_ns: int) -> None:
        """Keep a span that arrived at ``now_ns``."""
        key = span.trace_id
        trace = self._open.get(key)
        if trace is None:
            if key in self._closed:
                self.late += 1
                return
            trace = self._open[key] = _Open()
            trace.began_ns = now_ns
        else:
            self._open.move_to_end(key)
        trace.seen_ns = max(trace.seen_ns, now_ns)
        trace.complete = None
        known = trace.spans.get(span.span_id)
        if known is None:
            if len(trace.spans) >= self._limits.spans_per_trace:
                trace.overfull = True
                return
            self._spans += 1
        elif span.end_ns < known[0].end_ns or (span.end_ns == known[0].end_ns and _rank(span, node) <= _rank(*known)):
            return
        trace.spans[span.span_id] = (span, node)
        while len(self._open) > self._limits.traces or self._spans > self._limits.spans:
            self._forget(*self._open.popitem(last=False))
            self.evicted += 1

    def close(self, now_ns: int, *, partial_since_ns: int | None = None) -> list[Trace]:
        """The traces that are due at ``now_ns``, oldest silence first; some of them, if ``is_behind`` then says so.

        Those that lack something are dropped where a change of sampling at ``partial_since_ns`` may be the reason.
        """
        due: list[bytes] = []
        spans = 0
        self.is_behind = False
        for key, trace in self._open.items():
            if spans >= self._limits.spans_per_tick:
                self.is_behind = True
                break
            if self._due(trace, now_ns - trace.seen_ns):
                due.append(key)
                spans += len(trace.spans)
        found = []
        for key in due:
            trace = self._open.pop(key)
            self._forget(key, trace)
            cut = (
                partial_since_ns is not None
                and not trace.complete
                and trace.began_ns < partial_since_ns + self._limits.running_ns
            )
            built = None if trace.overfull or cut else build(joined(list(trace.spans.values())))
            if built is None:
                self.evicted += 1
            else:
                self.closed += 1
                found.append(built)
        return found

    def _due(self, trace: _Open, silence_ns: int) -> bool:
        if silence_ns < self._limits.grace_ns:
            return False
        if trace.complete is None:
            trace.complete = _complete(trace.spans)
        if trace.complete or silence_ns >= self._limits.running_ns:
            return True
        return silence_ns >= self._limits.idle_ns and all(span.end_ns for span, _ in trace.spans.values())

    def _forget(self, key: bytes, trace: _Open) -> None:
        self._spans -= len(trace.spans)
        self._closed[key] = None
        if len(self._closed) > 4 * self._limits.traces:
            self._closed.popitem(last=False)


def _rank(span: SpanRecord, node: str) -> tuple[int, str, str]:
    """Which of two equally ended records of one span to keep: only to make the choice repeatable."""
    return len(span.attributes), repr(span), node


def _complete(spans: dict[bytes, tuple[SpanRecord, str]]) -> bool:
    """Whether the root is there, everything ended, every message sent was handled and no retry is owed."""
    handled: set[bytes | None] = set()
    rooted = False
    for span, _ in spans.values():
        if span.end_ns == 0 or (span.parent_id is not None and span.parent_id not in spans):
            return False
        rooted = rooted or span.parent_id is None
        if span.kind == facts.CONSUMER:
            handled.add(span.parent_id)
            owed = span.status == facts.ERROR and facts.text(span, attr.TASK)
            if owed and not facts.text(span, attr.RESULT_STATE):
                return False
    return rooted and all(
        span.span_id in handled
        for span, _ in spans.values()
        if facts.operation(span) in facts.PEERS and span.status != facts.ERROR
    )
