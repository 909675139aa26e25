"""What a seed decides: workflows, a cluster, and a schedule of what goes wrong."""

import random
from dataclasses import dataclass
from typing import Literal

from tests.runtime.delivery.workflows import Author, Workflow

NAMES = tuple(f"node-{index}" for index in range(40))  # no node comes back under its old name
STORM_S = 40.0  # faults happen until then

FaultKind = Literal["kill", "stop", "stall", "deaf", "duplicate", "cancel", "refuse", "mislay"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that happens at ``at_s``; ``which`` chooses the node or message among those that are there then."""

    at_s: float
    kind: FaultKind
    which: int
    lasts_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All that a seed decides."""

    seed: int
    calm: bool
    workflows: tuple[Workflow, ...]
    roots: tuple[tuple[float, int, float | None], ...]  # when, workflow, deadline in seconds
    faults: tuple[Fault, ...]
    nodes: int
    slots: int
    lag_s: float
    skews_s: tuple[float, ...]

    @classmethod
    def of(cls, seed: int) -> "Scenario":
        """The scenario of a seed; every tenth is without faults."""
        rng = random.Random(f"state machine {seed}")
        calm = seed % 10 == 0
        author = Author(rng, calm=calm)
        roots = []
        for _ in range(rng.choice((1, 1, 2, 3))):
            deadline_s = None if calm or rng.random() < 0.85 else rng.choice((3.0, 30.0))
            roots.append((rng.choice((0.0, 0.0, rng.uniform(0, 5))), author.workflow(), deadline_s))
        kinds: list[FaultKind] = ["kill", "kill", "stop", "stall", "deaf", "duplicate", "duplicate", "cancel", "refuse"]
        kinds += ["mislay"]
        faults = []
        for _ in range(0 if calm else rng.choice((0, 1, 2, 3, 4, 6, 9))):
            at_s = min(STORM_S, rng.choice((rng.uniform(0, 4), rng.expovariate(1 / 10))))
            kind = rng.choice(kinds)
            if kind == "duplicate" and rng.random() < 0.15:
                at_s += 130.0  # the server has forgotten the id
            lasts_s = rng.choice((0.3, 1.0, 3.0, 6.0, 14.0))
            faults.append(Fault(at_s=at_s, kind=kind, which=rng.randrange(1000), lasts_s=lasts_s))
        skewed = not calm and rng.random() < 0.3
        return cls(
            seed=seed,
            calm=calm,
            workflows=tuple(author.workflows),
            roots=tuple(roots),
            faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
            nodes=rng.choice((1, 2, 2, 3)),
            slots=rng.choice((1, 2, 4)),
            lag_s=rng.choice((0.001, 0.01, 0.05, 0.2)),
            skews_s=tuple(rng.uniform(-30, 30) if skewed else 0.0 for _ in NAMES),
        )
