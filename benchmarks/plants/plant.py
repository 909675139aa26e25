"""What a planted system is."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from antiphon import Message, System
from antiphon.runtime.agent import Handler
from antiphon.runtime.models.base import ModelInstance
from antiphon.schemas.policy import Policy
from plants.world import World

Measure = Literal["latency_s", "tokens", "model_s", "usd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A system that can run. ``request``: handler and message of the n-th run; ``rate_per_s``: Poisson arrivals.

    ``policies`` are set from the beginning. ``served``: models behind the bus, each with its replicas. ``runs``: where
    a finding needs more than the world has. ``score``: whether the n-th result is right, where that can be told.
    """

    system: System
    request: Callable[[int], tuple[Handler[Any, Any], Message]]
    rate_per_s: float
    models: Mapping[str, ModelInstance] = field(default_factory=dict)
    served: Mapping[str, Sequence[ModelInstance]] = field(default_factory=dict)
    policies: Sequence[Policy] = ()
    nodes: int = 1
    runs: int | None = None
    score: Callable[[int, Message], float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A waste, a remedy and a decoy.

    ``remedied``: the same system with the remedy in its code; None: the policy that the finding proposes is set
    instead. ``measure``: what the remedy saves most of, which is where prediction and reality are compared. ``also``:
    patterns that this system shows besides, for the reason given in the plant's docstring. ``held_out``: no detector
    was tuned on it.
    """

    pattern: str
    planted: Callable[[World], Build]
    decoy: Callable[[World], Build]
    remedied: Callable[[World], Build] | None = None
    measure: Measure = "latency_s"
    also: frozenset[str] = frozenset()
    held_out: bool = False
