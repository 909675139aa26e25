"""P16, straggler in a fan-out: a step waits for the slowest of many calls, and what made it slow was not its input.

What it is. A handler makes several calls at once and goes on when the last one is there. One of them often takes a
multiple of the others, though it has no more to do.

Evidence. The durations of calls that are branches of one `gather` or group (`antiphon.group`), or of three or more
calls of one kind that overlap; how much each had to do: tokens of the model calls at and below it, or else the bytes
of its message and result; the capacity and use of the pools that serve them. Grade B.

Guards. What a call takes by its size is fitted and taken off first: a longer job is no straggler. Of what is left, the
slowest call of a fan-out takes twice the typical one or more, in the mean. Twenty calls, and each with its size on
record. Nothing at or below a call writes. The pools that serve the calls are busy to 70 % at most, because a second
attempt under overload harms. A group that goes on without its last calls is left alone.

Remedy. A `hedge` policy: a second attempt for a call that takes longer than 95 % of them do, so for 5 % of the calls.
The saving is replayed with attempts that last as long as one drawn from the other calls, with their load, and within
the budget: calls that begin earn a twentieth of an attempt each.

What stays unseen. Slowness that a second attempt would meet again, such as one slow replica that serves both. Work
whose size leaves no trace in tokens or bytes. The load behind a tool.
"""

import random
import statistics
from collections.abc import Sequence
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.fan_out import FanOuts, Leaf, Tail, fan_outs, leaf_of, tail_of
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.window import SUBJECTS, Suspects, Window
from antiphon.runtime.policies.tokens import Tokens
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.effects import read_only
from antiphon.runtime.whatif.program import BOUNDS, pool_of
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Hedge, Proposal
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p16"
MIN_CALLS = 20  # of all fan-outs: the 95th percentile then is one of them
MIN_TAIL = 2.0  # mean of the slowest of each fan-out over the median, what size explains taken off
MAX_BUSY = 0.70  # share of slots; above, second attempts add to the overload (Dean, Barroso: The Tail at Scale, 2013)
BUDGET = 0.05  # share of calls that get a second attempt
DRAWS = 5  # of second attempts, for each run with a straggler


