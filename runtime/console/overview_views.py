"""What the overview says, typed. Times are milliseconds, rates a second."""

from collections.abc import Iterable, Mapping, Sequence

from pydantic import Field

from antiphon.runtime.console.views import span_key
from antiphon.runtime.store.flow import Sent
from antiphon.runtime.store.model_use import ModelUse
from antiphon.runtime.store.series import Over, Point
from antiphon.runtime.store.sketch import Sketch
from antiphon.runtime.store.topology import Topology, Traffic
from antiphon.schemas.finding import Estimate, Finding
from antiphon.schemas.message import Value

SUBJECTS = 20  # of one edge: a handler has one, or one for each lane
_MS = 1e6


class SeriesView(Value):
    """Points of equal distance; a duration is None where nothing happened."""

    step_s: int
    unix_s: tuple[int, ...]
    count: tuple[int, ...]
    errors: tuple[int, ...]
    p50_ms: tuple[float | None, ...]
    p95_ms: tuple[float | None, ...]
    input_tokens: tuple[int, ...]
    output_tokens: tuple[int, ...]

    @classmethod
    def of(cls, over: Over, points: Sequence[Point]) -> "SeriesView":
        """From the roll-ups."""
        return cls(
            step_s=over.step_s,
            unix_s=tuple(over.since_s + index * over.step_s for index in range(len(points))),
            count=tuple(point.count for point in points),
            errors=tuple(point.errors for point in points),
            p50_ms=tuple(_quantile(point.took, 0.5) for point in points),
            p95_ms=tuple(_quantile(point.took, 0.95) for point in points),
            input_tokens=tuple(point.input_tokens for point in points),
            output_tokens=tuple(point.output_tokens for point in points),
        )


class PlaceView(Value):
    """An agent, a model, a tool, or whoever asks from outside. ``depth``: waiting there when it was last seen.

    ``queued``: durable work that waits there now, also where nobody takes it; None: no such queue, or no answer from
    the bus.
    """

    id: str
    kind: str
    name: str
    count: int
    errors: int
    rate_per_s: float
    p95_ms: float | None
    queue_p95_ms: float | None
    depth: int | None
    queued: int | None


class EdgeView(Value):
    """Work that one asked of another; durations from being asked to being done. ``subjects``: the busiest first."""

    source: str = Field(alias="from")
    to: str
    kind: str
    count: int
    errors: int
    rate_per_s: float
    p50_ms: float | None
    p95_ms: float | None
    queue_p95_ms: float | None
    depth: int | None
    subjects: tuple[str, ...]


class TopologyView(Value):
    """What was recorded in the last ``window_s``; ``truncated``: its newest ``spans``, less than asked for."""

    window_s: float
    spans: int
    truncated: bool
    nodes: tuple[PlaceView, ...]
    edges: tuple[EdgeView, ...]

    @classmethod
    def of(cls, found: Topology, window_s: float, queued: Mapping[str, int]) -> "TopologyView":
        """Busiest first. ``queued``: what waits now, by agent; one with work is there though nobody did any."""
        stuck = {f"agent:{agent}": Traffic() for agent, waiting in queued.items() if waiting}
        places = sorted((stuck | found.places).items(), key=lambda item: (-item[1].count, item[0]))
        edges = sorted(found.edges.items(), key=lambda item: (-item[1].count, item[0]))
        return cls(
            window_s=window_s,
            spans=found.spans,
            truncated=found.truncated,
            nodes=tuple(_place(id, traffic, window_s, queued) for id, traffic in places),
            edges=tuple(_edge(key, traffic, window_s) for key, traffic in edges),
        )


class MessageView(Value):
    """A message as it was sent. ``id`` is its span, TRACE.SPAN; ``sender`` is empty for the outside."""

    id: str
    run: str
    unix_ms: float
    operation: str
    subject: str
    sender: str = Field(alias="from")
    bytes: int | None
    error: bool


class MessagesView(Value):
    """Messages, the oldest first; ``next`` asks for those after, and with ``more`` there may be some already."""

    messages: tuple[MessageView, ...]
    next: str
    more: bool

    @classmethod
    def of(cls, found: Iterable[Sent], reached: int, *, more: bool) -> "MessagesView":
        """From the store's spans."""
        shown = tuple(
            MessageView.model_validate(
                {
                    "id": span_key(each.trace_id, each.span_id),
                    "run": each.run or each.trace_id.hex(),
                    "unix_ms": each.unix_ns / _MS,
                    "operation": each.operation,
                    "subject": each.subject,
                    "from": each.sender,
                    "bytes": each.size,
                    "error": each.failed,
                }
            )
            for each in found
        )
        return cls(messages=shown, next=str(reached), more=more)


class ModelView(Value):
    """One instance for one tenant; empty: a cache or an equal call answered. None: no call of the window says it.

    ``batch``: served at a time, mean.
    """

    model: str
    instance: str
    tenant: str
    calls: int
    errors: int
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    inter_token_ms: float | None
    tokens_per_s: float | None
    queue_p95_ms: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    batch: float | None
    capacity: int | None
    pages_used: int | None
    pages_total: int | None
    utilisation: float | None
    cost_usd: float


