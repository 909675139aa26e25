"""Calls that come at nearly the same time: which could be one batch, what it would take, and that batch replayed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.window import Placed
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.regression import fit_line
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step, Trace

MIN_FITTED = 8  # calls, of which the largest has twice the smallest's size
MOST = 64  # calls of a batch

_EMBEDDINGS = "embeddings"
_LARGEST = 1e12  # tokens or bytes; more is not believed


@dataclass(frozen=True, slots=True)
class Call:
    """A call that could be part of a batch: ``step`` asked for it, ``served`` is where it was done."""

    placed: Placed
    step: Step
    served: Step

    @property
    def service_ns(self) -> int:
        """How long it was served."""
        return self.served.end_ns - self.served.begin_ns


@dataclass(frozen=True, slots=True)
class Law:
    """What a batch takes: cautious and hopeful ns."""

    line: tuple[float, float] | None  # ns, and ns by size; None where sizes do not differ

    def batch_ns(self, calls: Sequence[Call]) -> tuple[int, int]:
        """For these calls together: no less than the longest of them alone, no more than all in a row."""
        services = [call.service_ns for call in calls]
        least, most = max(services), sum(services)
        if self.line is None:
            return most, least
        base, each = self.line
        took = round(min(max(base + each * sum(_size(call.step) for call in calls), least), most))
        return took, took


def takes_batches(step: Step) -> bool:
    """Whether the runtime can make one of many such calls."""
    if step.operation == facts.TOOL:
        return facts.flag(step.span, attr.TOOL_BATCH)
    return facts.text(step.span, attr.GENAI_OPERATION) == _EMBEDDINGS


def batchable(step: Step) -> bool:
    """Whether several such calls could be one, here or in a model's server; not a part of a batch already."""
    if step.excluded or not (step.operation == facts.MODEL or (step.operation == facts.TOOL and takes_batches(step))):
        return False
    return (facts.whole(step.span, attr.BATCH_SIZE) or 1) == 1


def served_by(trace: Trace, step: Step) -> Step:
    """Where the call was done: a model on another node has a span of its own."""
    return next((s for i in step.children if (s := trace.steps[i]).operation == facts.PROCESS), step)


def _size(step: Step) -> float:
    return min(cost_of([step]).tokens or facts.number(step.span, attr.RESULT_SIZE) or 0.0, _LARGEST)


def fit(calls: Sequence[Call]) -> Law:
    """What calls of different size tell of batches."""
    sizes = [_size(call.step) for call in calls]
    if len(calls) < MIN_FITTED or min(sizes) <= 0 or max(sizes) < 2 * min(sizes):
        return Law(None)
    base, each = fit_line([(1.0, size) for size in sizes], [float(call.service_ns) for call in calls])
    return Law((base, each))


def collected(calls: Iterable[Call], window_ns: int) -> list[tuple[Call, ...]]:
    """Calls of one node and tenant, collected from the first one's arrival on."""
    found: list[list[Call]] = []
    open_batches: dict[tuple[str, str], list[Call]] = {}
    for call in sorted(calls, key=lambda c: (c.step.start_ns, c.placed.start, c.step.index)):
        place = (facts.text(call.step.span, attr.TENANT), call.step.node)
        batch = open_batches.get(place)
        if batch is None or len(batch) >= MOST or not _joins(call, batch, window_ns):
            batch = open_batches[place] = []
            found.append(batch)
        batch.append(call)
    return [tuple(batch) for batch in found]


def _joins(call: Call, batch: Sequence[Call], window_ns: int) -> bool:
    start_ns = call.step.start_ns
    same_run = (other for other in batch if other.placed.start == call.placed.start)
    return start_ns - batch[0].step.start_ns <= window_ns and all(start_ns < other.step.end_ns for other in same_run)


def merged(program: Program, batches: Sequence[Sequence[Call]], takes_ns: Sequence[int], window_ns: int) -> Program:
    """The joint program with each batch served at once, in the time given for it, when its window has passed."""
    calls = [call for batch in batches for call in batch]
    below = [
        task
        for call in calls
        for step in call.placed.observed.trace.below(call.served.index)
        if step.index != call.served.index
        for task in call.placed.call(step)
    ]
    # What only hands a call on to another node is in no queue itself: it may not keep others out of the batch.
    handed_on = {call.placed.call(call.step)[0]: 0 for call in calls if call.served is not call.step}
    program = edits.swap_model(edits.remove(program, below), handed_on, None)
    for batch, service_ns in zip(batches, takes_ns, strict=True):
        program = edits.merge(program, [call.placed.call(call.served) for call in batch], service_ns, window_ns)
    return program
