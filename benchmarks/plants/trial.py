"""One plant with one seed: recorded, looked at, remedied for real, and its decoy looked at.

In parts, each for a process of its own: on the wall clock all plants are recorded before any is looked at, because
looking takes processor time from what is being measured.
"""

import asyncio
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import structlog

from antiphon.runtime.testing import run_virtual
from antiphon.schemas.finding import Finding
from antiphon.schemas.policy import Level, Policy
from plants import baselines as rivals
from plants import judge, stage
from plants.catalogue import catalogue
from plants.clean import CLEAN
from plants.noise import Noise
from plants.plant import Build, Measure
from plants.stage import Recording
from plants.world import World

OTHER = 1_000  # added to a seed: other arrivals, other draws
NOISES = {
    "skew": Noise(skew_s=0.05),
    "lost": Noise(lost=0.03),
    "sampled": Noise(sampled=0.1),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A finding, as far as it is judged."""

    pattern: str
    grade: str
    subject: str

    @classmethod
    def of(cls, finding: Finding) -> "Said":
        return cls(pattern=finding.pattern, grade=finding.grade.value, subject=finding.subject)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What came of it. Savings are relative to what a run took before; None where nothing was found or done.

    ``realised`` is what the remedy saved of the same arrivals with the same draws, which is the prediction's error.
    ``later`` is what it saved of other ones, as many, which is what the prediction's interval is of. Both are of runs
    without and with the remedy at the same time, since what else a machine does changes from minute to minute.
    """

    plant: str
    pattern: str
    seed: int
    world: World
    held_out: bool
    also: frozenset[str]
    measure: str
    said: tuple[Said, ...]
    decoy: tuple[Said, ...]
    noisy: dict[str, tuple[tuple[Said, ...], tuple[Said, ...]]]  # planted and decoy under each noise; of plain worlds
    predicted: tuple[float, float, float] | None  # point, low, high
    realised: float | None
    later: float | None
    baselines: dict[str, rivals.Verdict]
    decoy_baselines: dict[str, rivals.Verdict]
    failures: int  # more than before
    automatic: bool  # grade A without a risk to quality: what may be applied without a person

    @property
    def found(self) -> bool:
        """Whether the planted pattern was found."""
        return any(said.pattern == self.pattern for said in self.said)


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanTrial:
    """What was said of a system without a planted waste."""

    system: str
    traces: int
    said: tuple[Said, ...]
    baselines: dict[str, rivals.Verdict]


def perform(build: Build, world: World, policies: Sequence[Policy] = (), *, virtual: bool) -> Recording:
    """One run of a system, in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if virtual:
        return run_virtual(stage.virtual_time(build, world, policies), seed=world.seed)
    return asyncio.run(stage.wall_clock(build, world, policies))


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A plant and its decoy as they ran."""

    planted: Recording
    decoy: Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """What was found: ``own`` is the planted pattern's largest finding."""

    found: tuple[Finding, ...]
    own: Finding | None
    decoy: tuple[Said, ...]
    noisy: dict[str, tuple[tuple[Said, ...], tuple[Said, ...]]]


@dataclass(frozen=True, slots=True)
class Pair:
    """The same runs without and with the remedy."""

    without: Recording
    having: Recording


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedied:
    """The runs that were looked at, once more, and as many others."""

    same: Pair
    others: Pair


def try_plant(name: str, world: World, *, virtual: bool) -> Trial:
    """Everything about one plant and seed."""
    recorded = record(name, world, virtual=virtual)
    looked = look(name, world, recorded)
    remedied = None
    if is_remedied(name, looked.own):
        pairs = [
            Pair(*(perform_again(name, at, looked.own, remedied=wanted, virtual=virtual) for wanted in (False, True)))
            for at in (world, others(world))
        ]
        remedied = Remedied(same=pairs[0], others=pairs[1])
    return conclude(name, world, recorded, looked, remedied)


def record(name: str, world: World, *, virtual: bool) -> Recorded:
    """Let the plant and its decoy run."""
    plant = catalogue()[name]
    planted, decoy = (perform(build(world), world, virtual=virtual) for build in (plant.planted, plant.decoy))
    return Recorded(planted=planted, decoy=decoy)


def look(name: str, world: World, recorded: Recorded) -> Looked:
    """Let the logging agent look at both, and again under noise where the world is plain."""
    plant = catalogue()[name]
    found = judge.look(recorded.planted.batches)
    rng = random.Random(world.seed)
    return Looked(
        found=tuple(found),
        own=max(
            (finding for finding in found if finding.pattern == plant.pattern),
            key=lambda finding: (judge.predicted(finding, plant.measure) or (0.0,))[0],
            default=None,
        ),
        decoy=tuple(map(Said.of, judge.look(recorded.decoy.batches))),
        noisy={
            kind: (
                tuple(map(Said.of, judge.look(noise.over(recorded.planted.batches, rng)))),
                tuple(map(Said.of, judge.look(noise.over(recorded.decoy.batches, rng)))),
            )
            for kind, noise in NOISES.items()
            if world.is_plain
        },
    )


def is_remedied(name: str, own: Finding | None) -> bool:
    """Whether there is something to do: the plant has a version without the waste, or the finding proposes a policy."""
    return catalogue()[name].remedied is not None or (own is not None and own.remedy.proposal is not None)


def others(world: World) -> World:
    """As many other runs."""
    return replace(world, seed=world.seed + OTHER)


def perform_again(name: str, world: World, own: Finding | None, *, remedied: bool, virtual: bool) -> Recording:
    """Let the plant run, with the remedy or without."""
    plant = catalogue()[name]
    if not remedied:
        return perform(plant.planted(world), world, virtual=virtual)
    if plant.remedied is not None:
        return perform(plant.remedied(world), world, virtual=virtual)
    assert own is not None and own.remedy.proposal is not None  # is_remedied said so
    policy = Policy(id="remedy", proposal=own.remedy.proposal, level=Level.ON)
    return perform(plant.planted(world), world, [policy], virtual=virtual)


def conclude(name: str, world: World, recorded: Recorded, looked: Looked, remedied: Remedied | None) -> Trial:
    """Compare what was said with what came of it."""
    plant, before, own = catalogue()[name], recorded.planted, looked.own
    took = _mean(judge.spent(before, plant.measure).values())
    guess = None if own is None else judge.predicted(own, plant.measure)
    done = remedied if took else None
    return Trial(
        plant=name,
        pattern=plant.pattern,
        seed=world.seed,
        world=world,
        held_out=plant.held_out,
        also=plant.also,
        measure=plant.measure,
        said=tuple(map(Said.of, looked.found)),
        decoy=looked.decoy,
        noisy=looked.noisy,
        predicted=None if guess is None or not took else (guess[0] / took, guess[1] / took, guess[2] / took),
        realised=None if done is None else _saved(done.same, plant.measure),
        later=None if done is None else _saved(done.others, plant.measure),
        baselines=rivals.judge(before),
        decoy_baselines=rivals.judge(recorded.decoy),
        failures=0 if remedied is None else remedied.same.having.failures - remedied.same.without.failures,
        automatic=own is not None and own.grade.value == "A" and own.quality_risk.value == "none",
    )


def record_clean(name: str, world: World, *, virtual: bool) -> Recording:
    """Let a system run on which nothing should be said."""
    return perform(CLEAN[name](world), world, virtual=virtual)


def look_clean(name: str, recording: Recording) -> CleanTrial:
    """What is said of it."""
    return CleanTrial(
        system=name,
        traces=len(recording.runs),
        said=tuple(map(Said.of, judge.look(recording.batches))),
        baselines=rivals.judge(recording),
    )


def _saved(pair: Pair, measure: Measure) -> float:
    """Of what a run took without the remedy."""
    took = _mean(judge.spent(pair.without, measure).values())
    return judge.saved(pair.without, pair.having, measure) / took if took else 0.0


def _mean(values: Collection[float]) -> float:
    return sum(values) / max(len(values), 1)
