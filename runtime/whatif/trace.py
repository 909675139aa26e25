"""A closed trace: spans as a tree on one clock, each with the times and marks that detectors need."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.schemas.telemetry import SpanRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One span in its place. Times are unix ns on the root's clock.

    ``ready_ns`` is when the work was asked for, ``begin_ns`` when something began to serve it. ``excluded``:
    it failed, never ended, was a retry, or lies below such a step.
    """

    index: int
    parent: int | None
    children: tuple[int, ...]
    span: SpanRecord
    node: str
    operation: str
    label: str
    start_ns: int
    ready_ns: int
    begin_ns: int
    end_ns: int
    excluded: bool

    @property
    def id(self) -> str:
        """The span id in hexadecimal."""
        return self.span.span_id.hex()

    @property
    def duration_ns(self) -> int:
        """From start to end, waiting included."""
        return self.end_ns - self.start_ns


@dataclass(frozen=True, kw_only=True)
class Trace:
    """Spans of one trace in preorder, parents before children, siblings by start; never empty."""

    id: str
    run: str
    steps: tuple[Step, ...]

    @cached_property
    def finish(self) -> int:
        """The step whose end is the run's end for whoever asked.

        A root that waits for its reply (or is a handler) itself; below an event the first handler, and below a submit
        the attempt that ended the task, or else its last.
        """
        root = self.steps[0]
        if root.span.kind != facts.PRODUCER or root.operation in facts.WAITED:
            return 0
        handlers = [self.steps[i] for i in root.children if self.steps[i].operation == facts.PROCESS]
        task = facts.text(handlers[0].span, attr.TASK) if handlers else ""
        if not task:
            return handlers[0].index if handlers else 0
        attempts = [step for step in handlers if facts.text(step.span, attr.TASK) == task]
        ended = [step for step in attempts if facts.text(step.span, attr.RESULT_STATE)]
        return (ended or attempts)[-1].index

    @cached_property
    def latency_ns(self) -> int:
        """What the run took for whoever asked."""
        return self.steps[self.finish].end_ns - self.steps[0].start_ns

    @cached_property
    def label(self) -> str:
        """The first handler that ran, such as ``planner.plan``."""
        return next((s.label for s in self.steps if s.operation == facts.PROCESS), self.steps[0].label)

    def below(self, index: int) -> Iterator[Step]:
        """The step and all its descendants."""
        stack = [index]
        while stack:
            step = self.steps[stack.pop()]
            yield step
            stack.extend(step.children)

    def owner(self, index: int) -> Step | None:
        """The handler in which the step happened."""
        parent = self.steps[index].parent
        while parent is not None:
            step = self.steps[parent]
            if step.operation == facts.PROCESS:
                return step
            parent = step.parent
        return None


def build(spans: Sequence[tuple[SpanRecord, str]]) -> Trace | None:
    """The trace that ``spans`` (each with the node that sent it, ids unique) are; None if none hangs on a root.

    A span whose parent is missing is a root of its own; spans in a parent cycle are left out. A child on another
    machine's clock is shifted, and if need be clamped, into the call it answers.
    """
    by_id = {span.span_id: (span, node) for span, node in spans}
    children: dict[bytes | None, list[bytes]] = {}
    for span, _ in spans:
        parent = span.parent_id if span.parent_id in by_id and span.parent_id != span.span_id else None
        children.setdefault(parent, []).append(span.span_id)
    for siblings in children.values():
        siblings.sort(key=lambda i: (by_id[i][0].start_ns, i))
    steps: list[_Draft] = []
    stack: list[tuple[bytes, _Draft | None]] = [(i, None) for i in reversed(children.get(None, ()))]
    while stack:
        span_id, above = stack.pop()
        span, node = by_id[span_id]
        draft = _Draft(len(steps), span, node, above)
        steps.append(draft)
        stack.extend((i, draft) for i in reversed(children.get(span_id, ())))
    if not steps:
        return None
    first = next((s.span for s in steps if facts.text(s.span, attr.RUN)), None)
    trace_id = steps[0].span.trace_id.hex()
    return Trace(
        id=trace_id,
        run=facts.text(first, attr.RUN) if first is not None else trace_id,
        steps=tuple(draft.step() for draft in steps),
    )


class _Draft:
    """A step while the tree is being built, parents first."""

    __slots__ = ("above", "begin_ns", "children", "end_ns", "excluded", "index", "node", "offset_ns", "operation",
                 "ready_ns", "span", "start_ns")  # fmt: skip

    def __init__(self, index: int, span: SpanRecord, node: str, above: "_Draft | None") -> None:
        self.index = index
        self.span = span
        self.node = node
        self.above = above
        self.children: list[int] = []
        self.operation = facts.operation(span)
        self.excluded: bool = (
            span.status == facts.ERROR
            or span.end_ns == 0
            or (facts.whole(span, attr.ATTEMPT) or 1) > 1
            or (above is not None and above.excluded)
        )
        self.offset_ns = 0
        self._place()
        self._queue()
        if above is not None:
            above.children.append(index)

    def _place(self) -> None:
        span, above = self.span, self.above
        start, end = span.start_ns, max(span.end_ns, span.start_ns)
        if above is None:
            self.start_ns, self.end_ns = start, end
            return
        offset = above.offset_ns if self.operation != facts.PROCESS or self.node == above.node else 0
        behind = self.operation == facts.PROCESS and above.operation not in facts.WAITED
        latest = None if behind else above.end_ns  # nobody waits for what a submit or an event starts
        start, end = start + offset, end + offset
        if latest is not None and end > latest:
            shift = max(latest - end, above.start_ns - start) if start > above.start_ns else 0
            offset, start, end = offset + shift, start + shift, end + shift
        if start < above.start_ns:
            shift = above.start_ns - start
            if latest is not None:
                shift = min(shift, max(latest - end, 0))
            offset, start, end = offset + shift, start + shift, end + shift
        start = max(start, above.start_ns)
        if latest is not None:
            start, end = min(start, latest), min(end, latest)
        self.offset_ns, self.start_ns, self.end_ns = offset, start, max(start, end)

    def _queue(self) -> None:
        span, start, end = self.span, self.start_ns, self.end_ns
        self.ready_ns, self.begin_ns = start, start
        if self.operation == facts.PROCESS:
            left = facts.whole(span, attr.QUEUE_DEQUEUE_NS)
            entered = facts.whole(span, attr.QUEUE_ENTER_NS)
            if left is None or entered is None:
                return
            self.begin_ns = min(max(left + self.offset_ns, start), end)
            sender_ns = self.above.offset_ns if self.above is not None else self.offset_ns
            earliest = self.above.start_ns if self.above is not None else 0
            self.ready_ns = min(max(entered + sender_ns, earliest), self.begin_ns)
        else:
            queue_s = facts.number(span, attr.MODEL_QUEUE_S)
            if queue_s is not None:
                self.begin_ns = min(start + int(min(queue_s, 1e6) * 1e9), end)

    def step(self) -> Step:
        return Step(
            index=self.index,
            parent=None if self.above is None else self.above.index,
            children=tuple(self.children),
            span=self.span,
            node=self.node,
            operation=self.operation,
            label=facts.label(self.span),
            start_ns=self.start_ns,
            ready_ns=self.ready_ns,
            begin_ns=self.begin_ns,
            end_ns=self.end_ns,
            excluded=self.excluded,
        )
