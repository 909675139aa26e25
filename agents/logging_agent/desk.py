"""What the logging agent knows of each finding: last said, newly found, tried and measured; and what follows."""

import random
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.agents.logging_agent.calibration import Calibration
from antiphon.agents.logging_agent.core import changed
from antiphon.agents.logging_agent.ladder import COOL_DOWN_MS, EXPERIMENT_MS, NEW, OVER, TRIED, Move, Standing, decide
from antiphon.agents.logging_agent.trial import Trial, entry_of
from antiphon.agents.logging_agent.verifier import Measured, measure
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.policy import Level, Policy

KEEP = 4_096  # findings; those that nothing happened to for longest give way
TRIALS = 64
LOOK = 10  # new runs of a trial before it is measured again, or a 20th more: a look at 2,000 runs takes 0.1 s
HOLD_MS = 60_000  # before a move that was refused is tried again


@dataclass(slots=True)
class _Known:
    said: Finding | None = None
    since_ms: int = 0  # when it came into its state
    fresh: Finding | None = None  # as a detector sees it now
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
            known.since_ms = unix_ms
        known.said, known.repeat = finding, False
        if finding.state in NEW:
            known.fresh = None  # said, or overtaken by what another replica saw: they would take turns for ever
        self.calibration.learn(finding)

    def found(self, finding: Finding) -> None:
        """Take what a detector sees now."""
        self._touch(finding.id).fresh = finding

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
        """A closed trace, for the trials."""
        for look in self._looks.values():
            look.trial.see(trace)

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
        """What is to be reported because a detector saw it, or because it was overtaken; None: nothing."""
        said = known.said
        if known.repeat and said is not None and not _cooled(known, now_ms):
            return said
        if known.fresh is None or policy is not None:
            return None
        fresh = self.calibration.corrected(known.fresh)
        if said is None:
            return fresh
        if said.state in NEW:
            less = said.state is FindingState.OPEN and fresh.state is FindingState.CANDIDATE
            return fresh if not less and changed(said, fresh) else None
        return fresh if said.state in OVER and _cooled(known, now_ms) else None

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
