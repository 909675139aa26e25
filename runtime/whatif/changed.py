"""A question applied to joined runs: the changed program, and what in it no longer costs what it did."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.cost import Cost, cost_of
from antiphon.runtime.whatif.ensemble import Ensemble, Played
from antiphon.runtime.whatif.interference import Interference, Loaded
from antiphon.runtime.whatif.other_model import OtherModel
from antiphon.runtime.whatif.program import pool_of
from antiphon.runtime.whatif.question import Change, Question, Verb, pools_named
from antiphon.runtime.whatif.selection import Kind
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.time_law import call_of
from antiphon.runtime.whatif.trace import Step, Trace

SEED = 7  # both bounds draw the same second attempts


@dataclass(slots=True, kw_only=True)
class Changed:
    """The program after the question; tasks are numbered as in the ensemble, those added come after."""

    program: Program
    gone: set[int] = field(default_factory=set)  # tasks whose work is no longer done
    usd: dict[int, float] = field(default_factory=dict)  # by task: another price of its call
    attempts: dict[int, tuple[int, Cost]] = field(default_factory=dict)  # added task: run (place in played), its cost
    interference: Interference
    untouched: int = 0  # selected steps that the record says too little of


def apply(
    question: Question,
    ensemble: Ensemble,
    others: Mapping[str, OtherModel],
    interference: Interference,
    *,
    hopeful: bool,
) -> Changed:
    """The ensemble's cautious or hopeful program, changed.

    Raises:
        Unanswerable: what is removed is what the runs were asked for, or nothing on record says what is equal.
    """
    changed = Changed(program=(ensemble.hopeful if hopeful else ensemble.cautious)[0], interference=interference)
    rng = random.Random(SEED)
    for change in question.changes:
        if change.verb is Verb.SWAP:
            _swap(changed, ensemble, change, others[change.model], hopeful=hopeful)
        elif change.verb is Verb.SCALE:
            _scale(changed, ensemble, change)
        elif change.verb is Verb.DEDUPE:
            _dedupe(changed, ensemble, change)
        elif change.verb is Verb.HEDGE:
            _hedge(changed, ensemble, change, rng)
        elif change.verb is Verb.PARALLELISE:
            _parallelise(changed, ensemble, change)
        else:
            _cut(changed, ensemble, change)
    for name in question.least_attained:
        changed.program = edits.least_attained(changed.program, pools_named(name, ensemble))
    for name, slots in question.pools.items():
        changed.program = edits.pool(changed.program, dict.fromkeys(pools_named(name, ensemble), slots))
    return changed


def _swap(changed: Changed, ensemble: Ensemble, change: Change, other: OtherModel, *, hopeful: bool) -> None:
    service_ns: dict[int, int] = {}
    loaded = dict(changed.interference.calls)
    for played in ensemble.played:
        for step in change.selection.steps(played.trace):
            call = None if step.children else call_of(step)
            if call is None:
                changed.untouched += 1
                continue
            task = played.call(step)[0]
            service_ns[task], share = other.serve(call, step.node, hopeful=hopeful)
            loaded[task] = Loaded(share=share, active=call.active)
            changed.usd[task] = cost_of([step]).tokens * other.usd_per_token
    if other.pool not in changed.program.pools:
        changed.program = edits.pool(changed.program, {other.pool: other.capacity[hopeful]})
    changed.program = edits.swap_model(changed.program, service_ns, other.pool)
    slowed = {**changed.interference.slowed, other.pool: other.laws[""].g}
    changed.interference = Interference(slowed=slowed, calls=loaded)


def _scale(changed: Changed, ensemble: Ensemble, change: Change) -> None:
    factor = change.number or 0.0
    services: dict[int, float] = {}
    gaps: dict[int, float] = {}
    for played in ensemble.played:
        for step in change.selection.steps(played.trace):
            first, last = played.call(step)
            if change.selection.kind is not Kind.AGENT:  # with all that it is made of
                below = played.tasks(played.trace.below(step.index))
                services |= dict.fromkeys(below, factor)
                gaps |= dict.fromkeys(below - {first}, factor)
            elif first == last:
                services[first] = factor
            else:  # the handlers' own time lies between their calls
                gaps |= {played.call(played.trace.steps[i])[0]: factor for i in step.children}
                gaps[last] = factor
    changed.program = edits.scale(changed.program, services, gaps)


def _cut(changed: Changed, ensemble: Ensemble, change: Change) -> None:
    tasks: set[int] = set()
    for played in ensemble.played:
        for step in change.selection.calls(played.trace):
            below = {found.index for found in played.trace.below(step.index)}
            if 0 in below or played.trace.finish in below:
                raise Unanswerable(f"{change.selection} is what run {played.trace.run} was asked for: nothing is left")
            tasks |= played.tasks(played.trace.steps[i] for i in below)
    changed.gone |= tasks
    edit = edits.remove if change.verb is Verb.REMOVE else edits.drop
    changed.program = edit(changed.program, tasks)


def _parallelise(changed: Changed, ensemble: Ensemble, change: Change) -> None:
    """At most so many at once as batches, each after the one before: a policy's steps begin when any of them ends."""
    most = None if change.number is None else round(change.number)
    found = False
    for played in ensemble.played:
        for handler in change.selection.all(played.trace):
            for group in _declared(played.trace, handler):
                found = True
                for at in range(0, len(group), most or len(group)):
                    part = group[at : at + (most or len(group))]
                    changed.program = edits.redep(changed.program, [played.call(each) for each in part])
    if not found:
        raise Unanswerable(
            f"{change.selection} ran no steps one after the other that its code declares independent (ctx.each)"
        )


