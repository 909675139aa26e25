"""No input lets an unproven remedy climb, defaults change nothing, and everything that is tried ends."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.ladder import (
    EXPERIMENT_MS,
    GRACE_MS,
    OVER,
    Move,
    Standing,
    decide,
    first_level,
    hindrance,
    policy_id,
    policy_of,
)
from antiphon.agents.logging_agent.verifier import Measured, Verdict
from antiphon.schemas.finding import (
    Estimate,
    Finding,
    FindingState,
    Grade,
    QualityRisk,
    Realised,
    Remedy,
    Saving,
)
from antiphon.schemas.policy import Arms, Concurrency, Hedge, Level, Policy, Proposal, SingleFlight

NOW = 1_800_000_000_000
RANK = {Level.SUGGEST: 0, Level.SHADOW: 1, Level.CANARY: 2, Level.ON: 3}
SHARING = Proposal(action=SingleFlight(), target="tool look")
HEDGING = Proposal(action=Hedge(delay_s=1), target="tool look")


def finding(**changes: Any) -> Finding:
    """Proven, without risk, and worth it."""
    given = {
        "id": "f" * 32,
        "pattern": "p3",
        "title": "twice",
        "cohort": "planner.plan#1f0c22ab",
        "subject": "tool look",
        "state": FindingState.OPEN,
        "grade": Grade.A,
        "support": 9,
        "required": 5,
        "saving": Saving(latency_s=Estimate(point=0.4, low=0.3, high=0.5)),
        "remedy": Remedy(text="share", proposal=SHARING),
        "first_seen_unix_ms": 0,
        "last_seen_unix_ms": 0,
    }
    return Finding.model_validate({**given, **changes})


def standing(said: Finding, level: Level | None = None, verdict: Verdict | None = None, **changes: Any) -> Standing:
    """The finding with its policy at a level, and what was measured."""
    realised = Realised(saving=Saving(), runs=(9, 9))
    values: dict[str, Any] = {
        "finding": said,
        "since_ms": NOW - 60_000,
        "policy": None if level is None else policy_of(said, level, now_ms=NOW - 60_000, reason="applied by ada"),
        "measured": None if verdict is None else Measured(verdict=verdict, note="why", realised=realised),
        "others": (),
        "allowed": Level.ON,
        "now_ms": NOW,
    }
    return Standing(**{**values, **changes})


def harmless(verdict: Verdict) -> Measured:
    """Enough runs for guardrails to see by, none of which trips."""
    return Measured(verdict=verdict, note="why", is_harmless=True)


def other(**changes: Any) -> Policy:
    """Somebody's policy."""
    return Policy.model_validate({"id": "other", "proposal": HEDGING, "level": Level.CANARY, **changes})


LEVELS = st.sampled_from([Level.SHADOW, Level.CANARY, Level.ON])
RISKY = st.one_of(
    st.tuples(st.sampled_from([Grade.B, Grade.C]), st.sampled_from(QualityRisk)),
    st.tuples(st.just(Grade.A), st.sampled_from([QualityRisk.LOW, QualityRisk.NEEDS_EVALUATION])),
)


@given(
    risk=RISKY,
    state=st.sampled_from(FindingState),
    level=st.none() | LEVELS,
    verdicts=st.lists(st.none() | st.sampled_from(Verdict), max_size=8),
    allowed=st.sampled_from(Level),
    step_ms=st.integers(0, EXPERIMENT_MS),
    proposal=st.sampled_from([SHARING, HEDGING, None]),
)
def test_nothing_unproven_or_risky_climbs_by_itself(
    risk: tuple[Grade, QualityRisk],
    state: FindingState,
    level: Level | None,
    verdicts: list[Verdict | None],
    allowed: Level,
    step_ms: int,
    proposal: Proposal | None,
) -> None:
    """Whatever is measured, allowed and waited for: no policy is ever put, from any state."""
    said = finding(state=state, grade=risk[0], quality_risk=risk[1], remedy=Remedy(text="share", proposal=proposal))
    now_ms = NOW
    for verdict in verdicts:
        now = standing(said, level if proposal is not None else None, verdict, allowed=allowed, now_ms=now_ms)
        move = decide(now) or Move()
        assert move.put is None
        said, now_ms = move.say or said, now_ms + step_ms
        level = None if move.remove else level


