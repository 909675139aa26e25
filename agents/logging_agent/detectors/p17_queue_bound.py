"""P17, queue-bound agent: messages wait for a slot for more than 30 % of their time with the agent.

What it is. Messages for an agent wait for a slot for more than 30 % of the time that they spend with it.

Evidence. `antiphon.queue.enter_ns` and `antiphon.queue.dequeue_ns`, the queue's depth, and the pool's capacity and
use. Grade B.

Guards. Only waiting with all slots busy counts, and only as far as the replayed use of the pools explains it:
transport and clock differences do not count. The recorded depths must fit the recorded times by Little's law. The
whole window of 50 runs is replayed through all pools together, so that a remedy that only moves the queue further
down saves nothing and is not reported.

Remedy. A `concurrency` policy with more slots, or more replicas.

What stays unseen. Waiting outside Antiphon, for example in a model server's own queue, unless the instance reports
it. Requests that would come faster if they were answered faster: arrivals are taken as recorded.
"""

import random
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.queueing import examine, measured
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.window import Joint, Suspects
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Concurrency, Proposal
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p17"
MAX_WAIT_SHARE = 0.30
DECAY = 0.9  # of the moving averages: about the last ten messages count

_AGENTS = 512


class _Load:
    """Moving sums of waiting and serving at one agent."""

    __slots__ = ("serve_s", "wait_s")

    def __init__(self) -> None:
        self.wait_s = self.serve_s = 0.0

    @property
    def wait_share(self) -> float:
        return self.wait_s / max(self.wait_s + self.serve_s, 1e-9)


class QueueBound:
    """Finds agents with too few slots, by replaying all runs of a window through all pools together.

    Only waiting that the recorded use of the pool explains counts: transport and clock skew do not. The remedy is the
    smallest pool that brings the share to 30 %; where something downstream is full, its replay saves nothing and
    nothing is said. Grade B.
    """

    streams: ClassVar[frozenset[str]] = frozenset({facts.PROCESS})

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._loads: Recent[str, _Load] = Recent(_AGENTS)
        self._suspects: Suspects[tuple[str, str]] = Suspects()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Move the agent's averages."""
        if span.kind != facts.CONSUMER or span.end_ns == 0 or span.status == facts.ERROR:
            return
        entered = facts.whole(span, attr.QUEUE_ENTER_NS)
        left = facts.whole(span, attr.QUEUE_DEQUEUE_NS)
        agent = facts.text(span, attr.AGENT)
        if entered is None or left is None or not agent:
            return
        load = self._loads.make(agent, _Load)
        load.wait_s = DECAY * load.wait_s + max(left - entered, 0) / 1e9
        load.serve_s = DECAY * load.serve_s + max(span.end_ns - left, 0) / 1e9

    def trace(self, observed: Observed) -> None:
        """Note which agents waited with all slots busy."""
        trace = observed.trace
        if trace.steps[trace.finish].excluded:
            return
        waiting: dict[str, list[float]] = {}
        for step in trace.steps:
            if measured(step):
                sums = waiting.setdefault(facts.text(step.span, attr.AGENT), [0.0, 0.0])
                sums[0] += (step.begin_ns - step.ready_ns) * _full(step)
                sums[1] += step.end_ns - step.ready_ns
        for agent, (waited, total) in waiting.items():
            load = self._loads.get(agent)
            if waited > MAX_WAIT_SHARE * total and load is not None and load.wait_share > MAX_WAIT_SHARE:
                self._suspects.note((observed.cohort.key, agent), observed.cohort.window)

    def findings(self, now_ns: int) -> list[Finding]:
        """What a joint replay says of an agent that had messages wait."""
        found = (
            self._finding(joint, cohort, agent)
            for (cohort, agent), window in self._suspects.due()
            if (joint := window.joint) is not None
        )
        return [finding for finding in found if finding is not None]

    def _finding(self, joint: Joint, cohort: str, agent: str) -> Finding | None:
        own = [p.observed for p in joint.placed if p.observed.cohort.key == cohort]
        if not own:
            return None
        is_told = self._cases.told(own[-1].cohort, agent) is not None
        remedied = examine(joint, cohort, agent, MAX_WAIT_SHARE, is_told=is_told)
        judged = [observed.trace.run for observed in own]
        if remedied is None:
            self._cases.clear(own[-1].cohort, agent, judged)
            return None
        case = self._cases.touch(own[-1].cohort, agent)
        case.renew(remedied.gains, judged)
        for observed, spans in remedied.shown:
            case.witness(observed.trace.id, spans, observed.trace.steps[0].end_ns)
        return case.finding(
            PATTERN,
            title=f"Queue-bound agent {case.subject}",
            grade=Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"Messages for {case.subject} spend {remedied.share:.0%} of their time waiting for one of its "
                f"{remedied.capacity} slots: raise slots to {remedied.slots}, or run more replicas.",
                proposal=Proposal(action=Concurrency(slots=remedied.slots), target=case.subject),
            ),
            assumptions=(
                f"Every pool of {case.subject} grows by {remedied.slots - remedied.capacity}.",
                BOUNDS,
                "Requests arrive as recorded, however fast they are answered.",
            ),
        )


def _full(step: Step) -> bool:
    """Whether all slots were busy when the message got one, its own included."""
    active, capacity = facts.whole(step.span, attr.POOL_ACTIVE), facts.whole(step.span, attr.POOL_CAPACITY)
    return active is not None and capacity is not None and active >= capacity


DETECTOR = QueueBound