def _declared(trace: Trace, handler: Step) -> list[list[Step]]:
    """The groups of a handler's steps that its code declares independent and that ran one at a time (``ctx.each``)."""
    groups: dict[str, list[Step]] = {}
    for step in (trace.steps[i] for i in handler.children):
        group = facts.text(step.span, attr.GROUP)
        if group and not step.excluded and facts.whole(step.span, attr.GROUP_WIDTH) == 1:
            groups.setdefault(group, []).append(step)
    return [group for group in groups.values() if len(group) > 1]


def _dedupe(changed: Changed, ensemble: Ensemble, change: Change) -> None:
    found = sorted(
        (
            (step.start_ns, place, step.index)
            for place, played in enumerate(ensemble.played)
            for step in change.selection.calls(played.trace)
            if not step.excluded
        ),
    )
    leaders: dict[tuple[str, ...], tuple[Played, Step]] = {}
    shares: list[edits.Share] = []
    known = 0
    for _, place, index in found:
        played = ensemble.played[place]
        step = played.trace.steps[index]
        key = _equal(step)
        if key is None or played.call(step)[0] in changed.gone:
            changed.untouched += key is None
            continue
        known += 1
        leader = leaders.get(key)
        if leader is None or not _lasts(leader[1], step, change.number) or _within(played, step, leader):
            leaders[key] = (played, step)
            continue
        tasks = played.tasks(played.trace.below(index))
        changed.gone |= tasks
        shares.append(edits.Share(tasks, played.call(step)[1], leader[0].call(leader[1])[1]))
    if not known:
        raise Unanswerable(f"no call of {change.selection} recorded a hash of its input: nothing says which are equal")
    changed.program = edits.dedupe_all(changed.program, shares)


def _equal(step: Step) -> tuple[str, ...] | None:
    content = facts.text(step.span, attr.INPUT_HASH)
    return (facts.text(step.span, attr.TENANT), step.label, content) if content else None


def _lasts(leader: Step, step: Step, ttl_s: float | None) -> bool:
    return ttl_s is None or step.start_ns <= leader.end_ns + ttl_s * 1e9


def _within(played: Played, step: Step, leader: tuple[Played, Step]) -> bool:
    """Whether the step is part of the work whose result it would share."""
    return leader[0] is played and any(s.index == step.index for s in played.trace.below(leader[1].index))


def _hedge(changed: Changed, ensemble: Ensemble, change: Change, rng: random.Random) -> None:
    delay_ns = round((change.number or 0.0) * 1e9)
    calls = [
        (place, step)
        for place, played in enumerate(ensemble.played)
        for step in change.selection.calls(played.trace)
        if not step.excluded and played.call(step)[0] not in changed.gone and step.index != 0
    ]
    if not calls:
        raise Unanswerable(f"every call of {change.selection} failed, is gone, or is the run itself: nothing to hedge")
    tasks = changed.program.tasks
    durations = []
    for place, step in calls:
        first, last = ensemble.played[place].call(step)
        durations.append(tasks[first].service_ns if first == last else step.end_ns - step.ready_ns)
    attempts: dict[edits.Call, tuple[int, str | None]] = {}
    for place, step in calls:
        played = ensemble.played[place]
        first, last = played.call(step)
        pool = tasks[first].pool if first == last else _served_by(played.trace, step)
        changed.attempts[len(tasks) + len(attempts)] = place, cost_of(played.trace.below(step.index))
        attempts[first, last] = rng.choice(durations), pool
    changed.program = edits.hedge(changed.program, delay_ns, attempts)


def _served_by(trace: Trace, step: Step) -> str | None:
    """The pool of the call itself, or of the handler that answers it."""
    found = (pool_of(s) for s in (step, *(trace.steps[i] for i in step.children)))
    return next((pool for pool in found if pool is not None), None)