@given(
    state=st.sampled_from(FindingState),
    verdict=st.none() | st.sampled_from(Verdict),
    level=st.none() | LEVELS,
    seen_ms=st.integers(0, 2 * EXPERIMENT_MS),
)
def test_by_default_nothing_is_put(
    state: FindingState, verdict: Verdict | None, level: Level | None, seen_ms: int
) -> None:
    """With ``apply = "suggest"`` even a proven finding stays where people put it, or goes down."""
    now = standing(finding(state=state), level, verdict, allowed=Level.SUGGEST, now_ms=NOW + seen_ms)
    assert (decide(now) or Move()).put is None


@given(
    state=st.sampled_from(FindingState),
    level=st.none() | LEVELS,
    verdict=st.none() | st.sampled_from([Verdict.OPEN, Verdict.EQUAL, Verdict.NOTHING, Verdict.HARMS, Verdict.SAVES]),
    allowed=st.sampled_from([Level.SUGGEST, Level.CANARY, Level.ON]),
)
def test_whatever_is_tried_ends(
    state: FindingState, level: Level | None, verdict: Verdict | None, allowed: Level
) -> None:
    """With one verdict for ever: within the time of a shadow and a canary, the finding is no longer being tried."""
    said, now_ms = finding(state=state), NOW
    policy = None if level is None else policy_of(said, level, now_ms=NOW)
    since_ms = NOW
    for _ in range(40):
        now_ms += EXPERIMENT_MS // 8
        measured = None if verdict is None else Measured(verdict=verdict, note="why")
        move = decide(
            standing(said, policy=policy, measured=measured, allowed=allowed, now_ms=now_ms, since_ms=since_ms)
        )
        if move is None:
            continue
        if move.put is not None:
            policy = move.put
        if move.say is not None:
            since_ms = since_ms if move.say.state is said.state else now_ms
            said = move.say
        if move.remove:
            policy = None
    assert said.state not in (FindingState.SHADOW, FindingState.CANARY)
    assert policy is None or policy.level is Level.ON or said.state is FindingState.VERIFIED


def test_a_proven_finding_climbs_step_by_step() -> None:
    """Shadow, canary of few runs, of half, verified, on: each by its own verdict, the last only where the setting
    says on."""
    start = decide(standing(finding()))
    assert start is not None and start.put is not None and start.say is not None
    assert (start.put.level, start.say.state) == (Level.SHADOW, FindingState.SHADOW)
    assert (start.put.id, start.put.finding, start.put.arms) == (policy_id(finding()), "f" * 32, Arms.RUN)
    assert decide(standing(start.say, Level.SHADOW, Verdict.OPEN)) is None
    canary = decide(standing(start.say, Level.SHADOW, Verdict.EQUAL))
    assert canary is not None and canary.put is not None and canary.say is not None
    assert (canary.put.level, canary.put.share, canary.say.state) == (Level.CANARY, 0.05, FindingState.CANARY)
    wider = decide(standing(canary.say, policy=canary.put, measured=harmless(Verdict.SAVES)))
    assert wider is not None and wider.put is not None and wider.say is None
    assert (wider.put.share, wider.put.since_unix_ms, wider.put.reason) == (0.5, NOW, "no harm in 5% of runs")
    saves = decide(standing(canary.say, Level.CANARY, Verdict.SAVES))
    assert saves is not None and saves.say is not None and saves.put is None
    assert (saves.say.state, saves.say.realised is not None) == (FindingState.VERIFIED, True)
    on = decide(standing(saves.say, Level.CANARY, Verdict.SAVES))
    assert on is not None and on.put is not None
    assert on.put.level is Level.ON
    assert decide(standing(saves.say, Level.ON, Verdict.OPEN)) is None
    held = decide(standing(canary.say, Level.CANARY, Verdict.SAVES, allowed=Level.CANARY))
    assert held is not None and held.say is not None
    assert "until a person says on" in held.say.note
    assert decide(standing(held.say, Level.CANARY, Verdict.SAVES, allowed=Level.CANARY)) is None


