"""The spans of a run that have not ended: where its task parks they go on in the run that wakes up.

So a trace shows one handler that waited, not as many as it was woken times.
"""

from typing import Any, Final

from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.telemetry.propagation import Parent, inject
from antiphon.runtime.telemetry.span import LightSpan
from antiphon.runtime.telemetry.tracer import LightTracer
from antiphon.schemas.parking import OpenSpan, ParkedTask
from antiphon.schemas.task import TaskState
from antiphon.schemas.telemetry import SpanLink

HANDLER: Final = ""  # the path of the handler's own span
MOST: Final = 1000  # they lie in one journal entry, about 250 bytes each; the others begin anew

_FACTS: Final = (names.QUEUE_ENTER_NS, names.QUEUE_DEQUEUE_NS, names.QUEUE_DEPTH, names.POOL_ACTIVE, names.PARKED_NS)


class OpenSpans:
    """Of one run, by path. ``parked``: where it goes on from; None for one that begins or is tried again."""

    def __init__(self, parked: ParkedTask | None) -> None:
        self._left = {span.path: span for span in parked.spans} if parked is not None else {}
        self._parked_ns = parked.parked_unix_ms * 1_000_000 if parked is not None else 0
        self._open: dict[str, tuple[LightSpan, str, int]] = {}

    def left(self, path: str) -> OpenSpan | None:
        """The span that the parked run had open there. Asked for once: it goes on now."""
        return self._left.pop(path, None)

    def facts(self, handler: OpenSpan, now_ns: int) -> dict[str, int]:
        """What stays true of a handler's span that goes on, and how long it has been parked by now."""
        parked_ns = handler.facts.get(names.PARKED_NS, 0) + max(0, now_ns - self._parked_ns)
        return {**handler.facts, names.PARKED_NS: parked_ns}

    def open(self, path: str, span: LightSpan, name: str, kind: int) -> None:
        """It has begun, or goes on."""
        self._open[path] = span, name, kind

    def close(self, path: str) -> None:
        """It has ended."""
        self._open.pop(path, None)

    def keep(self) -> tuple[OpenSpan, ...]:
        """The task parks: what is open now, each announced by a start record."""
        found = list(self._left.values())  # not reached again yet
        for path, (span, name, kind) in self._open.items():
            traceparent, _ = inject(span)
            if not traceparent:
                continue
            span.watch()
            facts = {key: value for key in _FACTS if isinstance(value := span.attribute(key), int)}
            found.append(
                OpenSpan(
                    path=path,
                    traceparent=traceparent,
                    start_unix_ns=span.start_ns,
                    name=name,
                    kind=kind,
                    facts=facts if path == HANDLER else {},
                )
            )
        return tuple(sorted(found, key=lambda span: span.path)[:MOST])

    def end(self, tracer: LightTracer, handler: LightSpan, attributes: dict[str, Any]) -> None:
        """The handler has ended: so have the operations that it left behind while it was parked."""
        for path, span in self._left.items():
            own = {**attributes, names.PATH: path, names.ERROR_TYPE: "CancelledError"}
            tracer.begin(span.name, span.kind, handler, own, goes_on=span).finish(status=2, message="cancelled")
        self._left.clear()


def end_parked(
    tracer: LightTracer,
    parked: ParkedTask,
    parent: Parent | None,
    attributes: dict[str, Any],
    state: TaskState,
    now_ns: int,
) -> None:
    """A task that was parked has ended elsewhere, such as by a cancellation: nothing of it stays open."""
    spans = OpenSpans(parked)
    left = spans.left(HANDLER)
    if left is None:
        return
    own = {**attributes, **spans.facts(left, now_ns), names.ATTEMPT: parked.attempt, names.RESULT_STATE: state.value}
    own[names.ERROR_TYPE] = "TaskCancelled"
    links = [SpanLink(trace_id=parent.trace_id, span_id=parent.span_id)] if parent is not None else None
    handler = tracer.begin(left.name, left.kind, parent, own, links=links, goes_on=left)
    spans.end(tracer, handler, attributes)
    handler.finish(status=2, message=f"ended as {state.value} while it was parked")
