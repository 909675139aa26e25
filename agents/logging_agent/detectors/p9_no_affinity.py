"""P9, shared prefix without affinity: prompts with the same beginning are spread over the replicas of a model.

What it is. Each replica has a cache of its own. When the requests of one conversation or template go to any of them,
each replica computes the same beginning again.

Evidence. `antiphon.prompt.block_hashes`, the replica in `antiphon.pool.id` (`model:NAME@NODE`) and the cached tokens
that it reports. One cache for each replica (LRU, as large as `antiphon.kv.blocks_total` says, or else so large that it
hits as often as was reported) is replayed twice: with the recorded replicas, and as the affinity policy would have
routed. Grade B.

Guards. At least 20 requests and two replicas. What was cached counts as recorded or as replayed, whichever is more.
Replicas that report much less than the replay of their own requests do not cache as assumed, and nothing is said. The
busiest replica may have at most 1.25 times the mean of the blocks, or what it has today. The whole window is replayed
through the pools of the replicas: where waiting for the favoured ones costs more than their caches save, nothing is
said.

Remedy. An `affinity` policy. It bounds the requests under way at a replica, and the finding proposes the bound, from
1.25 to 2 times the mean, under which the caches hit most.

What stays unseen. Replicas behind one address, as a load balancer hides them. Prompts below one block. Eviction by
requests that are not on record, such as those of other systems or of traces that were not kept.
"""

import random
from collections.abc import Mapping, Sequence
from typing import ClassVar

from antiphon.agents.logging_agent.cases import REQUIRED_RUNS, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.laws import Laws, asked_for
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.replica_caches import Better, ReplicaCalls, better, call_at
from antiphon.agents.logging_agent.shorter import factors_of, work_of
from antiphon.agents.logging_agent.window import Joint, Placed, Suspects
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.simulator import Program
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Affinity, Proposal
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p9"
REQUIRED_REQUESTS = 20

_MODELS = 32


class NoAffinity:
    """Finds models whose replicas would compute less if prompts with the same beginning came together. Grade B."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._laws = Laws(by=asked_for)
        self._calls: Recent[str, ReplicaCalls] = Recent(_MODELS)
        self._suspects: Suspects[str] = Suspects()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: which calls failed or were retried shows only in the trace."""

    def trace(self, observed: Observed) -> None:
        """Keep the trace's requests for the caches."""
        models = set()
        for step in observed.trace.steps:
            call = call_at(step)
            if call is not None:
                self._laws.note(step)
                self._calls.make(step.label, ReplicaCalls).add(call)
                models.add(step.label)
        for model in models:
            self._suspects.note(model, observed.cohort.window)

    def findings(self, now_ns: int) -> list[Finding]:
        """What a replay of the caches, and then of the runs, says of models that were called."""
        found = []
        for model, window in self._suspects.due():
            calls = self._calls.get(model)
            routing = None if calls is None else better(calls.by_start())
            joint = None if routing is None else window.joint
            if routing is not None and joint is not None:
                found += self._judge(model, routing, joint)
        return found

    def _judge(self, model: str, routing: Better, joint: Joint) -> list[Finding]:
        calls = {p.start: [s for s in p.observed.trace.steps if s.id in routing.moved] for p in joint.placed}
        affected = [p for p in joint.placed if calls[p.start]]
        saved_s = {
            step.id: self._laws.prefill_s(step, routing.moved[step.id][1]) for p in affected for step in calls[p.start]
        }
        latencies: list[tuple[float, float]] | None = None
        if None not in saved_s.values():
            known = {key: value for key, value in saved_s.items() if value is not None}
            edited = [_routed(program, affected, routing, known) for program in (joint.cautious, joint.hopeful)]
            latencies = joint.saved_s(affected, *edited)
            if latencies is not None and sum(low + high for low, high in latencies) <= 0:
                return []  # the favoured replicas have no room: fewer tokens, but longer waits
        gains: dict[str, list[tuple[Placed, Gain]]] = {}
        for index, p in enumerate(affected):
            times = [saved_s[step.id] for step in calls[p.start]]
            gain = Gain(
                latency_s=None if latencies is None else latencies[index],
                tokens=sum(routing.moved[step.id][1] for step in calls[p.start]),
                model_s=sum(t for t in times if t is not None) if None not in times else None,
            )
            gains.setdefault(p.observed.cohort.key, []).append((p, gain))
        found = (self._finding(model, routing, own) for own in gains.values())
        return [finding for finding in found if finding is not None]

    def _finding(self, model: str, routing: Better, own: Sequence[tuple[Placed, Gain]]) -> Finding | None:
        case = self._cases.touch(own[-1][0].observed.cohort, model)
        case.renew(((p.observed.trace.run, gain) for p, gain in own), len(own))
        case.support = routing.calls if case.runs >= REQUIRED_RUNS else case.runs
        for p, _ in own:
            spans = (step.id for step in p.observed.trace.steps if step.id in routing.moved)
            case.witness(p.observed.trace.id, spans, p.observed.trace.steps[0].end_ns)
        replicas = len(routing.routed.blocks)
        return case.finding(
            PATTERN,
            title=f"Shared prefix without affinity at {model}",
            grade=Grade.B,
            rng=self._rng,
            required=REQUIRED_REQUESTS,
            unit="requests",
            remedy=Remedy(
                text=f"The caches of {replicas} replicas hold {routing.now.hit_share:.0%} of the prompts' blocks, and "
                f"would hold {routing.routed.hit_share:.0%} if prompts with the same beginning went to the same one, "
                f"the busiest at {routing.routed.imbalance:.2f} times the mean: route by prefix.",
                proposal=Proposal(action=Affinity(imbalance=routing.bound), target=model),
            ),
            assumptions=(
                "Each replica forgets what was used longest ago, and holds what it says it can, or else as much as it "
                "takes to hit as often as it reported.",
                "Replicas are equally fast.",
                BOUNDS,
                "Requests arrive as recorded, however fast they are answered.",
            ),
        )


def _routed(program: Program, placed: Sequence[Placed], routing: Better, saved_s: Mapping[str, float]) -> Program:
    """The joint program with each call at its new replica, in the time that it then takes."""
    servers = {}
    for p in placed:
        for step in p.observed.trace.steps:
            served = work_of(p.observed.trace, step) if step.id in routing.moved else step
            if served is not step:
                servers[facts.text(step.span, attr.POOL_ID)] = facts.text(served.span, attr.POOL_ID)
    factors: dict[int, float] = {}
    pools: dict[int, str] = {}
    for p in placed:
        trace = p.observed.trace
        steps = [step for step in trace.steps if step.id in routing.moved]
        shorter = factors_of(trace, p.run, [(step, saved_s[step.id]) for step in steps])
        factors.update((p.start + task, factor) for task, factor in shorter.items())
        for step in steps:
            replica = routing.moved[step.id][0]
            pools[p.call(step)[0]] = replica
            served = work_of(trace, step)
            if served is not step and replica in servers:
                pools[p.call(served)[0]] = servers[replica]
    return edits.move(edits.scale(program, factors), pools)


DETECTOR = NoAffinity
