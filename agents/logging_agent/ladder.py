"""How far a finding's remedy goes, and when it comes back: what to do next, decided without doing it.

suggest -> shadow -> canary -> on. Each step up by itself needs every condition of ``hindrance``; each step down needs
one guardrail. A canary that begins by itself treats few runs, and half of them once those took no harm. A person may
put a remedy anywhere; what it does is measured and taken back alike.
"""

from dataclasses import dataclass
from typing import Final

from antiphon.agents.logging_agent.cases import MIN_LATENCY_S
from antiphon.agents.logging_agent.trial import entry_of
from antiphon.agents.logging_agent.verifier import Measured, Verdict, predicted, primary
from antiphon.runtime.policies.kinds import AGENT, SHADOWS, rival
from antiphon.schemas.finding import Finding, FindingState, Grade, QualityRisk
from antiphon.schemas.policy import Arms, Level, Policy

COOL_DOWN_MS: Final = 7 * 86_400_000  # in which a finding that was dismissed or refuted is not reported again
EXPERIMENT_MS: Final = 7 * 86_400_000  # what has shown nothing by then is taken back
GRACE_MS: Final = 10_000  # between a policy and the state that goes with it, which are stored one after the other
SWITCHBACK: Final = frozenset({"p9", "p17", "p19"})  # their remedies change pools that both arms would share
FEW: Final = 0.05  # of the runs, in a canary that began by itself; a guardrail that trips then has cost little
HALF: Final = 0.5  # with as many in both arms a saving shows soonest
SLICES_A_SAVING: Final = 20  # a time slice lasts so many predicted savings: far longer than a run, or runs mix arms
SLICE_S: Final = (10.0, 600.0)

