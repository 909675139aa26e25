"""Two recorded runs side by side: times, tokens, money, critical paths and results."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os.path import commonprefix

from antiphon.runtime.delivery.history import split
from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.replay.align import Node, align
from antiphon.runtime.replay.critical import critical_path
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.cost import Cost, cost_of
from antiphon.runtime.whatif.recorded import trace_of
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.telemetry import SpanRecord

_SHOWN = 400  # characters of a captured reply
_LED_BY = 80  # of these are what both say before they part


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A step of the aligned trees. Seconds and tokens are None on a side that lacks it.

    ``same``: whether both gave the same result; None where one has none on record. ``said``: the two replies that
    differ, from a little before they part, where content was captured.
    """

    label: str
    depth: int
    left_s: float | None
    right_s: float | None
    left_tokens: float | None
    right_tokens: float | None
    same: bool | None
    said: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """One run: seconds for whoever asked, what models used, and seconds of the critical path by label."""

    run: str
    latency_s: float
    cost: Cost
    critical_s: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Both runs and their steps in preorder."""

    left: Whole
    right: Whole
    rows: tuple[Row, ...]


def difference(left: Sequence[SpanRecord], right: Sequence[SpanRecord]) -> Difference:
    """Lay the runs of these spans side by side. Raises Unanswerable if a run has no spans that hang together."""
    a, b = _trace(left), _trace(right)
    rows = tuple(
        _row(
            pair.label,
            pair.depth,
            None if pair.left is None else a.steps[pair.left],
            None if pair.right is None else b.steps[pair.right],
        )
        for pair in align(_forest(a), _forest(b))
    )
    return Difference(left=_whole(a), right=_whole(b), rows=rows)


def _trace(spans: Sequence[SpanRecord]) -> Trace:
    trace = trace_of(spans)
    if trace is None:
        raise Unanswerable("a run without spans cannot be compared: its trace has expired, or nothing was traced")
    return trace


def _forest(trace: Trace) -> tuple[Node, ...]:
    """Nodes with the steps' numbers, built from the leaves: a deep trace must not exhaust the stack."""
    made: dict[int, Node] = {}
    for step in reversed(trace.steps):  # children come after their parents
        children = _ordered(trace.steps[i] for i in step.children)
        made[step.index] = Node(
            id=step.index, label=step.label, children=tuple(made[child.index] for child in children)
        )
    return tuple(made[step.index] for step in trace.steps if step.parent is None)


def _ordered(steps: Iterable[Step]) -> list[Step]:
    """Siblings as the code numbers them, whichever of a gather's branches began first; without numbers by start."""
    found = list(steps)
    try:
        return sorted(found, key=lambda step: split(facts.text(step.span, attr.PATH)))
    except (ValueError, TypeError):
        return found


def _row(label: str, depth: int, left: Step | None, right: Step | None) -> Row:
    same: bool | None = None
    said: tuple[str, str] | None = None
    if left is not None and right is not None:
        mine, other = (facts.text(step.span, attr.RESULT_HASH) for step in (left, right))
        if mine and other:
            same = mine == other
        if not same:
            said = _parting(*(facts.text(step.span, attr.GENAI_OUTPUT_MESSAGES) for step in (left, right)))
    return Row(
        label=label,
        depth=depth,
        left_s=None if left is None else left.duration_ns / 1e9,
        right_s=None if right is None else right.duration_ns / 1e9,
        left_tokens=_tokens(left),
        right_tokens=_tokens(right),
        same=same,
        said=said,
    )


def _parting(left: str, right: str) -> tuple[str, str] | None:
    """Both from a little before they differ; None where they do not, or one was not captured."""
    if not left or not right or left == right:
        return None
    begin = max(len(commonprefix([left, right])) - _LED_BY, 0)  # noqa: RUF071  # characters are meant, not paths
    shown = [f"{'…' if begin else ''}{text[begin : begin + _SHOWN]}" for text in (left, right)]
    return shown[0], shown[1]


def _tokens(step: Step | None) -> float | None:
    return None if step is None or step.operation != facts.MODEL else cost_of([step]).tokens


def _whole(trace: Trace) -> Whole:
    return Whole(
        run=trace.run,
        latency_s=trace.latency_ns / 1e9,
        cost=cost_of(trace.steps),
        critical_s={label: ns / 1e9 for label, ns in critical_path(trace).items()},
    )
