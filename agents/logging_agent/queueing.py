"""How long an agent's messages wait for its slots, and what more slots would change for whole runs."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.cases import Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.window import Joint, Placed
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
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
    shown: tuple[tuple[Observed, tuple[str, ...]], ...]  # runs above the share, with the spans that waited
    gains: Mapping[str, Gain]


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


def examine(joint: Joint, cohort: str, agent: str, max_share: float, *, is_told: bool = False) -> Queueing | None:
    """Replay runs together; None unless messages for ``agent`` wait more than ``max_share`` in the cohort of that key.

    Waiting counts only as far as the replayed use of the pools explains it. ``is_told``: that they do was told before,
    and what more slots would save is estimated however long they wait now.
    """
    before = joint.unedited[1]
    served = [step for p in joint.placed for step in _served(p, agent)]
    own = [p for p in joint.placed if p.observed.cohort.key == cohort]
    share = _share(own, agent, before)
    if (share <= max_share and not is_told) or not plausible(served):
        return None
    pools = {facts.text(step.span, attr.POOL_ID) for step in served}
    added = 0
    remedied: Timeline | None = None
    while added < MAX_ADDED and (remedied is None or _share(own, agent, remedied) > max_share):
        added += 1
        remedied = replay(_grown(joint.hopeful, pools, added))
        if remedied is None:
            return None
    waiting = [p for p in own if _share([p], agent, before) > max_share]
    saved = joint.saved_s(waiting, _grown(joint.cautious, pools, added), _grown(joint.hopeful, pools, added))
    if not saved:
        return None
    capacity = max(facts.whole(step.span, attr.POOL_CAPACITY) or 1 for step in served)
    shown = tuple((p.observed, tuple(s.id for s in _served(p, agent))) for p in waiting)
    gains = {p.observed.trace.run: Gain(latency_s=s) for p, s in zip(waiting, saved, strict=True)}
    return Queueing(share, capacity, capacity + added, shown, gains)


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


def _served(p: Placed, agent: str) -> list[Step]:
    return [s for s in p.observed.trace.steps if measured(s) and facts.text(s.span, attr.AGENT) == agent]


def _share(placed: Sequence[Placed], agent: str, timeline: Timeline) -> float:
    waited = total = 0
    for p in placed:
        for step in _served(p, agent):
            first, last = p.call(step)
            wait = min(timeline.wait_ns[first], step.begin_ns - step.ready_ns)  # skewed clocks may seem to queue
            waited += wait
            total += timeline.end_ns[last] - timeline.begin_ns[first] + wait
    return waited / total if total else 0.0


def _grown(program: Program, pools: set[str], added: int) -> Program:
    return edits.pool(program, {pool: program.pools[pool] + added for pool in pools})
