"""P9, shared prefix without affinity: prompts with the same beginning are spread over the replicas of a model.

What it is. Each replica has a cache of its own. When the requests of one conversation or template go to any of them,
each replica computes the same beginning again.

Evidence. `antiphon.prompt.block_hashes`, the replica in `antiphon.pool.id` (`model:NAME@NODE`) and the cached tokens
that it reports. One cache for each replica (LRU, as large as `antiphon.kv.blocks_total` says, or else so large that it
hits as often as was reported) is replayed twice: with the recorded replicas, and as the affinity policy would have
routed. Tokens and model time are of all these calls, 1,000 at most; latency is of the newest 50 runs. Grade B.

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
from antiphon.agents.logging_agent.replica_caches import Better, ReplicaCall, ReplicaCalls, better, call_at
from antiphon.agents.logging_agent.shorter import factors_of, work_of
from antiphon.agents.logging_agent.window import Joint, Placed, Suspects
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.simulator import Program
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy
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
        self._bounds: Recent[str, float] = Recent(_MODELS)  # told last: estimated again though none is balanced now
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: which calls failed or were retried shows only in the trace."""

    def trace(self, observed: Observed) -> None:
        """Keep the trace's requests for the caches."""
        models = set()
        for step in observed.trace.steps:
            call = call_at(step, cohort=observed.cohort.key, run=observed.trace.run)
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
            known = [] if calls is None else calls.by_start()
            told = self._bounds.get(model)
            routing = better(known) or (None if told is None else better(known, told))
            joint = None if routing is None else window.joint
            if routing is not None and joint is not None:
                found += self._judge(model, known, routing, joint)
        return found

    def _judge(self, model: str, known: Sequence[ReplicaCall], routing: Better, joint: Joint) -> list[Finding]:
        calls = {p.start: [s for s in p.observed.trace.steps if s.id in routing.moved] for p in joint.placed}
        affected = [p for p in joint.placed if calls[p.start]]
        saved_s = {
            step.id: self._laws.prefill_s(step, routing.moved[step.id][1]) for p in affected for step in calls[p.start]
        }
        latencies: list[tuple[float, float]] | None = None
        if None not in saved_s.values():
            timed = {key: value for key, value in saved_s.items() if value is not None}
            edited = [_routed(program, affected, routing, timed) for program in (joint.cautious, joint.hopeful)]
            latencies = joint.saved_s(affected, *edited)
            is_worse = latencies is not None and sum(low + high for low, high in latencies) <= 0
            if is_worse and self._bounds.get(model) is None:
                return []  # the favoured replicas have no room: fewer tokens, but longer waits
        faster = {p.observed.trace.run: s for p, s in zip(affected, latencies or (), strict=False)}
        cohorts: dict[str, list[Placed]] = {}
        for p in affected:
            cohorts.setdefault(p.observed.cohort.key, []).append(p)
        found = []
        for key, own in cohorts.items():
            calls_of: dict[str, list[ReplicaCall]] = {}
            for call in known:
                if call.cohort == key:
                    calls_of.setdefault(call.run, []).append(call)
            gains = {run: self._gain(model, made, routing, faster.get(run)) for run, made in calls_of.items()}
            found.append(self._finding(model, routing, own, gains))
        if any(finding is not None and finding.state is FindingState.OPEN for finding in found):
            self._bounds.put(model, routing.bound)
        return [finding for finding in found if finding is not None]

    def _gain(
        self, model: str, made: Sequence[ReplicaCall], routing: Better, latency_s: tuple[float, float] | None
    ) -> Gain:
        """What a run saves, in the window or before: the caches are replayed over many more runs than the pools."""
        tokens = [routing.moved[call.step][1] for call in made]
        times = [self._laws.shorter_s(model, call.timed, saved) for call, saved in zip(made, tokens, strict=True)]
        known_s = [saved_s for saved_s in times if saved_s is not None]
        model_s = sum(known_s) if len(known_s) == len(times) else None
        return Gain(latency_s=latency_s, tokens=sum(tokens), model_s=model_s)

    def _finding(self, model: str, routing: Better, own: Sequence[Placed], gains: Mapping[str, Gain]) -> Finding | None:
        case = self._cases.touch(own[-1].observed.cohort, model)
        case.renew(gains, gains)
        case.support = routing.calls if case.runs >= REQUIRED_RUNS else case.runs
        for p in own:
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
