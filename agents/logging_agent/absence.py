"""Findings that are no longer there: how many runs in a row have not shown what runs showed before."""

import math

from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.trial import entry_of
from antiphon.schemas.finding import Finding

QUIET = 100  # runs at least: two windows, and who reads a window looks at it every dozen suspect runs only
GAPS = 10  # times the longest silence so far
MISSED = 0.01  # the chance that a pattern which is still there stays away so long, by its prevalence


class Absence:
    """Counts runs by the handler by which they come in, and for each finding those since it was last seen.

    Not by the cohort: who mends the code changes its shape, and the old one never runs again. Where nothing comes in,
    nothing is absent. Counts are kept nowhere else: what is forgotten begins at 0, which can only delay.
    """

    def __init__(self, limit: int) -> None:
        self._runs: Recent[str, int] = Recent(limit)
        # At which run it was seen last, the longest gap, and when the last run that showed it ended, in unix ms.
        self._seen: Recent[str, tuple[int, int, int]] = Recent(limit)

    def run(self, entry: str) -> None:
        """A run that could have shown what it had to show came in by the handler ``entry``."""
        runs = self._runs.get(entry)
        if runs is not None:  # else there is no finding about them
            self._runs.put(entry, runs + 1)

    def seen(self, finding: Finding) -> None:
        """A detector spoke of it: seen again if later runs show it, and not if only its estimate is another one."""
        quiet = self.quiet(finding)
        runs, gap, last_ms = self._seen.get(finding.id) or (0, 0, -1)
        if finding.last_seen_unix_ms > last_ms:
            self._seen.put(finding.id, (runs + quiet, max(gap, quiet), finding.last_seen_unix_ms))

    def quiet(self, finding: Finding) -> int:
        """Runs since it was seen last, or since the first question about it."""
        runs = self._runs.make(entry_of(finding), int)
        last, gap, last_ms = self._seen.make(finding.id, lambda: (runs, 0, -1))
        if last > runs:  # the count was forgotten
            self._seen.put(finding.id, (runs, gap, last_ms))
        return max(runs - last, 0)

    def is_gone(self, finding: Finding) -> bool:
        """Whether it has been away for longer than chance or its own rhythm explain."""
        quiet = self.quiet(finding)
        if quiet < QUIET:
            return False
        _, gap, _ = self._seen.get(finding.id) or (0, 0, 0)
        share = finding.prevalence or 1.0
        by_chance = math.log(MISSED) / math.log1p(-share) if share < 1 else 0.0
        return quiet >= max(GAPS * gap, by_chance)
