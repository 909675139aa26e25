"""The answer to a question about recorded runs: both replayed, with and without the change, and compared run by run."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.changed import Changed, apply
from antiphon.runtime.whatif.cost import Cost, cost_of
from antiphon.runtime.whatif.ensemble import Ensemble, Played
from antiphon.runtime.whatif.estimate import interval, quantile
from antiphon.runtime.whatif.interference import measure
from antiphon.runtime.whatif.other_model import OtherModel, other_model
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.question import Question, Verb
from antiphon.runtime.whatif.simulator import Timeline
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.finding import Estimate

Values = tuple[float, float, float]  # of a run: before, after cautiously, after hopefully


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One quantity; ``saving`` may be negative. ``unit``: s, tokens or usd."""

    name: str
    unit: str
    before: float
    after: float
    saving: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What would be different. ``before_s`` and ``after_s``: each run's latency, ``after_s`` midway between bounds.

    ``fidelity``: median over runs of |unedited replay - record| / record. ``tasks``: size of one replay.
    """

    runs: int
    left_out: Mapping[str, int]
    rows: tuple[Row, ...]
    before_s: tuple[float, ...]
    after_s: tuple[float, ...]
    fidelity: float
    tasks: int
    assumptions: tuple[str, ...]


def answer(question: Question, ensemble: Ensemble, samples: Sequence[Trace], rng: random.Random) -> Answer:
    """Replay with the change and compare. ``samples``: further traces that tell of models to swap to.

    Raises:
        Unanswerable: the runs lack what is asked about, or would block one another.
    """
    question.check(ensemble)
    traces = [*(played.trace for played in ensemble.played), *samples]
    others = {c.model: other_model(c.model, traces) for c in question.changes if c.verb is Verb.SWAP}
    interference = measure(ensemble)
    cautious, hopeful = (
        _Side(ensemble, apply(question, ensemble, others, interference, hopeful=side), hopeful=side)
        for side in (False, True)
    )
    costs = [cost_of(played.trace.steps) for played in ensemble.played]
    recorded = [played.trace.latency_ns / 1e9 for played in ensemble.played]
    saved = [(low, high) for low, high in zip(cautious.saved_s, hopeful.saved_s, strict=True)]
    latency = [(was, was - low, was - high) for was, (low, high) in zip(recorded, saved, strict=True)]

    def spent(part: Callable[[Cost], float]) -> list[Values]:
        sides = zip(costs, cautious.costs, hopeful.costs, strict=True)
        return [(part(was), part(low), part(high)) for was, low, high in sides]

    rows = [
        _row("latency, mean", "s", latency, _mean, rng),
        _row("latency, p50", "s", latency, lambda values: quantile(values, 0.5), rng),
        _row("latency, p95", "s", latency, lambda values: quantile(values, 0.95), rng),
        _row("tokens a run", "tokens", spent(lambda cost: cost.tokens), _mean, rng),
        _row("model time a run", "s", spent(lambda cost: cost.model_s), _mean, rng),
    ]
    usd = spent(lambda cost: cost.usd)
    if any(value for values in usd for value in values):
        rows.append(_row("cost a run", "usd", usd, _mean, rng))
    return Answer(
        runs=len(ensemble.played),
        left_out=ensemble.left_out,
        rows=tuple(rows),
        before_s=tuple(recorded),
        after_s=tuple((low + high) / 2 for _, low, high in latency),
        fidelity=ensemble.error,
        tasks=len(ensemble.hopeful[0].tasks),
        assumptions=tuple(_assumptions(question, ensemble, others, hopeful.changed)),
    )


class _Side:
    """The cautious or the hopeful replay of the change: per run, seconds saved and what it costs then."""

    def __init__(self, ensemble: Ensemble, changed: Changed, *, hopeful: bool) -> None:
        self.changed = changed
        timeline = changed.interference.replay(changed.program)
        if timeline is None:
            raise Unanswerable(
                "with this change the runs would block one another: tasks hold slots that others of them need. "
                "Ask for more slots"
            )
        before = (ensemble.hopeful if hopeful else ensemble.cautious)[1]
        self.saved_s = [played.latency_s(before) - played.latency_s(timeline) for played in ensemble.played]
        costs = [_cost(played, self.changed, timeline) for played in ensemble.played]
        for task, (place, cost) in self.changed.attempts.items():
            busy_s = (timeline.end_ns[task] - timeline.begin_ns[task]) / 1e9
            if busy_s > 0:
                was = costs[place]
                costs[place] = Cost(
                    tokens=was.tokens + cost.tokens,
                    model_s=was.model_s + min(busy_s, cost.model_s),
                    usd=was.usd + cost.usd,
                )
        self.costs = costs


def _cost(played: Played, changed: Changed, timeline: Timeline) -> Cost:
    tokens = model_s = usd = 0.0
    for step in played.trace.steps:
        if step.operation != facts.MODEL and attr.COST_USD not in step.span.attributes:
            continue
        first, last = played.call(step)
        if first in changed.gone:
            continue
        cost = cost_of([step])
        tokens += cost.tokens
        usd += changed.usd.get(first, cost.usd)
        if step.operation == facts.MODEL:
            model_s += (timeline.end_ns[last] - timeline.begin_ns[first]) / 1e9
    return Cost(tokens=tokens, model_s=model_s, usd=usd)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _row(
    name: str, unit: str, runs: Sequence[Values], of: Callable[[Sequence[float]], float], rng: random.Random
) -> Row:
    def saved(drawn: Sequence[Values]) -> tuple[float, float]:
        was, low, high = (of(values) for values in zip(*drawn, strict=True))
        return was - low, was - high

    saving = interval(runs, saved, rng)
    before = of([was for was, _, _ in runs])
    return Row(name=name, unit=unit, before=before, after=before - saving.point, saving=saving)


def _assumptions(
    question: Question, ensemble: Ensemble, others: Mapping[str, OtherModel], changed: Changed
) -> list[str]:
    found = [
        BOUNDS,
        "Runs begin when they did. Waiting that these runs do not explain (others, transport) takes as long as before.",
    ]
    verbs = {change.verb for change in question.changes}
    if verbs & {Verb.REMOVE, Verb.DROP, Verb.SWAP}:
        found.append("Agents go on as recorded, though without that content, or with other content, they might not.")
    if Verb.DEDUPE in verbs:
        found.append("Equal inputs have equal results, and nothing between changes what is read.")
    if Verb.HEDGE in verbs:
        found.append("A second attempt does no harm and takes as long as a call drawn from the recorded ones.")
    for other in others.values():
        law = other.laws[""]
        price = "" if other.usd_per_token else "; no price of it is on record"
        found.append(
            f"{other.name} takes {law.a0 + law.b0:.3g} s, {law.a1 * 1e3:.3g} ms an input and {law.b1 * 1e3:.3g} ms an "
            f"output token (from {law.calls:,} calls, {law.error:.0%} off on others) and writes as many tokens{price}."
        )
    for pool, g in changed.interference.slowed.items():
        if g > 0:
            found.append(f"Each further call at work in {pool} slows decoding by {g:.1%}; durations follow the load.")
    if changed.untouched:
        found.append(f"{changed.untouched:,} selected calls stay as they are: the record says too little of them.")
    if len(ensemble.played) == 1:
        found.append("One run: the interval reaches from bound to bound and says nothing of other runs.")
    return found
