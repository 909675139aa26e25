"""P19, head of line blocked by long runs: short runs wait at a model behind the calls of long ones.

What it is. A model serves calls in the order in which they come. A run that needs little of it waits until the many
calls of a long run are through, though serving it first would cost the long run next to nothing.

Evidence. The run of each model call, its `antiphon.model.queue_s`, and the pool's capacity and use. Waiting counts as
far as the replayed use of the pool explains it. Grade B.

Guards. Runs are of two sizes, by the time that they were served: those above the mean had at least four times what
the others had. The slowdown of a run is the time with calls open there, over the time that they were served. At the
99th percentile it is at least 2 for short runs, and at least twice its median for long ones: a pool that is too small
for everybody is another matter. Calls of short runs waited the longer, the more work the long runs had left
(correlation of 0.5 or more). Over all runs of the window, long ones included, the other order saves time.

Remedy. A `priority` policy on the model: runs that had least of it are served first. The finding says how long a call
then waits at most, which bounds starvation.

What stays unseen. Runs outside the window of the newest 50, and those that have not ended yet. Work that a call has in
flight counts only once it has ended, and a call keeps the number that its run had when it was made, so that a long run
which makes all its calls at once is not overtaken. Queues of model servers that report neither waiting time nor use.
"""

import random
import statistics
from bisect import bisect_right
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.window import Joint, Placed, Suspects
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.program import BOUNDS, pool_of
from antiphon.runtime.whatif.simulator import Timeline, replay
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Priority, Proposal
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p19"
MIN_SPREAD = 4.0  # mean service of long runs over that of short ones
MIN_SLOWDOWN = 2.0  # of short runs at the 99th percentile: time with calls open / service
MIN_CORRELATION = 0.5  # of a short run's waiting and the work that long runs have left
MIN_SHORT = 5  # runs; fewer have no percentile


@dataclass(frozen=True, slots=True)
class _Share:
    """What a run had of a model, and how long calls of it were open there: waiting or served, side by side once."""

    placed: Placed
    calls: tuple[Step, ...]
    service_ns: int
    open_ns: int

    @property
    def slowdown(self) -> float:
        return max(self.open_ns / max(self.service_ns, 1), 1.0)


