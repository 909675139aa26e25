"""P25, over-strict barrier: a group waits for all its branches though the first of them decide.

What it is. A handler asks several for their vote and waits for all, though the first ones to answer already make
the majority, and the late ones do not change it.

Evidence. The branches of a group (`antiphon.group`) that waits for all of them (`antiphon.group.needed`), with
equal `antiphon.result.sha256` where they agree. The join is replayed as a majority vote over these hashes, for each
prefix of the arrivals. Grade A where the code declares that so few are enough (`antiphon.group.at_least`);
otherwise grade B.

Guards. The first answers, more than half of all, give the same majority as all of them in 95 % of at least 20
executions; an execution without a majority counts as changed. Three branches or more, one operation each, started
together, none a step of `ctx.each`, and none writes, because the late ones are cancelled. Where handlers with the
same majority but another count end differently each time, the join looks at more than the majority. A handler with
groups of several sizes is left alone.

Remedy. A `quorum` policy on the handler that gathers. It needs `ctx.group(at_least=...)` in the code.

What stays unseen. Answers that mean the same in other words. Joins that are no vote, such as the best of n or a
list of all, unless their branches differ. What a late answer would have been worth.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.steps import result_of, tasks_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.effects import read_only
from antiphon.runtime.whatif.program import BOUNDS, Run
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, QualityRisk, Remedy
from antiphon.schemas.policy import Proposal, Quorum
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p25"
MIN_BRANCHES = 3
MIN_EXECUTIONS = 20
MIN_SAME = 0.95
MIN_ALIKE = 3  # handlers that ended alike: fewer may be chance

_HANDLERS = 512
_MOST = 64  # branches; larger groups are no votes
_OUTCOMES = 256  # of a handler: majorities, by count
_CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})


@dataclass(frozen=True, slots=True)
class _Vote:
    """One execution of a group: its branches in the order of their arrival, and what each gave."""

    branches: tuple[Step, ...]
    results: tuple[str, ...]
    at_least: int | None

    def majority(self, needed: int) -> str | None:
        """What more than half of the first ``needed`` gave."""
        result, count = Counter(self.results[:needed]).most_common(1)[0]
        return result if 2 * count > needed else None


@dataclass(slots=True)
class _Handler:
    """What the groups of one handler decided."""

    size: int
    mixed: bool = False  # groups of several sizes
    votes: int = 0
    same: Counter[int] = field(default_factory=Counter)  # by prefix: executions whose majority it gives
    at_least: int | None = None
    ended: Recent[tuple[str, int], Counter[str]] = field(default_factory=lambda: Recent(_OUTCOMES))
    counts_matter: bool = False

    def note(self, vote: _Vote, outcome: str) -> None:
        """One more execution, and the hash of what the handler made of it."""
        self.votes += 1
        self.at_least = vote.at_least
        majority = vote.majority(self.size)
        if majority is None:
            return
        for needed in range(self.size // 2 + 1, self.size):
            self.same[needed] += vote.majority(needed) == majority
        if not outcome:
            return
        count = vote.results.count(majority)
        ended = self.ended.make((majority, count), Counter)
        if outcome in ended or len(ended) < 2:
            ended[outcome] += 1
        others = (self.ended.get((majority, other)) for other in range(1, self.size + 1) if other != count)
        if _settled(ended) and any(o is not None and _settled(o) and o.keys() != ended.keys() for o in others):
            self.counts_matter = True

    def quorum(self) -> int | None:
        """The fewest answers, more than half, that decide as all of them do; None where only all do.

        Where the code declares what would do, no fewer than that.
        """
        if self.mixed or self.counts_matter:
            return None
        prefixes = range(max(self.size // 2 + 1, self.at_least or 0), self.size)
        return next((needed for needed in prefixes if self.same[needed] >= MIN_SAME * self.votes), None)


def _settled(ended: Counter[str]) -> bool:
    """Whether handlers with this vote end alike each time."""
    return len(ended) == 1 and ended.total() >= MIN_ALIKE


class OverStrictBarrier:
    """Finds groups that wait for all though the first decide; the join is replayed as a vote over result hashes."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._handlers: Recent[str, _Handler] = Recent(_HANDLERS)
        # The quorum that a case's gains are for, and how many runs of the cohort came before the first of them.
        self._gained: Recent[tuple[str, str], tuple[int, int]] = Recent(_HANDLERS)
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: a vote shows only in a whole handler."""

    def trace(self, observed: Observed) -> None:
        """Count the votes of every handler of a closed trace."""
        trace = observed.trace
        found: dict[str, list[_Vote]] = {}
        for step in trace.steps:
            if step.operation != facts.PROCESS or step.excluded or len(step.children) < MIN_BRANCHES:
                continue
            for vote in _votes(trace, step):
                handler = self._handlers.get(step.label)
                if handler is None:
                    handler = _Handler(len(vote.branches))
                    self._handlers.put(step.label, handler)
                if handler.size != len(vote.branches):
                    handler.mixed = True
                    continue
                handler.note(vote, facts.text(step.span, attr.RESULT_HASH))
                found.setdefault(step.label, []).append(vote)
        for subject, votes in found.items():
            handler = self._handlers.get(subject)
            if handler is not None:
                self._note(observed, subject, votes, handler.quorum())

    def findings(self, now_ns: int) -> list[Finding]:
        """Barriers whose loosening would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _note(self, observed: Observed, subject: str, votes: list[_Vote], needed: int | None) -> None:
        run, trace = observed.run, observed.trace
        key = (observed.cohort.key, subject)
        gained = self._gained.get(key)
        if needed is None and gained is not None:
            needed = gained[0]  # while a change of decision weighs too much, what another run saves still counts
        if run is None or needed is None:
            return
        saved = observed.saved_s(
            _loosened(run.cautious, run, trace, votes, needed), _loosened(run.program, run, trace, votes, needed)
        )
        if saved is None:
            return
        case = self._cases.touch(observed.cohort, subject)
        if gained is None or gained[0] != needed:  # gains for another quorum say nothing on this one
            case.forget()
            case.runs = case.support = 0
            gained = needed, case.cohort.runs - 1
            self._gained.put(key, gained)
        case.of_runs = max(case.cohort.runs - gained[1], 1)
        case.support += case.gain(trace.run, Gain(latency_s=saved))
        late = (branch.id for vote in votes for branch in vote.branches[needed:])
        case.witness(trace.id, late, trace.steps[0].end_ns)

    def _finding(self, case: Case) -> Finding | None:
        handler = self._handlers.get(case.subject)
        needed = None if handler is None else handler.quorum()
        if handler is None or needed is None or handler.votes < MIN_EXECUTIONS:
            return None
        declared = handler.at_least is not None
        changed = handler.votes - handler.same[needed]
        advice = "" if declared else f" Declare it in the code: ctx.group(at_least={needed})."
        finding = case.finding(
            PATTERN,
            title=f"Over-strict barrier in {case.subject}",
            grade=Grade.A if declared else Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"{case.subject} waits for {handler.size} answers though the first {needed} decide: of "
                f"{handler.votes} decisions {changed} would have changed. Go on with {needed}.{advice}",
                proposal=Proposal(action=Quorum(needed=needed), target=case.subject) if declared else None,
            ),
            assumptions=(
                f"The join is a majority vote; {changed / handler.votes:.1%} of its decisions would change.",
                BOUNDS,
            ),
        )
        risk = QualityRisk.LOW if changed or not declared else QualityRisk.NONE
        return None if finding is None else finding.model_copy(update={"quality_risk": risk})