class Stragglers:
    """Finds fan-outs whose slowest call is slow by chance, and replays them with second attempts."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._made: Recent[tuple[str, str], FanOuts] = Recent(SUBJECTS)
        self._suspects: Suspects[tuple[str, str]] = Suspects()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: what is slow shows beside its siblings."""

    def trace(self, observed: Observed) -> None:
        """Note the calls that fan out in a closed trace."""
        trace = observed.trace
        if trace.steps[trace.finish].excluded:
            return
        groups: dict[str, list[list[Step]]] = {}
        for group in fan_outs(trace):
            groups.setdefault(group[0].label, []).append(group)
        for label, made in groups.items():
            key = observed.cohort.key, label
            self._made.make(key, FanOuts).add([[leaf_of(trace, step) for step in group] for group in made])
            if any(map(_one_is_slow, made)):
                self._suspects.note(key, observed.cohort.window)

    def findings(self, now_ns: int) -> list[Finding]:
        """What the window says of a call that fans out."""
        found = (self._examine(window, cohort, label) for (cohort, label), window in self._suspects.due())
        return [finding for finding in found if finding is not None]

    def _examine(self, window: Window, cohort: str, label: str) -> Finding | None:
        runs = [observed for observed in window if observed.cohort.key == cohort]
        made = self._made.get((cohort, label))
        if not runs or made is None:
            return None
        judged = [observed.trace.run for observed in runs]
        tail = self._tail(made, runs, label)
        late = set() if tail is None else {leaf.key for leaf in _hedged(made.groups(), tail.delay_s)}
        slow = [(o, mine) for o in runs if (mine := [s for s in o.trace.steps if (o.trace.id, s.index) in late])]
        gains = {o.trace.run: gain for o, mine in slow if tail and (gain := self._gain(o, mine, tail))}
        if tail is None or not gains:
            self._cases.clear(runs[-1].cohort, label, judged)
            return None
        case = self._cases.touch(runs[-1].cohort, label)
        case.renew(gains, judged)
        for observed, mine in slow if tail.ratio >= MIN_TAIL else ():  # else told again, and not seen
            trace = observed.trace
            case.witness(trace.id, (step.id for step in mine), trace.steps[0].end_ns)
        return self._finding(case, tail)

    def _tail(self, made: FanOuts, runs: Sequence[Observed], label: str) -> Tail | None:
        """The tail of the calls, of older runs too; None where a guard forbids a second attempt."""
        groups = made.groups()
        if sum(map(len, groups)) < MIN_CALLS:
            return None
        tail = tail_of(groups)
        if tail is None or (tail.ratio < MIN_TAIL and self._cases.told(runs[-1].cohort, label) is None):
            return None
        calls = [(o.trace, step) for o in runs for group in fan_outs(o.trace) for step in group if step.label == label]
        if _busy(calls) > MAX_BUSY or not all(read_only(trace, step) for trace, step in calls):
            return None
        return tail

    def _gain(self, observed: Observed, slow: Sequence[Step], tail: Tail) -> Gain | None:
        """What second attempts would have saved the run, and what they cost, in the mean of some draws."""
        run, trace = observed.run, observed.trace
        if run is None:
            return None
        pools = [pool_of(_served(trace, step)) for step in slow]
        typical_s = [tail.expected_s(leaf_of(trace, step)) for step in slow]
        delay_ns = round(tail.delay_s * 1e9)
        saved: list[tuple[float, float]] = []
        for _ in range(DRAWS):
            takes_s = [max(each_s + self._rng.choice(tail.left_s), 0.0) for each_s in typical_s]
            attempts = {
                run.call(step): (round(attempt_s * 1e9), pool)
                for step, attempt_s, pool in zip(slow, takes_s, pools, strict=True)
            }
            one = observed.saved_s(
                edits.hedge(run.cautious, delay_ns, attempts), edits.hedge(run.program, delay_ns, attempts)
            )
            if one is None:
                return None
            saved.append(one)
        costs = [cost_of(trace.below(step.index)) for step in slow]
        return Gain(
            latency_s=(statistics.fmean(low for low, _ in saved), statistics.fmean(high for _, high in saved)),
            tokens=-sum(c.tokens for c in costs),
            model_s=-sum(min(each_s, c.model_s) for each_s, c in zip(typical_s, costs, strict=True)),
            usd=-sum(c.usd for c in costs),
        )

    def _finding(self, case: Case, tail: Tail) -> Finding | None:
        return case.finding(
            PATTERN,
            title=f"Stragglers among {case.subject}",
            grade=Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"The slowest {case.subject} of a fan-out takes {tail.ratio:.1f} times the typical one, with no "
                f"more to do: begin a second attempt after {tail.delay_s:.3g} s, and take what ends first.",
                proposal=Proposal(action=Hedge(delay_s=round(tail.delay_s, 6), budget=BUDGET), target=case.subject),
            ),
            assumptions=(
                "A second attempt is as likely to be slow as any other call.",
                BOUNDS,
                "What a second attempt of a model call costs is taken off; stopped attempts are counted as whole.",
            ),
        )


def _hedged(groups: Sequence[Sequence[Leaf]], delay_s: float) -> list[Leaf]:
    """The calls that get a second attempt: those that last longer, while what earlier calls earned lasts."""
    leaves = [leaf for group in groups for leaf in group]
    delay_ns, tokens, found = round(delay_s * 1e9), Tokens(0.0), []
    moments = [(leaf.start_ns, -1) for leaf in leaves]
    moments += [(leaf.start_ns + delay_ns, i) for i, leaf in enumerate(leaves) if leaf.took_s > delay_s]
    for _, asks in sorted(moments):
        if asks < 0:
            tokens.earn(BUDGET)
        elif tokens.take():
            found.append(leaves[asks])
    return found


def _one_is_slow(group: Sequence[Step]) -> bool:
    took_ns = [step.duration_ns for step in group]
    return max(took_ns) >= MIN_TAIL * statistics.median(took_ns)


def _busy(calls: Sequence[tuple[Trace, Step]]) -> float:
    """Share of slots in use where calls were served; 1 where that should be on record and is not."""
    shares = []
    for trace, step in calls:
        if step.operation == facts.TOOL:
            continue
        served = _served(trace, step)
        active, capacity = (facts.whole(served.span, key) for key in (attr.POOL_ACTIVE, attr.POOL_CAPACITY))
        if active is None or not capacity:
            return 1.0
        shares.append(active / capacity)
    return statistics.fmean(shares) if shares else 0.0


def _served(trace: Trace, step: Step) -> Step:
    """The step in whose pool a call was served: a peer's handler, or the call itself."""
    return next((s for i in step.children if (s := trace.steps[i]).operation == facts.PROCESS), step)


DETECTOR = Stragglers
