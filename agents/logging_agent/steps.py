"""A step together with what lies below it: its result, its tasks in the simulator, what it would save."""

from collections.abc import Iterable

from antiphon.agents.logging_agent.cases import Gain
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.program import Run
from antiphon.runtime.whatif.trace import Step, Trace


def result_of(trace: Trace, step: Step) -> str:
    """The hash of what the step gave, or empty. A peer's is on the span of its handler."""
    found = facts.text(step.span, attr.RESULT_HASH)
    if found or step.operation not in facts.PEERS:
        return found
    handlers = (trace.steps[i] for i in step.children)
    return next(
        (facts.text(s.span, attr.RESULT_HASH) for s in handlers if s.operation == facts.PROCESS and not s.excluded), ""
    )


def causes_of(step: Step) -> tuple[str, ...] | None:
    """Recorded causes; None where there are none or the runtime only assumed them."""
    return None if facts.flag(step.span, attr.CAUSES_INFERRED) else facts.texts(step.span, attr.CAUSES)


def tasks_of(run: Run, steps: Iterable[Step]) -> set[int]:
    """The tasks that the steps are in the run's program."""
    return {task for step in steps for task in (run.first[step.index], run.last[step.index])}


def gain_of(steps: Iterable[Step], latency_s: tuple[float, float] | None) -> Gain:
    """What a run saves that does not make the steps."""
    cost = cost_of(steps)
    return Gain(latency_s=latency_s, tokens=cost.tokens, model_s=cost.model_s, usd=cost.usd)
