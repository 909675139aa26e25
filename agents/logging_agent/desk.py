"""What the logging agent knows of each finding: last said, newly found, tried and measured; and what follows."""

import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.agents.logging_agent.absence import Absence
from antiphon.agents.logging_agent.calibration import Calibration
from antiphon.agents.logging_agent.cases import AGAIN, REQUIRED_RUNS
from antiphon.agents.logging_agent.core import changed
from antiphon.agents.logging_agent.ladder import COOL_DOWN_MS, EXPERIMENT_MS, NEW, OVER, TRIED, Move, Standing, decide
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.trial import SCORED, Trial, entry_of
from antiphon.agents.logging_agent.units import SCORES
from antiphon.agents.logging_agent.verifier import Measured, measure
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.policy import Level, Policy
from antiphon.schemas.score import Score

KEEP = 4_096  # findings; those that nothing happened to for longest give way
TRIALS = 64
LOOK = 10  # new runs of a trial before it is measured again, or a 20th more: a look at 2,000 runs takes 0.1 s
HOLD_MS = 60_000  # before a move that was refused is tried again


@dataclass(slots=True)
class _Known:
    said: Finding | None = None
    since_ms: int = 0  # when it came into its state
    fresh: Finding | None = None  # as a detector sees it now
    again: int = 0  # how often a detector saw it since it may come back
    hold_ms: int = 0
    repeat: bool = False  # somebody's older word came after ``said``


@dataclass(slots=True)
class _Look:
    trial: Trial
    runs: int = -LOOK
    measured: Measured | None = None
    told: int = LOOK  # runs of which people were last told


