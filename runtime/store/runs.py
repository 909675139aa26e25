"""One run as lists show it, folded from its spans in whatever order they come."""

from dataclasses import dataclass, field
from enum import StrEnum

from antiphon.runtime.store.facts import CONSUMER, ERROR, PRODUCER, Facts, label_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.task import TaskState
from antiphon.schemas.telemetry import SpanRecord


class RunStatus(StrEnum):
    """How a run stands: how the handler that the outside asked for stands."""

    QUEUED = "queued"  # durable work was stored, no handler has begun
    RUNNING = "running"  # the handler has begun and not ended; or its node died and nobody took over
    OK = "ok"  # it returned
    ERROR = "error"  # its last attempt raised
    CANCELLED = "cancelled"  # somebody stopped it


@dataclass(slots=True, kw_only=True)
class Entry:
    """The span that stands for the run: the earliest handler, else the root. ``rank`` orders these."""

    rank: int
    key: str  # task id, so that a second attempt replaces the first; else the span's id
    start_ns: int
    attempt: int
    title: str
    status: RunStatus

    def yields_to(self, rank: int, key: str, start_ns: int, attempt: int) -> bool:
        """Whether such another one stands for the run rather than this one."""
        if rank != self.rank:
            return rank > self.rank
        return attempt >= self.attempt if key == self.key else start_ns < self.start_ns


@dataclass(slots=True, kw_only=True)
class Run:
    """Totals of one run. Times are unix nanoseconds; ``last_ns`` is the latest anything was seen to happen."""

    run: str
    start_ns: int
    last_ns: int
    entry: Entry
    obs: bool = True  # everything in it belongs to the observability system
    spans: int = 0
    unfinished: int = 0
    errors: int = 0
    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: float = 0.0
    agents: tuple[str, ...] = field(default=())
    models: tuple[str, ...] = field(default=())

    @property
    def duration_ns(self) -> int:
        """From the first to the last thing seen."""
        return self.last_ns - self.start_ns

    def count(self, span: SpanRecord, facts: Facts, *, finishing: bool) -> None:
        """Take in a span; ``finishing``: its start record was counted before."""
        if span.start_ns < self.start_ns:
            self.start_ns = span.start_ns
        last_ns = span.end_ns if span.end_ns > span.start_ns else span.start_ns
        if last_ns > self.last_ns:
            self.last_ns = last_ns
        self.obs = self.obs and facts.obs
        if finishing:
            self.unfinished -= 1
        else:
            self.spans += 1
        if not span.end_ns:
            self.unfinished += 1
        self.errors += span.status == ERROR
        if facts.is_model:
            self.model_calls += 1
            self.input_tokens += facts.input_tokens
            self.output_tokens += facts.output_tokens
            self.cached_tokens += facts.cached_tokens
        self.cost_usd += facts.cost_usd
        if self.entry.yields_to(_rank(span), facts.task or span.span_id.hex(), span.start_ns, facts.attempt):
            self.entry = entry_of(span, facts)

    def merge(self, other: "Run") -> None:
        """Take in a run that turned out to be part of this one."""
        self.start_ns = min(self.start_ns, other.start_ns)
        self.last_ns = max(self.last_ns, other.last_ns)
        self.obs = self.obs and other.obs
        self.spans += other.spans
        self.unfinished += other.unfinished
        self.errors += other.errors
        self.model_calls += other.model_calls
        self.input_tokens += other.input_tokens
        self.output_tokens += other.output_tokens
        self.cached_tokens += other.cached_tokens
        self.cost_usd += other.cost_usd
        entry = other.entry
        if self.entry.yields_to(entry.rank, entry.key, entry.start_ns, entry.attempt):
            self.entry = entry


def new_run(run: str, span: SpanRecord, facts: Facts) -> Run:
    """A run of which ``span`` is the first thing seen, not counted yet."""
    return Run(run=run, start_ns=span.start_ns, last_ns=span.start_ns, entry=entry_of(span, facts))


def entry_of(span: SpanRecord, facts: Facts) -> Entry:
    """How ``span`` would stand for its run."""
    return Entry(
        rank=_rank(span),
        key=facts.task or span.span_id.hex(),
        start_ns=span.start_ns,
        attempt=facts.attempt,
        title=label_of(span, facts)[:200],
        status=_status(span, facts),
    )


def _rank(span: SpanRecord) -> int:
    if span.kind == CONSUMER:
        return 2
    return 1 if span.parent_id is None else 0


def _status(span: SpanRecord, facts: Facts) -> RunStatus:
    if not span.end_ns:
        return RunStatus.RUNNING
    if span.attributes.get(attr.RESULT_STATE) == TaskState.CANCELLED:
        return RunStatus.CANCELLED
    if span.status == ERROR:
        return RunStatus.ERROR
    if span.kind == PRODUCER and facts.operation in ("submit", "call"):
        return RunStatus.QUEUED
    return RunStatus.OK
