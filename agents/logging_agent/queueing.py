"""How long an agent's messages wait for its slots, and what more slots would change for whole runs."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.cases import Gain
from antiphon.agents.logging_agent.cohorts import Cohort
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.program import FIDELITY, Run, join
from antiphon.runtime.whatif.simulator import Program, Timeline, replay
from antiphon.runtime.whatif.trace import Step

MAX_ADDED = 8  # slots tried in the sweep
LITTLE = 3.0  # recorded depth and depth by Little's law may differ by this factor, and by one


@dataclass(frozen=True, slots=True)
class Queueing:
    """An agent's queue in one cohort: wait share of its sojourn, the slots that would mend it, what that saves."""

    share: float
    capacity: int
    slots: int
    runs: int
    shown: tuple[tuple[Observed, tuple[str, ...]], ...]  # runs above the share, with the spans that waited
    gains: tuple[tuple[str, Gain], ...]


@dataclass(frozen=True, slots=True)
class _Placed:
    """A run and where it is in the joint programs."""

    observed: Observed
    run: Run
    start: int

    def served(self, agent: str) -> list[Step]:
        return [s for s in self.observed.trace.steps if measured(s) and facts.text(s.span, attr.AGENT) == agent]

    def latency_s(self, timeline: Timeline) -> float:
        return (timeline.end_ns[self.start + self.run.finish] - timeline.begin_ns[self.start + self.run.root]) / 1e9


def measured(step: Step) -> bool:
    """Whether the step is a handler with its queue times and pool on record, and did not fail."""
    return (
        step.operation == facts.PROCESS
        and not step.excluded
        and bool(facts.text(step.span, attr.POOL_ID))
        and bool(facts.whole(step.span, attr.POOL_CAPACITY))
        and facts.whole(step.span, attr.QUEUE_ENTER_NS) is not None
        and facts.whole(step.span, attr.QUEUE_DEQUEUE_NS) is not None
    )


def examine(window: Sequence[Observed], cohort: Cohort, agent: str, max_share: float) -> Queueing | None:
    """Replay the window's runs together; None unless ``agent`` waits more than ``max_share`` in ``cohort``.

    Waiting counts only as far as the replayed use of the pools explains it.
    """
    compiled = [(observed, observed.run) for observed in window]
    usable = [(observed, run) for observed, run in compiled if run is not None]
    joined, starts = join(run.program for _, run in usable)
    joined_cautious, _ = join(run.cautious for _, run in usable)
    if joined is None or joined_cautious is None:
        return None
    (hopeful, before), (cautious, _) = joined, joined_cautious
    placed = [_Placed(o, run, start) for (o, run), start in zip(usable, starts, strict=True)]
    served = [step for p in placed for step in p.served(agent)]
    own = [p for p in placed if p.observed.cohort.key == cohort.key]
    share = _share(own, agent, before)
    if share <= max_share or not plausible(served):
        return None
    pools = {facts.text(step.span, attr.POOL_ID) for step in served}
    added = 0
    remedied: Timeline | None = None
    while added < MAX_ADDED and (remedied is None or _share(own, agent, remedied) > max_share):
        added += 1
        remedied = replay(_grown(hopeful, pools, added))
        if remedied is None:
            return None
    waiting = [p for p in own if _share([p], agent, before) > max_share]
    gains = _gains(waiting, (hopeful, _grown(hopeful, pools, added)), (cautious, _grown(cautious, pools, added)))
    if gains is None:
        return None
    capacity = max(facts.whole(step.span, attr.POOL_CAPACITY) or 1 for step in served)
    shown = tuple((p.observed, tuple(s.id for s in p.served(agent))) for p in waiting)
    return Queueing(share, capacity, capacity + added, len(own), shown, gains)


def plausible(served: Sequence[Step]) -> bool:
    """Whether recorded depths fit the recorded times: Little's law on the sample path.

    What waits when a message is taken is what has arrived by then and was not taken yet. Depths that are all zero are
    taken as not recorded.
    """
    by_pool: dict[str, list[Step]] = {}
    for step in served:
        by_pool.setdefault(facts.text(step.span, attr.POOL_ID), []).append(step)
    recorded = expected = 0
    for steps in by_pool.values():
        arrivals, departures = sorted(s.ready_ns for s in steps), sorted(s.begin_ns for s in steps)
        for step in steps:
            recorded += facts.whole(step.span, attr.QUEUE_DEPTH) or 0
            expected += bisect_right(arrivals, step.begin_ns) - bisect_right(departures, step.begin_ns)
    slack = len(served)
    return not recorded or (recorded <= LITTLE * expected + slack and expected <= LITTLE * recorded + slack)


def _share(placed: Sequence[_Placed], agent: str, timeline: Timeline) -> float:
    waited = total = 0
    for p in placed:
        for step in p.served(agent):
            first, last = p.start + p.run.first[step.index], p.start + p.run.last[step.index]
            wait = min(timeline.wait_ns[first], step.begin_ns - step.ready_ns)  # skewed clocks may seem to queue
            waited += wait
            total += timeline.end_ns[last] - timeline.begin_ns[first] + wait
    return waited / total if total else 0.0


def _grown(program: Program, pools: set[str], added: int) -> Program:
    return edits.pool(program, {pool: program.pools[pool] + added for pool in pools})


def _gains(own: Sequence[_Placed], *pairs: tuple[Program, Program]) -> tuple[tuple[str, Gain], ...] | None:
    saved: list[list[float]] = [[] for _ in own]
    for before, after in pairs:
        was, becomes = replay(before), replay(after)
        if was is None or becomes is None or not _faithful(own, was):
            return None
        for values, p in zip(saved, own, strict=True):
            values.append(p.latency_s(was) - p.latency_s(becomes))
    return tuple(
        (p.observed.trace.run, Gain(latency_s=(min(values), max(values)))) for p, values in zip(own, saved, strict=True)
    )


def _faithful(placed: Sequence[_Placed], timeline: Timeline) -> bool:
    """Whether the unedited joint replay reproduces the recorded latencies."""
    recorded = [p.observed.trace.latency_ns / 1e9 for p in placed]
    off = sum(abs(p.latency_s(timeline) - r) for p, r in zip(placed, recorded, strict=True))
    return off <= FIDELITY * sum(recorded)
