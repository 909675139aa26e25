"""How right the predictions of each pattern were, and what later ones are therefore multiplied by."""

from collections.abc import Iterable

from antiphon.agents.logging_agent.verifier import predicted, primary
from antiphon.schemas.finding import Estimate, Finding

MOST = 3.0  # of realised to predicted: one wild measurement must not move the others
PRIOR_SPREAD = 0.25  # of that ratio, within a pattern and between patterns, before anything was measured
PRIOR_WEIGHT = 4  # measurements that the prior spreads count for
KEEP = 64  # newest measurements of each pattern


class Calibration:
    """Learns from findings with a realised saving, each finding once, its newest measurement.

    It keeps nothing of its own: the findings stream has them all, and is read again at every start.
    """

    def __init__(self) -> None:
        self._ratios: dict[str, dict[str, float]] = {}

    def learn(self, finding: Finding) -> None:
        """Take a finding as it was last said."""
        ratio = _ratio(finding)
        if ratio is None:
            return
        known = self._ratios.setdefault(finding.pattern, {})
        known.pop(finding.id, None)
        known[finding.id] = ratio
        if len(known) > KEEP:
            known.pop(next(iter(known)))

    def factor(self, pattern: str) -> float:
        """What the pattern's raw estimates are multiplied by; 1 before anything was measured.

        Empirical Bayes (Efron and Morris 1975): ratios r of realised to raw predicted saving, r ~ N(m, s2) within a
        pattern and m ~ N(1, t2) between patterns; factor = 1 + (mean r - 1) n t2 / (n t2 + s2). s2 and t2 are estimated
        from all patterns by moments, each together with a prior.
        """
        known = self._ratios.get(pattern)
        if not known:
            return 1.0
        within, between = self._spreads()
        count = len(known)
        return 1.0 + (_mean(known.values()) - 1.0) * count * between / (count * between + within)

    def corrected(self, finding: Finding) -> Finding:
        """The finding with the primary metric of its saving multiplied by the factor, interval included."""
        metric, factor = primary(finding.saving), self.factor(finding.pattern)
        if not metric or factor == 1.0 or finding.saving is None:
            return finding
        names = (metric, "latency_p95_s") if metric == "latency_s" else (metric,)
        parts = {name: getattr(finding.saving, name) for name in names}
        changes = {name: _scaled(part, factor) for name, part in parts.items() if part is not None}
        return finding.model_copy(update={"saving": finding.saving.model_copy(update=changes), "factor": factor})

    def _spreads(self) -> tuple[float, float]:
        prior = PRIOR_WEIGHT * PRIOR_SPREAD**2
        squares, freedom = prior, PRIOR_WEIGHT
        for known in self._ratios.values():
            mean = _mean(known.values())
            squares += sum((ratio - mean) ** 2 for ratio in known.values())
            freedom += len(known) - 1
        within = squares / freedom
        apart = [(_mean(known.values()) - 1.0) ** 2 - within / len(known) for known in self._ratios.values()]
        between = (prior + sum(max(0.0, each) for each in apart)) / (PRIOR_WEIGHT + len(apart))
        return within, between


def _ratio(finding: Finding) -> float | None:
    """Realised to raw predicted saving of the primary metric."""
    expected = predicted(finding)
    if finding.realised is None or expected is None:
        return None
    got: Estimate | None = getattr(finding.realised.saving, primary(finding.saving))
    raw = expected.point / finding.factor
    return None if got is None or raw <= 0 else min(max(got.point / raw, 0.0), MOST)


def _scaled(part: Estimate, factor: float) -> Estimate:
    return Estimate(point=part.point * factor, low=part.low * factor, high=part.high * factor)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