_RANK: Final = {Level.SUGGEST: 0, Level.SHADOW: 1, Level.CANARY: 2, Level.ON: 3}
_STATES: Final = {Level.SHADOW: FindingState.SHADOW, Level.CANARY: FindingState.CANARY, Level.ON: FindingState.APPLIED}
NEW: Final = frozenset({FindingState.CANDIDATE, FindingState.OPEN})
TRIED: Final = frozenset({FindingState.SHADOW, FindingState.CANARY, FindingState.APPLIED, FindingState.VERIFIED})
OVER: Final = frozenset({FindingState.REFUTED, FindingState.DISMISSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """All that decides about one finding. ``policy``: its own, None where there is none or it is only suggested.

    ``since_ms``: when it came into its state. ``others``: all other policies of the tenant, each with the handler by
    which the runs of its finding come in, empty where that is unknown. ``allowed``: how far it may go by itself.
    """

    finding: Finding
    since_ms: int
    policy: Policy | None
    measured: Measured | None
    others: tuple[tuple[Policy, str], ...]
    allowed: Level
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What to do, in this order: store the policy (``put``), report the finding (``say``), remove the policy.

    Whatever of it fails, ``decide`` finds the rest to do the next time.
    """

    put: Policy | None = None
    say: Finding | None = None
    remove: str = ""

    @property
    def is_news(self) -> bool:
        """Whether it only says what a detector has found."""
        return self.put is None and not self.remove and self.say is not None and self.say.state in NEW


def decide(standing: Standing) -> Move | None:
    """The next move; None: all is as it should be. Called again until it says so.

    A state without its policy was left behind by somebody who removed the policy: dismissed. A policy whose finding is
    over goes, and so does one whose time is up and whose finding is open again. A policy that came by another way than
    this one gives the finding its state. Then what was measured decides.
    """
    finding, policy = standing.finding, standing.policy
    if policy is None:
        if finding.state in TRIED:
            is_left = standing.now_ms - standing.since_ms >= GRACE_MS
            return Move(say=_as(finding, FindingState.DISMISSED, "its policy was removed")) if is_left else None
        return _start(standing)
    if finding.state in OVER:
        is_old = standing.now_ms - policy.since_unix_ms >= GRACE_MS
        return Move(remove=policy.id) if is_old else None
    if finding.state is FindingState.OPEN and _is_late(standing, policy):
        return Move(remove=policy.id)
    if not _agrees(finding, policy):
        return Move(say=_as(finding, _STATES[policy.level], policy.reason))
    return _judged(standing, policy)


def hindrance(standing: Standing, level: Level) -> str:
    """Why the remedy may not go to ``level`` by itself, for people; empty: it may."""
    finding = standing.finding
    if _RANK[standing.allowed] < _RANK[level]:
        return f"the setting apply is {standing.allowed}"
    if finding.remedy.proposal is None:
        return "no policy can do this remedy"
    if finding.grade is not Grade.A:
        return f"it is of grade {finding.grade}, not proven"
    if finding.quality_risk is not QualityRisk.NONE:
        return "results may change"
    expected = predicted(finding)
    least = MIN_LATENCY_S if primary(finding.saving) == "latency_s" else 0.0
    if expected is None or expected.low <= least:
        return "the predicted saving may be too small to matter"
    busy = experiment_on(entry_of(finding), standing.others)
    if busy is not None:
        return f"policy {busy.id} is being tried on the same runs"
    other = rival(policy_of(finding, Level.CANARY, now_ms=standing.now_ms), (each for each, _ in standing.others))
    return "" if other is None else f"policy {other.id} changes the same"


def experiment_on(entry: str, others: tuple[tuple[Policy, str], ...]) -> Policy | None:
    """A policy that is being tried on runs that come in by ``entry``, or on nobody knows which."""
    tried = (each for each in others if each[0].level in (Level.SHADOW, Level.CANARY))
    return next((policy for policy, theirs in tried if theirs in ("", entry)), None)


def policy_id(finding: Finding) -> str:
    """The id of a finding's policy, such as ``p4-3f9a01bc5d7e``: short, because spans carry it."""
    return f"{finding.pattern}-{finding.id[:12]}"


def policy_of(finding: Finding, level: Level, *, now_ms: int, share: float = HALF, reason: str = "") -> Policy:
    """The policy that does the finding's remedy, which must have a proposal."""
    assert finding.remedy.proposal is not None
    saved_s = finding.saving.latency_s.point if finding.saving is not None and finding.saving.latency_s else 0.0
    shortest, longest = SLICE_S
    kind = finding.remedy.proposal.action.kind
    return Policy(
        id=policy_id(finding),
        proposal=finding.remedy.proposal,
        level=level,
        share=share,
        arms=Arms.TIME if finding.pattern in SWITCHBACK or kind == AGENT else Arms.RUN,
        slice_s=min(max(shortest, SLICES_A_SAVING * saved_s), longest),
        finding=finding.id,
        since_unix_ms=now_ms,
        reason=reason,
    )


def first_level(finding: Finding) -> Level:
    """Where a remedy begins: shadow, if its kind gives a second result to compare."""
    proposal = finding.remedy.proposal
    return Level.SHADOW if proposal is not None and proposal.action.kind in SHADOWS else Level.CANARY


def _start(standing: Standing) -> Move | None:
    if standing.finding.state is not FindingState.OPEN or hindrance(standing, Level.CANARY):
        return None
    return _climb(standing, first_level(standing.finding), "by itself: grade A, no risk")


def _climb(standing: Standing, level: Level, reason: str) -> Move:
    policy = _policy(standing, level, reason)
    if level is Level.CANARY and policy.arms is Arms.RUN:  # few time slices would take days
        policy = policy.model_copy(update={"share": FEW})
    return Move(put=policy, say=_as(standing.finding, _STATES[level], reason))


def _policy(standing: Standing, level: Level, reason: str) -> Policy:
    return policy_of(standing.finding, level, now_ms=standing.now_ms, reason=reason)


def _agrees(finding: Finding, policy: Policy) -> bool:
    if policy.level is Level.SUGGEST:
        return True
    if finding.state is FindingState.VERIFIED:
        return policy.level is not Level.SHADOW
    return finding.state is _STATES[policy.level]


def _judged(standing: Standing, policy: Policy) -> Move | None:
    finding, measured = standing.finding, standing.measured
    verdict = Verdict.OPEN if measured is None else measured.verdict
    note = "" if measured is None else measured.note
    is_verified = finding.state is FindingState.VERIFIED  # of which more runs without a difference are no harm
    if verdict is Verdict.HARMS or (verdict is Verdict.NOTHING and not is_verified):
        return Move(say=_as(finding, FindingState.REFUTED, note, measured), remove=policy.id)
    is_equal = policy.level is Level.SHADOW and verdict is Verdict.EQUAL
    if is_equal and not hindrance(standing, Level.CANARY):
        return _climb(standing, Level.CANARY, note)
    is_narrow = policy.level is Level.CANARY and policy.share < HALF
    if is_narrow and measured is not None and measured.is_harmless and not hindrance(standing, Level.CANARY):
        return Move(put=_policy(standing, Level.CANARY, f"no harm in {policy.share:.0%} of runs"))
    if policy.level is Level.CANARY and (is_verified or verdict is Verdict.SAVES):
        ahead = hindrance(standing, Level.ON)
        if is_verified and not ahead:
            return Move(put=_policy(standing, Level.ON, finding.note))
        if is_verified and (measured is None or verdict is not Verdict.AGAIN or measured.realised == finding.realised):
            return None
        rest = f"; serves {policy.share:.0%} of runs until a person says on" if ahead else ""
        return Move(say=_as(finding, FindingState.VERIFIED, note + rest, measured))
    if not _is_late(standing, policy):
        return None
    if is_equal:  # only a person, or another experiment that ends, can let it go on
        return Move(say=_as(finding, FindingState.OPEN, f"{note}: a canary may begin"), remove=policy.id)
    late = f"nothing was shown within {EXPERIMENT_MS // 86_400_000} days; {note}".rstrip("; ")
    return Move(say=_as(finding, FindingState.REFUTED, late, measured), remove=policy.id)


def _is_late(standing: Standing, policy: Policy) -> bool:
    trying = policy.level in (Level.SHADOW, Level.CANARY)
    return trying and standing.now_ms - policy.since_unix_ms >= EXPERIMENT_MS


def _as(finding: Finding, state: FindingState, note: str, measured: Measured | None = None) -> Finding:
    changes: dict[str, object] = {"state": state, "note": note}
    if measured is not None and measured.realised is not None:
        changes["realised"] = measured.realised
    return finding.model_copy(update=changes)
