"""The critical path of a run: the work that, had it been shorter, would have ended the run sooner."""

from collections.abc import Sequence

from antiphon.schemas.telemetry import SpanRecord


def critical(spans: Sequence[SpanRecord]) -> frozenset[bytes]:
    """Ids of the spans on it.

    Backwards from the end of what ended last among the spans without a parent: inside a span, the child that ended
    last before the moment is on the path, then the one that ended last before that one began, and so on (the walk of
    Jaeger's critical path, jaeger-ui #1288). What was sent and ends before its work (a submit) hands on to that work.
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
    for siblings in children.values():
        siblings.sort(key=lambda span: reach[span.span_id])
    found: set[bytes] = set()
    waiting: list[tuple[bytes | None, int]] = [(None, last_ns)]
    while waiting:
        parent, until_ns = waiting.pop()
        for span in reversed(children.get(parent, ())):
            if span.span_id in found or reach[span.span_id] > until_ns or span.start_ns >= until_ns:
                continue
            found.add(span.span_id)
            waiting.append((span.span_id, reach[span.span_id]))
            until_ns = span.start_ns
    return frozenset(found)


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
