"""What an experiment assigns as one, a run or a time slice: sums over its runs, however many they are."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from zlib import crc32

from antiphon.agents.logging_agent.statistics import Sums

METRICS = ("latency_s", "tokens", "model_s", "usd")
SCORE = "score "  # before the name of a score, as a metric
SCORES = 8  # names of scores a unit; of more none is judged
LATENCIES = 20  # of a slice that are kept whole, for percentiles: 400 slices then have 8,000, drawn again in 1 s


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run took. ``input_tokens``: of its first model call."""

    run: str
    failed: bool
    latency_s: float
    tokens: float
    model_s: float
    usd: float
    input_tokens: float


@dataclass(slots=True)
class Unit:
    """The runs of one unit. ``sums``: by metric, of the runs that did not fail, beside their input tokens."""

    treated: bool
    runs: int = 0
    failed: int = 0
    sums: dict[str, Sums] = field(default_factory=dict)
    _kept: list[tuple[int, float]] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """One more run."""
        self.runs += 1
        if sample.failed:
            self.failed += 1
            return
        for metric in METRICS:
            self.sums.setdefault(metric, Sums()).add(getattr(sample, metric), sample.input_tokens)
        # Those whose ids have the least hashes: a draw that does not depend on what came when.
        heapq.heappush(self._kept, (-crc32(sample.run.encode()), sample.latency_s))
        if len(self._kept) > LATENCIES:
            heapq.heappop(self._kept)

    def score(self, name: str, value: float, before: float | None) -> None:
        """A run's score, in place of the one ``before``."""
        metric = SCORE + name
        if metric not in self.sums and sum(each.startswith(SCORE) for each in self.sums) >= SCORES:
            return
        sums = self.sums.setdefault(metric, Sums())
        if before is not None:
            sums.add(before, times=-1)
        sums.add(value)

    @property
    def latencies_s(self) -> list[float]:
        """Of LATENCIES of its runs at most."""
        return [latency_s for _, latency_s in self._kept]


def arms(units: Sequence[Unit], metric: str) -> tuple[list[Sums], list[Sums]]:
    """Treated and control units that have the metric; none where it is 0 for all."""
    found = [(unit.treated, unit.sums[metric]) for unit in units if metric in unit.sums]
    if not any(sums.yy for _, sums in found):
        return [], []
    return [sums for treated, sums in found if treated], [sums for treated, sums in found if not treated]
