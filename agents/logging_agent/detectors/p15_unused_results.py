"""P15, unused fan-out: a branch whose result hardly ever finds its way into anything.

What it is. A handler asks a peer, a tool or a model, and nothing is made of the answer: it is in no later request
and not in the result, or the group that it belongs to went on without it.

Evidence. Reachability backwards from the run's result over `antiphon.result.causes` and `antiphon.msg.causes`. What
is not reached is waste. Grade A where nobody waited any more when the result came (`antiphon.result.consumed` is
false: late after a quorum, or cancelled); otherwise grade B. Equal branches of one group are told apart by their
order.

Guards. Of at least 20 results of a branch less than 5 % were used. Branches that write, or that contain something
that does, are left alone, and what goes into an event, a log, a write or a submitted task counts as used. A result
without texts of 12 characters may be used without a trace, so there is silence where a result is small, has a short
field, asks for tools or is structured, unless `antiphon.fields_read` says that no field was used. So there is where
causes are missing, where the handler's result shows no origin at all, and where chunks were shown before it. Cost
counts always; latency only as far as a replay of all recent runs through their pools shows it.

Remedy. Do not start the branch, or start it only when its result is needed.

What stays unseen. A branch that wins sometimes: its losses are the price of a race. What a late branch would be
worth if another one failed. A text from which the code draws a decision without passing it on: read the handler
before a branch of grade B goes.
"""

import random
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.reach import Result, results
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.steps import gain_of
from antiphon.agents.logging_agent.window import Joint, Placed, Suspects
from antiphon.runtime.whatif import edits
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p15"
MIN_RESULTS = 20
MAX_USED = 0.05

_BRANCHES = 1_024

Branch = tuple[str, str, int]  # handler, operation, and which of its equal branches: the third may always lose


class _Count:
    """What became of a branch's results."""

    __slots__ = ("made", "proven", "used")

    def __init__(self) -> None:
        self.made = self.used = self.proven = 0

    def note(self, result: Result) -> None:
        """One more result."""
        self.made += 1
        self.used += result.used
        self.proven += result.proven

    @property
    def hardly_used(self) -> bool:
        """Whether enough is known to say so."""
        return self.made >= MIN_RESULTS and self.used < MAX_USED * self.made


class UnusedResults:
    """Finds branches whose results are hardly ever used, and replays all recent runs without them."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._counts: Recent[Branch, _Count] = Recent(_BRANCHES)
        self._suspects: Suspects[tuple[str, Branch]] = Suspects()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: use shows only in a whole trace."""

    def trace(self, observed: Observed) -> None:
        """Count what became of the results in a closed trace."""
        trace = observed.trace
        if trace.steps[trace.finish].excluded:
            return
        unused: dict[Branch, None] = {}
        for result in results(trace):
            branch = _branch(result)
            self._counts.make(branch, _Count).note(result)
            if not result.used:
                unused[branch] = None
        for branch in unused:
            if self._hardly_used(branch):
                self._suspects.note((observed.cohort.key, branch), observed.cohort.window)

    def findings(self, now_ns: int) -> list[Finding]:
        """What a joint replay says of the branches that are hardly used."""
        found = (
            self._examine(joint, cohort, branch)
            for (cohort, branch), window in self._suspects.due()
            if self._hardly_used(branch) and (joint := window.joint) is not None
        )
        return [finding for finding in found if finding is not None]

    def _hardly_used(self, branch: Branch) -> bool:
        count = self._counts.get(branch)
        return count is not None and count.hardly_used

    def _examine(self, joint: Joint, cohort: str, branch: Branch) -> Finding | None:
        wasted = {p.start: steps for p in joint.placed if (steps := _wasted(p, branch))}
        own = [p for p in joint.placed if p.observed.cohort.key == cohort]
        shown = [p for p in own if p.start in wasted]
        count = self._counts.get(branch)
        handler, label, place = branch
        label += f" #{place + 1}" if place else ""
        subject, judged = f"{label} in {handler}", [p.observed.trace.run for p in own]
        if not own or count is None:
            return None
        if not shown:
            self._cases.clear(own[-1].observed.cohort, subject, judged)
            return None
        tasks = {task for p in joint.placed for step in wasted.get(p.start, ()) for task in p.call(step)}
        saved = joint.saved_s(shown, edits.drop(joint.cautious, tasks), edits.drop(joint.hopeful, tasks))
        case = self._cases.touch(own[-1].observed.cohort, subject)
        gains = {
            p.observed.trace.run: gain_of(wasted[p.start], None if saved is None else saved[i])
            for i, p in enumerate(shown)
        }
        case.renew(gains, judged)
        for p in shown:
            trace = p.observed.trace
            case.witness(trace.id, (step.id for step in wasted[p.start]), trace.steps[0].end_ns)
        proven = count.proven + count.used == count.made
        return case.finding(
            PATTERN,
            title=f"Unused results of {label}",
            grade=Grade.A if proven else Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"{handler} used {count.used} of {count.made} results of {label}: do not start it, or only when "
                "its result is needed.",
            ),
            assumptions=(
                "Nobody waited for the results when they came."
                if proven
                else "Nothing is decided by a text that is not passed on.",
                BOUNDS,
                "Requests arrive as recorded, however fast they are answered.",
            ),
        )


def _branch(result: Result) -> Branch:
    return result.handler.label, result.step.label, result.place


def _wasted(placed: Placed, branch: Branch) -> list[Step]:
    """The unused steps of a branch in one run, with what lies below them."""
    trace = placed.observed.trace
    unused = (found.step for found in results(trace) if not found.used and _branch(found) == branch)
    return [below for step in unused for below in trace.below(step.index)]


DETECTOR = UnusedResults
