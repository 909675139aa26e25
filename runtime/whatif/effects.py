"""Whether work may be moved or shared without changing the world."""

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
    return any(
        found.operation not in _SILENT and facts.text(found.span, attr.EFFECT) not in _HARMLESS
        for found in trace.below(step.index)
    )