class ModelsView(Value):
    """Model instances, the busiest first; ``truncated``: only the newest calls were looked at, of ``window_s``."""

    window_s: float
    truncated: bool
    models: tuple[ModelView, ...]

    @classmethod
    def of(
        cls, found: Mapping[tuple[str, str, str], ModelUse], since_ns: int, until_ns: int, *, truncated: bool
    ) -> "ModelsView":
        """From the calls of the window."""
        if truncated:
            since_ns = min(start_ns for use in found.values() for start_ns, _ in use.spans)
        window_s = (until_ns - since_ns) / 1e9
        rows = [
            _model(key, use, use.busy_s(since_ns, until_ns), window_s)
            for key, use in sorted(found.items(), key=lambda item: (-item[1].calls, item[0]))
        ]
        return cls(window_s=window_s, truncated=truncated, models=tuple(rows))


class CalibrationPoint(Value):
    """One finding whose saving was predicted and measured. ``error``: (predicted - realised) / realised.

    Both are means over all runs of the cohort, those without the pattern included.
    """

    finding: str
    pattern: str
    title: str
    cohort: str
    unit: str
    predicted: Estimate
    realised: Estimate
    error: float | None


class CalibrationView(Value):
    """One point for each finding with a measurement."""

    points: tuple[CalibrationPoint, ...]

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> "CalibrationView":
        """By mean latency, or else tokens, as the measurement itself was compared."""
        return cls(points=tuple(point for finding in findings for point in _calibration(finding)))


def _calibration(finding: Finding) -> Iterable[CalibrationPoint]:
    if finding.saving is None or finding.realised is None:
        return
    pairs = {
        "s": (finding.saving.latency_s, finding.realised.saving.latency_s),
        "tokens": (finding.saving.tokens, finding.realised.saving.tokens),
    }
    for unit, (predicted, realised) in pairs.items():
        if predicted is not None and realised is not None:
            share = 1.0 if finding.prevalence is None else finding.prevalence  # measured over all runs of the cohort
            predicted = Estimate(**{name: value * share for name, value in predicted})
            yield CalibrationPoint(
                finding=finding.id,
                pattern=finding.pattern,
                title=finding.title,
                cohort=finding.cohort,
                unit=unit,
                predicted=predicted,
                realised=realised,
                error=finding.realised.prediction_error,
            )
            return


def _place(id: str, traffic: Traffic, window_s: float, queued: Mapping[str, int]) -> PlaceView:
    kind, _, name = id.partition(":")
    return PlaceView(
        id=id,
        kind=kind,
        name=name,
        count=traffic.count,
        errors=traffic.errors,
        rate_per_s=traffic.count / window_s,
        p95_ms=_quantile(traffic.took, 0.95),
        queue_p95_ms=_waited(traffic.waited),
        depth=traffic.depth,
        queued=queued.get(name) if kind == "agent" else None,
    )


def _edge(key: tuple[str, str, str], traffic: Traffic, window_s: float) -> EdgeView:
    source, to, kind = key
    return EdgeView.model_validate(
        {
            "from": source,
            "to": to,
            "kind": kind,
            "count": traffic.count,
            "errors": traffic.errors,
            "rate_per_s": traffic.count / window_s,
            "p50_ms": _quantile(traffic.took, 0.5),
            "p95_ms": _quantile(traffic.took, 0.95),
            "queue_p95_ms": _waited(traffic.waited),
            "depth": traffic.depth,
            "subjects": tuple(subject for subject, _ in traffic.subjects.most_common(SUBJECTS)),
        }
    )


def _model(key: tuple[str, str, str], use: ModelUse, busy_s: float, window_s: float) -> ModelView:
    model, instance, tenant = key
    used, total = use.pages or (None, None)
    return ModelView(
        model=model,
        instance=instance,
        tenant=tenant,
        calls=use.calls,
        errors=use.errors,
        ttft_p50_ms=_quantile(use.first, 0.5),
        ttft_p95_ms=_quantile(use.first, 0.95),
        inter_token_ms=1000 * use.decode_s / use.decoded if use.decoded else None,
        tokens_per_s=use.output_tokens / busy_s if busy_s and instance else None,
        queue_p95_ms=_waited(use.waited),
        input_tokens=use.input_tokens,
        cached_tokens=use.cached_tokens,
        output_tokens=use.output_tokens,
        batch=use.active / use.placed if use.placed else None,
        capacity=use.capacity,
        pages_used=used,
        pages_total=total or None,
        utilisation=min(busy_s / window_s, 1.0) if instance else None,
        cost_usd=use.usd,
    )


def _quantile(sketch: Sketch, share: float) -> float | None:
    return sketch.quantile(share) / _MS if sketch.counts else None


def _waited(sketch: Sketch) -> float | None:
    """As ``_quantile``; what did not wait waited 0, which sketches count as 1 ns."""
    found = sketch.quantile(0.95) if sketch.counts else None
    return None if found is None else 0.0 if found <= 1 else found / _MS
