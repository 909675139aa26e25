"""Two versions of a system on the same recorded tasks, with the same seeds: what differs, and how surely."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from antiphon.runtime.errors import AntiphonError, Unanswerable
from antiphon.runtime.replay.bootstrap import interval
from antiphon.runtime.replay.counterfactual import Play, Side, played
from antiphon.runtime.replay.dataset import Example, body_of, headers_of
from antiphon.runtime.replay.live import Rules
from antiphon.runtime.replay.outside import Outside
from antiphon.runtime.replay.recordings import Recordings
from antiphon.runtime.replay.scorers import Scorer
from antiphon.runtime.replay.stage import Part
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.virtual_time import EPOCH_UNIX_S
from antiphon.schemas.identity import Address, derived_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One arm: a system, and which models answer for which there."""

    name: str
    system: System
    settings: Settings
    outside: Outside
    models: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """One example with one seed in one arm. ``failure``: why there is no result; ``quality`` None: it has no score."""

    side: Side | None
    quality: float | None
    failure: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One quantity: the mean of each arm over pairs that have it, and the paired difference (second minus first).

    ``low`` and ``high`` bound it with 90 %; None where one example alone has it.
    """

    name: str
    first: float
    second: float
    difference: float
    low: float | None
    high: float | None
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``failures`` by arm: how many trials had no result, by reason. Pairs in which one failed are left out."""

    names: tuple[str, str]
    examples: int
    seeds: int
    measured: tuple[Measured, ...]
    failures: tuple[Mapping[str, int], Mapping[str, int]]


def compare(
    first: Version,
    second: Version,
    examples: Sequence[Example],
    *,
    seeds: int,
    scorer: Scorer,
    recordings: Callable[[Example], Recordings],
    progress: Callable[[], None] = lambda: None,
) -> Comparison:
    """Do every example ``seeds`` times in both arms; models are always asked, tools answer from ``recordings``.

    Nothing is written: a write that is not on record is answered as the nearest one to the same target was.

    Raises:
        Unanswerable: there are no examples.
        ConfigurationError, AgentError: an arm cannot do them at all.
    """
    if not examples:
        raise Unanswerable("there are no tasks to compare on: only durable work that did something is recorded")
    pairs: list[list[tuple[Trial, Trial]]] = []
    for example in examples:
        found: list[tuple[Trial, Trial]] = []
        for seed in range(seeds):
            arms = [(first, 0), (second, 1)]
            if (len(pairs) + seed) % 2:
                arms.reverse()  # neither arm always comes second, to a warm cache
            trials = {place: _trial(arm, example, seed, scorer, recordings(example)) for arm, place in arms}
            found.append((trials[0], trials[1]))
            progress()
        pairs.append(found)
    return Comparison(
        names=(first.name, second.name),
        examples=len(examples),
        seeds=seeds,
        measured=summary(pairs),
        failures=(_failures(pairs, 0), _failures(pairs, 1)),
    )


def summary(pairs: Sequence[Sequence[tuple[Trial, Trial]]]) -> tuple[Measured, ...]:
    """The paired differences of each quantity; ``pairs`` are the seeds of each example.

    An example's difference is the mean over its seeds; the 90 % interval comes from examples drawn again, because seeds
    of one example are no independent evidence.
    """
    found = [_measured(name, pairs, value) for name, value in _QUANTITIES]
    return tuple(each for each in found if each is not None)


def _measured(
    name: str, pairs: Sequence[Sequence[tuple[Trial, Trial]]], value: Callable[[Trial], float | None]
) -> Measured | None:
    rows: list[tuple[float, float]] = []
    for seeds in pairs:
        both = [(value(a), value(b)) for a, b in seeds]
        whole = [(a, b) for a, b in both if a is not None and b is not None]
        if whole:
            rows.append((sum(a for a, _ in whole) / len(whole), sum(b for _, b in whole) / len(whole)))
    if not rows:
        return None
    changes = [b - a for a, b in rows]
    low, high = (
        (None, None) if len(rows) < 2 else interval(lambda rng: sum(rng.choices(changes, k=len(rows))) / len(rows))
    )
    return Measured(
        name=name,
        first=sum(a for a, _ in rows) / len(rows),
        second=sum(b for _, b in rows) / len(rows),
        difference=sum(changes) / len(rows),
        low=low,
        high=high,
        examples=len(rows),
    )


_QUANTITIES: tuple[tuple[str, Callable[[Trial], float | None]], ...] = (
    ("quality", lambda trial: trial.quality),
    ("latency, s", lambda trial: None if trial.side is None else trial.side.took_s),
    ("tokens", lambda trial: None if trial.side is None else float(trial.side.used.tokens)),
    ("cost, USD", lambda trial: None if trial.side is None else trial.side.used.usd),
)


def _trial(arm: Version, example: Example, seed: int, scorer: Scorer, recordings: Recordings) -> Trial:
    task = example.task or derived_id("example", example.handler, body_of(example).decode())
    part = Part(
        address=Address.parse(example.handler),
        headers=headers_of(example),
        body=body_of(example),
        task=task if not seed else derived_id("seed", task, str(seed)),
        run=example.run or task,
    )
    rules = Rules(models=arm.models, fresh=True, stand_ins=True, seed=seed)
    play = Play(part=part, start_unix_ms=EPOCH_UNIX_S * 1000, recordings=recordings, rules=rules, seed=seed)
    try:
        side, _ = played(arm.system, arm.settings, play, arm.outside)
    except Unanswerable as error:
        return Trial(side=None, quality=None, failure=error.message)
    if side.error:
        return Trial(side=None, quality=None, failure=side.error)
    try:
        quality = scorer(example, json.loads(side.value) if side.value else None)
    except AntiphonError as error:
        return Trial(side=side, quality=None, failure=f"not scored: {error.message}")
    return Trial(side=side, quality=quality)


def _failures(pairs: Sequence[Sequence[tuple[Trial, Trial]]], arm: int) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for seeds in pairs:
        for pair in seeds:
            reason = pair[arm].failure
            if reason:
                found[reason] = found.get(reason, 0) + 1
    return found