def test_a_canary_widens_only_when_its_few_runs_took_no_harm() -> None:
    """Nor where something holds it back, nor one whose arms are time slices, of which few would take days."""
    said = finding(state=FindingState.CANARY)
    few = policy_of(said, Level.CANARY, share=0.05, now_ms=NOW - 60_000)
    assert decide(standing(said, policy=few, measured=Measured(verdict=Verdict.OPEN, note=""))) is None
    for held in ({"allowed": Level.SUGGEST}, {"others": ((other(), "planner.plan"),)}):
        assert decide(standing(said, policy=few, measured=harmless(Verdict.OPEN), **held)) is None
    assert decide(standing(said, Level.CANARY, policy=few, measured=harmless(Verdict.HARMS))) == Move(
        say=said.model_copy(update={"state": FindingState.REFUTED, "note": "why"}), remove=few.id
    )
    sliced = decide(standing(finding(pattern="p9", remedy=Remedy(text="hedge", proposal=HEDGING))))
    assert sliced is not None and sliced.put is not None
    assert (sliced.put.arms, sliced.put.share) == (Arms.TIME, 0.5)


def test_a_verified_canary_is_told_again_when_it_was_measured_again() -> None:
    """With what it saves now; it stays where it is."""
    said = finding(state=FindingState.VERIFIED, realised=Realised(saving=Saving(), runs=(4, 5)))
    move = decide(standing(said, Level.CANARY, Verdict.AGAIN, allowed=Level.CANARY))
    assert move is not None and move.say is not None and move.say.realised is not None
    assert (move.put, move.remove, move.say.state, move.say.realised.runs) == (None, "", FindingState.VERIFIED, (9, 9))
    assert move.say.note == "why; serves 50% of runs until a person says on"


@pytest.mark.parametrize("grade", [Grade.A, Grade.B])
def test_a_shadow_whose_results_agree_is_open_again_when_its_time_is_up(grade: Grade) -> None:
    """What keeps it from a canary is no refutation: its note says what was compared, and its policy goes."""
    said = finding(state=FindingState.SHADOW, grade=grade)
    late: dict[str, Any] = {"allowed": Level.SUGGEST, "now_ms": NOW - 60_000 + EXPERIMENT_MS}
    assert decide(standing(said, Level.SHADOW, Verdict.EQUAL, allowed=Level.SUGGEST)) is None
    move = decide(standing(said, Level.SHADOW, Verdict.EQUAL, **late))
    assert move is not None and move.say is not None
    assert (move.say.state, move.remove) == (FindingState.OPEN, policy_id(said))
    assert move.say.note == "why: a canary may begin"
    # The bus failed before the policy was removed.
    assert decide(standing(move.say, Level.SHADOW, Verdict.EQUAL, **late)) == Move(remove=policy_id(said))
    assert decide(standing(move.say, **late)) is None