def _votes(trace: Trace, handler: Step) -> list[_Vote]:
    """The groups of a handler that wait for all their branches and whose branches can be compared."""
    groups: dict[str, list[Step]] = {}
    for step in (trace.steps[i] for i in handler.children):
        group = facts.text(step.span, attr.GROUP)
        if group:
            groups.setdefault(group, []).append(step)
    found = (_vote(trace, group, branches) for group, branches in groups.items())
    return [vote for vote in found if vote is not None]


def _vote(trace: Trace, group: str, branches: Sequence[Step]) -> _Vote | None:
    names = {facts.text(step.span, attr.PATH).removeprefix(f"{group}.").partition(".")[0] for step in branches}
    needed = max(facts.whole(step.span, attr.GROUP_NEEDED) or 0 for step in branches)
    if not MIN_BRANCHES <= len(branches) <= _MOST or not len(names) == len(branches) == needed:
        return None
    if max(step.start_ns for step in branches) >= min(step.end_ns for step in branches):
        return None  # not started together
    if any(facts.whole(step.span, attr.GROUP_WIDTH) is not None for step in branches):
        return None  # steps of ctx.each: different work, each of it needed
    if not all(s.operation in _CALLS and not s.excluded and read_only(trace, s) for s in branches):
        return None
    arrived = tuple(sorted(branches, key=lambda step: (step.end_ns, step.index)))
    results = tuple(result_of(trace, step) for step in arrived)
    at_least = facts.whole(branches[0].span, attr.GROUP_AT_LEAST)
    return _Vote(arrived, results, at_least) if all(results) else None


def _loosened(program: Program, run: Run, trace: Trace, votes: list[_Vote], needed: int) -> Program:
    for vote in votes:
        late = tasks_of(run, (below for branch in vote.branches[needed:] for below in trace.below(branch.index)))
        program = edits.enough(program, late, [run.last[branch.index] for branch in vote.branches[:needed]])
    return program


DETECTOR = OverStrictBarrier
