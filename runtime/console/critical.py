"""The critical path of a run as it was recorded, finished or not: the work that its end waits for."""

from collections.abc import Iterator, Sequence

from antiphon.runtime.replay.critical import waited_for
from antiphon.schemas.telemetry import SpanRecord


def critical(spans: Sequence[SpanRecord]) -> frozenset[bytes]:
    """Ids of the spans on it.

    All spans without a parent stand side by side. What was sent and ends before its work (a submit) lasts as long as
    that work; what has not ended lasts to the end of the record.
    """
    ids = {span.span_id: span for span in spans}
    spans = list(ids.values())  # of two records of one span the last counts
    last_ns = max((max(span.end_ns, span.start_ns) for span in spans), default=0)
    ends = {span.span_id: span.end_ns or last_ns for span in spans}
    children: dict[bytes | None, list[SpanRecord]] = {}
    for span in spans:
        parent = span.parent_id if span.parent_id in ids and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span)
    reach = _reach(children, ends)

    def below(parent: bytes | None) -> Iterator[tuple[bytes | None, int, int]]:
        return ((span.span_id, span.start_ns, reach[span.span_id]) for span in children.get(parent, ()))

    first_ns = min((span.start_ns for span in spans), default=0)
    return frozenset(found for found, _ in waited_for(None, first_ns, last_ns, below) if found is not None)


def _reach(children: dict[bytes | None, list[SpanRecord]], ends: dict[bytes, int]) -> dict[bytes, int]:
    """When each span and all that it led to had ended; a circle of parents reaches its own ends only."""
    order: list[SpanRecord] = []
    stack = list(children.get(None, ()))
    while stack:
        span = stack.pop()
        order.append(span)
        stack.extend(children.get(span.span_id, ()))
    reach = dict(ends)
    for span in reversed(order):
        below = (reach[child.span_id] for child in children.get(span.span_id, ()))
        reach[span.span_id] = max([ends[span.span_id], *below])
    return reach
