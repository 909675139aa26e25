"""What a planted system is made in: seed, severity, load, and draws that are the same with and without a remedy."""

import math
import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """``severity`` and ``load`` multiply the size of the waste and the rate of arrivals; 1 is what a plant says."""

    seed: int
    severity: float = 1.0
    load: float = 1.0
    runs: int = 48

    @property
    def is_plain(self) -> bool:
        """Whether it is as the plants say."""
        return self.severity == self.load == 1.0

    def rng(self, *names: object) -> random.Random:
        """A stream of its own for each name: common random numbers, whatever else is drawn."""
        return random.Random(":".join(map(str, (self.seed, *names))))

    def lasts_s(self, mean_s: float, *names: object, spread: float = 0.25) -> float:
        """A log-normal service time with this mean; the same for the same names. ``spread``: sigma of the logarithm."""
        return mean_s * math.exp(self.rng(*names).gauss(0, spread) - spread * spread / 2)
