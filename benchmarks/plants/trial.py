"""One plant with one seed: recorded, looked at, remedied for real, and its decoy looked at. A process of its own."""

import asyncio
import logging
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from antiphon.runtime.testing import run_virtual
from antiphon.schemas.finding import Finding
from antiphon.schemas.policy import Level, Policy
from plants import baselines as rivals
from plants import judge, stage
from plants.catalogue import catalogue
from plants.clean import CLEAN
from plants.noise import Noise
from plants.plant import Build
from plants.stage import Recording
from plants.world import World

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
    """What came of it. Savings are relative to what a run took before; None where nothing was found or done."""

    plant: str
    pattern: str
    seed: int
    world: World
    held_out: bool
    also: frozenset[str]
    measure: str
    said: tuple[Said, ...]
    decoy: tuple[Said, ...]
    noisy: dict[str, tuple[tuple[Said, ...], tuple[Said, ...]]]  # planted and decoy under each noise
    predicted: tuple[float, float, float] | None  # point, low, high
    realised: float | None
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


def try_plant(name: str, world: World, *, virtual: bool) -> Trial:
    """Everything about one plant and seed."""
    plant = catalogue()[name]
    before = perform(plant.planted(world), world, virtual=virtual)
    found = judge.look(before.batches)
    own = max(
        (finding for finding in found if finding.pattern == plant.pattern),
        key=lambda finding: (judge.predicted(finding, plant.measure) or (0.0,))[0],
        default=None,
    )
    took = _mean(judge.spent(before, plant.measure).values())
    after = None
    if plant.remedied is not None:
        after = perform(plant.remedied(world), world, virtual=virtual)
    elif own is not None and own.remedy.proposal is not None:
        policy = Policy(id="remedy", proposal=own.remedy.proposal, level=Level.ON)
        after = perform(plant.planted(world), world, [policy], virtual=virtual)
    guess = None if own is None else judge.predicted(own, plant.measure)
    decoy = perform(plant.decoy(world), world, virtual=virtual)
    rng = random.Random(world.seed)
    return Trial(
        plant=name,
        pattern=plant.pattern,
        seed=world.seed,
        world=world,
        held_out=plant.held_out,
        also=plant.also,
        measure=plant.measure,
        said=tuple(map(Said.of, found)),
        decoy=tuple(map(Said.of, judge.look(decoy.batches))),
        noisy={
            kind: (
                tuple(map(Said.of, judge.look(noise.over(before.batches, rng)))),
                tuple(map(Said.of, judge.look(noise.over(decoy.batches, rng)))),
            )
            for kind, noise in NOISES.items()
        },
        predicted=None if guess is None or not took else (guess[0] / took, guess[1] / took, guess[2] / took),
        realised=None if after is None or not took else judge.saved(before, after, plant.measure) / took,
        baselines=rivals.judge(before),
        decoy_baselines=rivals.judge(decoy),
        failures=0 if after is None else after.failures - before.failures,
        automatic=own is not None and own.grade.value == "A" and own.quality_risk.value == "none",
    )


def try_clean(name: str, world: World, *, virtual: bool) -> CleanTrial:
    """A system on which nothing should be said."""
    recording = perform(CLEAN[name](world), world, virtual=virtual)
    return CleanTrial(
        system=name,
        traces=len(recording.runs),
        said=tuple(map(Said.of, judge.look(recording.batches))),
        baselines=rivals.judge(recording),
    )


def _mean(values: Collection[float]) -> float:
    return sum(values) / max(len(values), 1)