class Desk:
    """Keeps what was said and measured, and says what to do. ``allowed``: how far findings go by themselves."""

    def __init__(self, *, rng: random.Random, allowed: Level) -> None:
        self.calibration = Calibration()
        self._rng = rng
        self._allowed = allowed
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._policies: tuple[Policy, ...] = ()
        self._looks: dict[str, _Look] = {}
        self._absence = Absence(KEEP)
        self._scores: Recent[str, dict[str, float]] = Recent(SCORED)  # by run, then by name

    def learn(self, finding: Finding, unix_ms: int) -> None:
        """Take a finding that was reported at ``unix_ms``, by whomever.

        That it was found once more ends neither a dismissal nor a refutation before its time: it was on its way.
        """
        known = self._touch(finding.id)
        said = known.said
        if said is not None and said.state in OVER and finding.state in NEW and not _cooled(known, unix_ms):
            known.repeat = True
            return
        if said is None or said.state is not finding.state:
            known.since_ms, known.again = unix_ms, 0
        known.said, known.repeat = finding, False
        if finding.state in NEW:
            self._absence.seen(finding)  # whoever said so
            known.fresh = None  # said, or overtaken by what another replica saw: they would take turns for ever
        self.calibration.learn(finding)

    def found(self, finding: Finding) -> None:
        """Take what a detector sees now and did not say before."""
        self._touch(finding.id).fresh = finding

    def sighted(self, finding: Finding) -> None:
        """A detector sees it, whether it says anything new or not. What is over may come back by what it sees then."""
        self._absence.seen(finding)
        known = self._known.get(finding.id)
        if known is not None and _may_return(known, finding):
            known.fresh = finding
            known.again += 1

    def applied(self, policies: Iterable[Policy]) -> None:
        """The tenant's policies as they are now; a change of one begins its trial anew."""
        self._policies = tuple(policy for policy in policies if policy.level is not Level.SUGGEST)
        looks: dict[str, _Look] = {}
        for policy in self._policies:
            known = self._known.get(policy.finding or "")
            if known is None or known.said is None or len(looks) >= TRIALS:
                continue
            look = self._looks.get(policy.id)
            looks[policy.id] = _Look(Trial(known.said, policy)) if look is None or look.trial.policy != policy else look
        self._looks = looks

    def see(self, trace: Trace) -> None:
        """A closed trace, for the trials, and for what it does not show any more."""
        if not trace.steps[trace.finish].excluded:
            self._absence.run(trace.label)
        scores = self._scores.get(trace.run)
        for look in self._looks.values():
            look.trial.see(trace)
            if scores:
                look.trial.scored(trace.run, scores)

    @property
    def measures(self) -> bool:
        """Whether runs are being compared, so that it matters what their results are worth."""
        return any(policy.level is Level.CANARY for policy in self._policies)

    def scored(self, score: Score) -> None:
        """What somebody thinks of a run, before it is seen or after. A task that was submitted has its run's id."""
        given = self._scores.make(score.task, dict)
        if len(given) < SCORES or score.name in given:
            given[score.name] = score.value
        for look in self._looks.values():
            look.trial.scored(score.task, given)

    def moves(self, now_ms: int) -> list[Move]:
        """What is to be done now. ``learn`` what was reported of it; what was not comes again."""
        found: list[Move] = []
        policies = {policy.finding: policy for policy in self._policies if policy.finding is not None}
        began: set[str] = set()
        for id, known in self._known.items():
            policy = policies.get(id)
            word = self._word(known, policy, now_ms)
            if word is not None:
                found.append(Move(say=word))
                continue  # what follows from it is decided when it has been said
            if known.said is None or now_ms < known.hold_ms:
                continue
            move = self._next(known.said, known.since_ms, policy, now_ms)
            if move is None or (move.put is not None and entry_of(known.said) in began):
                continue
            if move.put is not None:
                began.add(entry_of(known.said))  # one experiment on a cohort, also within one round
            found.append(move)
        late = (policy for policy in self._orphans() if now_ms - policy.since_unix_ms >= EXPERIMENT_MS)
        return found + [Move(remove=policy.id) for policy in late]

    def refused(self, finding: str, now_ms: int) -> None:
        """A move about the finding cannot be made; it is tried again after a minute."""
        self._touch(finding).hold_ms = now_ms + HOLD_MS

    def _orphans(self) -> list[Policy]:
        """Policies being tried whose finding nobody remembers: they can be measured no more."""
        tried = (policy for policy in self._policies if policy.level is not Level.ON and policy.finding is not None)
        return [policy for policy in tried if not self._entry(policy)]

    def _next(self, finding: Finding, since_ms: int, policy: Policy | None, now_ms: int) -> Move | None:
        if policy is None and finding.state not in TRIED and finding.state is not FindingState.OPEN:
            return None
        measured = None if policy is None else self._measured(finding, policy)
        move = decide(
            Standing(
                finding=finding,
                since_ms=since_ms,
                policy=policy,
                measured=measured,
                others=tuple((other, self._entry(other)) for other in self._policies if other is not policy),
                allowed=self._allowed,
                now_ms=now_ms,
            )
        )
        return self._progress(finding, policy, measured) if move is None else move

    def _progress(self, finding: Finding, policy: Policy | None, measured: Measured | None) -> Move | None:
        """How far an experiment is, for people, each time it has twice the runs."""
        look = None if policy is None else self._looks.get(policy.id)
        is_trying = finding.state in (FindingState.SHADOW, FindingState.CANARY)
        if look is None or measured is None or not is_trying or look.runs < 2 * look.told:
            return None
        look.told = max(look.runs, LOOK)
        return Move(say=finding.model_copy(update={"note": measured.note}))

    def _word(self, known: _Known, policy: Policy | None, now_ms: int) -> Finding | None:
        """What is to be reported because of what detectors see or see no more, or was overtaken; None: nothing."""
        said = known.said
        if known.repeat and said is not None and not _cooled(known, now_ms):
            return said
        if policy is not None:
            return None if said is None or known.fresh is None else _kept_up(said, known.fresh, policy)
        fresh = None if known.fresh is None else self.calibration.corrected(known.fresh)
        if said is None:
            return fresh
        if fresh is not None and _says_more(known, said, fresh):
            return fresh.model_copy(update={"note": said.note}) if said.state in NEW else fresh
        return self._withdrawn(said) if said.state in NEW else None

    def _withdrawn(self, said: Finding) -> Finding | None:
        if not self._absence.is_gone(said):
            return None
        note = f"not seen in the last {self._absence.quiet(said)} runs of {entry_of(said)}"
        return said.model_copy(update={"state": FindingState.GONE, "note": note})

    def _measured(self, finding: Finding, policy: Policy) -> Measured | None:
        look = self._looks.get(policy.id)
        if look is None:
            return None
        runs = look.trial.runs
        if runs - look.runs >= max(LOOK, look.runs // 20):
            look.measured, look.runs = measure(finding, look.trial, self._rng), runs
        return look.measured

    def _entry(self, policy: Policy) -> str:
        known = self._known.get(policy.finding or "")
        return "" if known is None or known.said is None else entry_of(known.said)

    def _touch(self, id: str) -> _Known:
        known = self._known.setdefault(id, _Known())
        self._known.move_to_end(id)
        if len(self._known) > KEEP:
            busy = {policy.finding for policy in self._policies}
            self._known.pop(next(each for each in self._known if each not in busy))
        return known


def _cooled(known: _Known, now_ms: int) -> bool:
    return now_ms - known.since_ms >= COOL_DOWN_MS


def _says_more(known: _Known, said: Finding, fresh: Finding) -> bool:
    if said.state in NEW:
        less = said.state is FindingState.OPEN and fresh.state is FindingState.CANDIDATE
        return not less and changed(said, fresh)
    return _may_return(known, fresh) and (said.state in OVER or known.again >= REQUIRED_RUNS)


def _may_return(known: _Known, seen: Finding) -> bool:
    """Whether it is over or gone, and was ``seen`` when it may come back: what was seen before says nothing of now."""
    if known.said is None:
        return False
    if known.said.state in OVER:
        return _cooled(known, seen.last_seen_unix_ms)
    return known.said.state is FindingState.GONE and seen.last_seen_unix_ms > known.since_ms


def _kept_up(said: Finding, fresh: Finding, policy: Policy) -> Finding | None:
    """What is being tried with the evidence as it is now; None: that says nothing new, or is of another remedy.

    State and prediction stay: they were there before the measurement.
    """
    if said.state not in TRIED or fresh.state is not FindingState.OPEN or fresh.remedy.proposal != policy.proposal:
        return None
    is_news = any(getattr(said, name) != getattr(fresh, name) for name in ("grade", "quality_risk", "support_unit"))
    if not is_news and fresh.support < AGAIN * said.support:
        return None
    names = ("grade", "quality_risk", "support", "required", "support_unit", "remedy", "last_seen_unix_ms")
    return said.model_copy(update={name: getattr(fresh, name) for name in names})
