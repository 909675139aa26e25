"""What a run saves when its model calls take less time."""

from collections.abc import Mapping, Sequence

from antiphon.agents.logging_agent.cases import Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.program import Run
from antiphon.runtime.whatif.trace import Step, Trace


def gain_of(observed: Observed, calls: Sequence[tuple[Step, float | None]], tokens: float) -> Gain:
    """The gain of calls that each take so many seconds less; of tokens only, where a call's seconds are unknown."""
    saved = [(step, saved_s) for step, saved_s in calls if saved_s is not None]
    if len(saved) < len(calls):
        return Gain(tokens=tokens)
    latency_s = None
    if observed.run is not None:
        run = observed.run
        factors = factors_of(observed.trace, run, saved)
        latency_s = observed.saved_s(edits.scale(run.cautious, factors), edits.scale(run.program, factors))
    return Gain(latency_s=latency_s, tokens=tokens, model_s=sum(saved_s for _, saved_s in saved))


def factors_of(trace: Trace, run: Run, calls: Sequence[tuple[Step, float]]) -> Mapping[int, float]:
    """For ``edits.scale``: the calls' tasks, each shorter by its seconds; calls whose work is not seen keep theirs."""
    found = {}
    for step, saved_s in calls:
        task = run.first[work_of(trace, step).index]
        service_ns = run.program.tasks[task].service_ns
        if service_ns > 0:
            found[task] = max(1 - saved_s * 1e9 / service_ns, 0.0)
    return found


def work_of(trace: Trace, step: Step) -> Step:
    """The step in which the model works: below a call over the bus it is the server's."""
    served = next((trace.steps[i] for i in step.children if trace.steps[i].operation == facts.PROCESS), None)
    return step if served is None or served.children else served
