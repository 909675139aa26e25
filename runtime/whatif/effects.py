"""Whether work may be moved or shared without changing the world."""

from dataclasses import dataclass

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.task import Effect

_SILENT = frozenset({facts.MODEL, facts.PROCESS, *facts.PEERS, ""})  # change nothing themselves
_HARMLESS = frozenset({Effect.PURE.value, Effect.READ.value})


def read_only(trace: Trace, step: Step) -> bool:
    """Whether the record shows all that happened at and below the step, and nothing of it writes."""
    return not writes(trace, step) and all(
        any(trace.steps[i].operation == facts.PROCESS for i in found.children)
        for found in trace.below(step.index)
        if found.operation in facts.PEERS
    )


def writes(trace: Trace, step: Step) -> bool:
    """Whether something recorded at or below the step writes.

    Tools and steps count as their declared effect, undeclared as write; a peer counts as what its handler did. Events
    are writes.
    """
    return any(_changes(found) for found in trace.below(step.index))


@dataclass(frozen=True, slots=True)
class Effects:
    """``writes`` and ``read_only`` of all steps of a trace, by index: for whoever asks of many, in one pass."""

    writes: frozenset[int]
    read_only: frozenset[int]


def effects_of(trace: Trace) -> Effects:
    """What ``writes`` and ``read_only`` say of each step."""
    writing: set[int] = set()
    hidden: set[int] = set()
    for step in reversed(trace.steps):  # children before parents
        if _changes(step) or not writing.isdisjoint(step.children):
            writing.add(step.index)
        handled = any(trace.steps[i].operation == facts.PROCESS for i in step.children)
        if (step.operation in facts.PEERS and not handled) or not hidden.isdisjoint(step.children):
            hidden.add(step.index)
    return Effects(frozenset(writing), frozenset(range(len(trace.steps))) - writing - hidden)


def _changes(step: Step) -> bool:
    return step.operation not in _SILENT and facts.text(step.span, attr.EFFECT) not in _HARMLESS