@pytest.mark.parametrize(
    ("level", "state"),
    [
        (Level.SHADOW, FindingState.SHADOW),
        (Level.CANARY, FindingState.CANARY),
        (Level.CANARY, FindingState.VERIFIED),
        (Level.ON, FindingState.VERIFIED),
        (Level.ON, FindingState.APPLIED),
    ],
)
def test_harm_takes_every_step_back(level: Level, state: FindingState) -> None:
    """Whoever put it there: reported as refuted with the reason, then removed."""
    move = decide(standing(finding(state=state, grade=Grade.B), level, Verdict.HARMS, allowed=Level.SUGGEST))
    assert move is not None and move.say is not None
    assert (move.say.state, move.say.note, move.remove) == (FindingState.REFUTED, "why", policy_id(finding()))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"allowed": Level.SUGGEST}, "the setting apply is suggest"),
        ({"finding": finding(grade=Grade.B)}, "grade B"),
        ({"finding": finding(quality_risk=QualityRisk.LOW)}, "results may change"),
        ({"finding": finding(remedy=Remedy(text="rewrite it"))}, "no policy can do this"),
        ({"finding": finding(saving=Saving(latency_s=Estimate(point=0.4, low=0.01, high=1)))}, "too small"),
        ({"finding": finding(prevalence=0.1)}, "too small"),
        ({"finding": finding(saving=None)}, "too small"),
        ({"others": ((other(), "planner.plan"),)}, "policy other is being tried on the same runs"),
        ({"others": ((other(), ""),)}, "policy other is being tried"),
        ({"others": ((other(proposal=SHARING, level=Level.ON), "x.y"),)}, "policy other changes the same"),
    ],
)
def test_each_condition_alone_keeps_a_remedy_down(changes: dict[str, Any], why: str) -> None:
    """And says so."""
    now = standing(finding(), **changes)
    assert why in hindrance(now, Level.CANARY)
    assert decide(now) is None


def test_an_experiment_on_other_runs_is_no_hindrance() -> None:
    """Nor is a policy that is only suggested, or that serves all."""
    others = ((other(), "writer.write"), (other(id="b", level=Level.ON), "planner.plan"))
    assert hindrance(standing(finding(), others=others), Level.CANARY) == ""


def test_a_policy_that_was_removed_by_hand_is_a_no() -> None:
    """After the moment in which state and policy may be apart."""
    said = finding(state=FindingState.CANARY)
    assert decide(standing(said, since_ms=NOW - GRACE_MS + 1)) is None
    move = decide(standing(said))
    assert move is not None and move.say is not None
    assert move.say.state is FindingState.DISMISSED


@pytest.mark.parametrize("state", sorted(OVER))
def test_a_policy_of_a_finding_that_is_over_goes(state: FindingState) -> None:
    """Unless it is so new that its finding's new state is still on its way."""
    assert decide(standing(finding(state=state), Level.CANARY)) == Move(remove=policy_id(finding()))
    assert decide(standing(finding(state=state), Level.CANARY, now_ms=NOW - 55_000)) is None


@pytest.mark.parametrize(
    ("level", "state"),
    [(Level.SHADOW, "shadow"), (Level.CANARY, "canary"), (Level.ON, "applied")],
)
def test_a_level_that_a_person_set_gives_the_finding_its_state(level: Level, state: str) -> None:
    """``on`` without a measurement is applied, never verified."""
    move = decide(standing(finding(), level, Verdict.OPEN, allowed=Level.SUGGEST))
    assert move is not None and move.say is not None
    assert (move.say.state, move.say.note) == (state, "applied by ada")


def test_shared_pools_get_time_slices_longer_than_their_runs() -> None:
    """P9, P17 and P19; the slice follows the predicted saving, within its bounds."""
    slots = Remedy(text="more", proposal=Proposal(action=Concurrency(slots=8), target="planner"))
    wide = policy_of(finding(pattern="p17", remedy=slots), Level.CANARY, now_ms=NOW)
    assert (wide.arms, wide.slice_s) == (Arms.TIME, 10.0)
    assert policy_of(finding(remedy=slots), Level.CANARY, now_ms=NOW).arms is Arms.TIME
    long = Saving(latency_s=Estimate(point=4, low=3, high=5))
    assert policy_of(finding(pattern="p9", saving=long), Level.CANARY, now_ms=NOW).slice_s == 80
    assert policy_of(finding(), Level.CANARY, now_ms=NOW).arms is Arms.RUN


def test_only_kinds_with_a_second_result_begin_at_shadow() -> None:
    """A hedge has nothing to compare."""
    assert first_level(finding()) is Level.SHADOW
    assert first_level(finding(remedy=Remedy(text="hedge", proposal=HEDGING))) is Level.CANARY