class BlockedBehindLongRuns:
    """Replays the newest runs with the model's queue in the order that the policy gives it, not first come.

    Autellix (arXiv 2502.13965) calls it program-level head-of-line blocking and serves by attained service. Grade B.
    """

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._suspects: Suspects[str] = Suspects()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: who waits for whom shows only over whole runs."""

    def trace(self, observed: Observed) -> None:
        """Note the models at which a run waited as long as it was served."""
        trace = observed.trace
        if trace.steps[trace.finish].excluded:
            return
        totals: dict[str, list[int]] = {}
        for step in trace.steps:
            if step.operation == facts.MODEL and not step.excluded:
                total = totals.setdefault(step.label, [0, 0])
                total[0] += step.begin_ns - step.ready_ns
                total[1] += step.end_ns - step.begin_ns
        for label, (waited_ns, served_ns) in totals.items():
            if waited_ns and waited_ns >= (MIN_SLOWDOWN - 1) * served_ns:
                self._suspects.note(label, observed.cohort.window)

    def findings(self, now_ns: int) -> list[Finding]:
        """What a joint replay says of a model at which runs waited."""
        looked_at = ((window.joint, label) for label, window in self._suspects.due())
        return [found for joint, label in looked_at if joint is not None for found in self._examine(joint, label)]

    def _examine(self, joint: Joint, label: str) -> list[Finding]:
        shares = [share for p in joint.placed if (share := _share(p, label, joint.unedited[1])) is not None]
        blocked = _blocked(shares)
        cohorts = {share.placed.observed.cohort.key: share.placed.observed.cohort for share in shares}
        behind = {share.placed.observed.cohort.key for share in blocked}
        told = {key for key, cohort in cohorts.items() if self._cases.told(cohort, label) is not None}
        self._clear(joint, label, cohorts.keys() - behind - told)
        if not behind | told:
            return []
        pools = {pool for share in shares for step in share.calls if (pool := pool_of(step)) is not None}
        reordered = edits.least_attained(joint.hopeful, pools)
        saved = joint.saved_s(joint.placed, edits.least_attained(joint.cautious, pools), reordered)
        after = replay(reordered)
        if saved is None or after is None or (not told and sum(low + high for low, high in saved) <= 0):
            self._clear(joint, label, behind)
            return []
        longest_s = tuple(
            max(timeline.wait_ns[share.placed.call(step)[0]] for share in shares for step in share.calls) / 1e9
            for timeline in (joint.unedited[1], after)
        )
        found = []
        for key in sorted(behind | told):
            gains = {
                p.observed.trace.run: Gain(latency_s=s)
                for p, s in zip(joint.placed, saved, strict=True)
                if p.observed.cohort.key == key
            }
            mine = [share for share in blocked if share.placed.observed.cohort.key == key]
            case = self._cases.touch(cohorts[key], label)
            support = case.support
            case.renew(gains, gains, {share.placed.observed.trace.run for share in mine})
            case.support = case.support if mine else support
            for share in mine:
                trace = share.placed.observed.trace
                case.witness(trace.id, (step.id for step in share.calls), trace.steps[0].end_ns)
            everyone = mine or [share for share in shares if share.placed.observed.cohort.key == key]
            found.append(self._finding(case, statistics.median(s.slowdown for s in everyone), longest_s))
        return [finding for finding in found if finding is not None]

    def _clear(self, joint: Joint, label: str, cohorts: Set[str]) -> None:
        for key in cohorts:
            own = [p.observed for p in joint.placed if p.observed.cohort.key == key]
            self._cases.clear(own[-1].cohort, label, [observed.trace.run for observed in own])

    def _finding(self, case: Case, slowdown: float, longest_s: tuple[float, ...]) -> Finding | None:
        label = case.subject
        return case.finding(
            PATTERN,
            title=f"Short runs wait behind long ones at {label}",
            grade=Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"Runs that need little of {label} take {slowdown:.1f} times their service time there, because "
                "calls of long runs came before them: serve runs that had least of it first.",
                proposal=Proposal(action=Priority(order="least_attained"), target=label),
            ),
            assumptions=(
                f"The longest wait for {label} becomes {longest_s[1]:.3g} s, from {longest_s[0]:.3g} s; the saving "
                "counts what long runs of the cohort lose.",
                BOUNDS,
                "Requests arrive as recorded, however fast they are answered.",
            ),
        )


def _share(placed: Placed, label: str, timeline: Timeline) -> _Share | None:
    """The run's share of the model; None for a run that did not use it.

    Waiting is the replayed one, as far as it is on record: clocks that differ may seem to queue.
    """
    steps = placed.observed.trace.steps
    calls = tuple(s for s in steps if s.operation == facts.MODEL and s.label == label and not s.excluded)
    if not calls:
        return None
    waits = (min(timeline.wait_ns[placed.call(s)[0]], s.begin_ns - s.ready_ns) for s in calls)
    open_ns = until = 0
    for start, end in sorted((step.begin_ns - wait, step.end_ns) for step, wait in zip(calls, waits, strict=True)):
        open_ns += max(end - max(start, until), 0)
        until = max(until, end)
    return _Share(placed, calls, sum(s.end_ns - s.begin_ns for s in calls), open_ns)


def _blocked(shares: Sequence[_Share]) -> list[_Share]:
    """The short runs that long ones slowed down; empty unless all guards hold."""
    if not shares:
        return []
    middle_ns = statistics.fmean(share.service_ns for share in shares)
    short = [share for share in shares if share.service_ns <= middle_ns]
    long = [share for share in shares if share.service_ns > middle_ns]
    if len(short) < MIN_SHORT or not long:
        return []
    spread = statistics.fmean(s.service_ns for s in long) / max(statistics.fmean(s.service_ns for s in short), 1)
    slow = _high([share.slowdown for share in short])
    typical = statistics.median(share.slowdown for share in long)
    if spread < MIN_SPREAD or slow < MIN_SLOWDOWN * max(typical, 1.0) or _correlation(short, long) < MIN_CORRELATION:
        return []
    return [share for share in short if share.slowdown >= MIN_SLOWDOWN]


def _correlation(short: Sequence[_Share], long: Sequence[_Share]) -> float:
    """Of the waiting of the short runs' calls and the work that long runs, begun by then, had left."""
    work = [_Work(share) for share in long]
    calls = [step for share in short for step in share.calls]
    waits = [float(step.begin_ns - step.ready_ns) for step in calls]
    left = [float(sum(each.left_ns(step.ready_ns) for each in work)) for step in calls]
    try:
        return statistics.correlation(waits, left)
    except statistics.StatisticsError:  # all waited alike, or nothing was left at any time
        return 0.0


class _Work:
    """How much service a run still had before it at any time."""

    __slots__ = ("begins", "starts_ns", "sums", "total_ns")

    def __init__(self, share: _Share) -> None:
        served = sorted((step.begin_ns, step.end_ns - step.begin_ns) for step in share.calls)
        self.starts_ns = share.placed.observed.trace.steps[0].start_ns
        self.begins = [begin for begin, _ in served]
        self.sums = list(accumulate((service for _, service in served), initial=0))
        self.total_ns = self.sums[-1]

    def left_ns(self, at_ns: int) -> int:
        """Of calls not begun by then; 0 before the run itself began."""
        return self.total_ns - self.sums[bisect_right(self.begins, at_ns)] if at_ns >= self.starts_ns else 0


def _high(slowdowns: Sequence[float]) -> float:
    """The 99th percentile; of few, the largest."""
    ordered = sorted(slowdowns)
    return ordered[min(int(0.99 * len(ordered)), len(ordered) - 1)]


DETECTOR = BlockedBehindLongRuns
