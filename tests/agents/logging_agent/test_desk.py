"""What is said, once and in order, whatever comes late, fails or is forgotten."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent import desk as desks
from antiphon.agents.logging_agent.desk import HOLD_MS, Desk
from antiphon.agents.logging_agent.ladder import COOL_DOWN_MS, EXPERIMENT_MS, Move, policy_of
from antiphon.runtime.policies.arms import Arm, arm_of
from antiphon.runtime.whatif.testing import T0_NS
from antiphon.runtime.whatif.trace import build
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Realised, Remedy, Saving
from antiphon.schemas.policy import Level, Proposal, SingleFlight
from antiphon.schemas.score import Score

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

NOW = 1_800_000_000_000


def finding(id: str = "f" * 32, **changes: Any) -> Finding:
    """Proven and open."""
    given = {
        "id": id,
        "pattern": "p3",
        "title": "twice",
        "cohort": "planner.plan#1f0c22ab",
        "subject": "tool look",
        "state": FindingState.OPEN,
        "grade": Grade.A,
        "support": 9,
        "required": 5,
        "saving": Saving(latency_s=Estimate(point=0.4, low=0.3, high=0.5)),
        "remedy": Remedy(text="share", proposal=Proposal(action=SingleFlight(), target="tool look")),
        "first_seen_unix_ms": 0,
        "last_seen_unix_ms": 0,
    }
    return Finding.model_validate({**given, **changes})


def desk(allowed: Level = Level.SUGGEST) -> Desk:
    """An empty one."""
    return Desk(rng=random.Random(1), allowed=allowed)


def said(moves: list[Move]) -> list[FindingState]:
    """The states that are to be reported."""
    return [move.say.state for move in moves if move.say is not None]


def test_a_finding_is_said_until_it_was_and_then_not_again() -> None:
    """A report that failed comes with the next round; one that says the same is none."""
    here = desk()
    here.found(finding(state=FindingState.CANDIDATE, support=1, saving=None))
    assert said(here.moves(NOW)) == said(here.moves(NOW + 1)) == [FindingState.CANDIDATE]
    here.learn(finding(state=FindingState.CANDIDATE, support=1, saving=None), NOW)
    assert here.moves(NOW + 2) == []
    here.found(finding(support=5))
    assert said(here.moves(NOW + 3)) == [FindingState.OPEN]


def test_after_a_restart_an_open_finding_does_not_become_a_candidate_again() -> None:
    """It had its support; what is read again is the newest part of it."""
    here = desk()
    here.learn(finding(), NOW)
    here.found(finding(state=FindingState.CANDIDATE, support=3, saving=None))
    assert here.moves(NOW) == []


@pytest.mark.parametrize("state", [FindingState.DISMISSED, FindingState.REFUTED])
def test_what_is_over_stays_so_for_a_week(state: FindingState) -> None:
    """A late word that it was found is answered by saying once more that it is over.

    After a week it comes back if it is seen then: what was seen before is no reason, however late it is asked.
    """
    here = desk(Level.ON)
    here.learn(finding(), NOW - 1)
    here.learn(finding(state=state), NOW)
    here.found(finding(support=40, last_seen_unix_ms=NOW))
    assert here.moves(NOW + COOL_DOWN_MS - 1) == []
    here.learn(finding(support=20), NOW + 5)
    again = here.moves(NOW + 6)
    assert said(again) == [state]
    assert again[0].say is not None
    here.learn(again[0].say, NOW + 7)
    assert here.moves(NOW + 8) == []
    assert here.moves(NOW + COOL_DOWN_MS) == []
    here.sighted(finding(support=41, last_seen_unix_ms=NOW + COOL_DOWN_MS - 1))
    assert here.moves(NOW + COOL_DOWN_MS + 2) == []
    here.sighted(finding(support=42, last_seen_unix_ms=NOW + COOL_DOWN_MS + 8))
    assert said(here.moves(NOW + COOL_DOWN_MS + 9)) == [FindingState.OPEN]


def test_a_finding_that_is_being_tried_keeps_up_with_what_is_seen() -> None:
    """Grade, support and remedy are told beside its shadow; state and prediction stay, and nothing is told twice."""
    here = desk()
    here.learn(finding(state=FindingState.SHADOW, grade=Grade.C, support_unit="calls", note="so far"), NOW)
    here.applied([policy_of(finding(), Level.SHADOW, now_ms=NOW)])
    remedy = Remedy(text="189 of 189 equal", proposal=finding().remedy.proposal)
    proven: dict[str, Any] = {
        "grade": Grade.B,
        "support": 189,
        "required": 189,
        "support_unit": "compared calls",
        "remedy": remedy,
    }
    here.found(finding(state=FindingState.CANDIDATE, grade=Grade.C, support=188, support_unit="compared calls"))
    assert here.moves(NOW + 1) == []
    here.found(finding(**proven, saving=None))
    (word,) = [move.say for move in here.moves(NOW + 2)]
    assert word == finding(state=FindingState.SHADOW, note="so far", **proven)
    here.learn(word, NOW + 3)
    assert here.moves(NOW + 4) == []
    here.found(finding(**{**proven, "support": 200}))
    assert here.moves(NOW + 5) == []  # not a quarter more
    another = Proposal(action=SingleFlight(), target="tool other")
    here.found(finding(**{**proven, "support": 900, "remedy": Remedy(text="x", proposal=another)}))
    assert here.moves(NOW + 6) == []  # says nothing of what is being tried


def runs(here: Desk, traced: "type[Traced]", count: int, *, entry: str = "planner.plan", status: int = 0) -> None:
    """Runs that come in by a handler."""
    trace = traced(1)
    trace.ask(None, entry, 0, 1_000, status=status)
    built = build([(span, "n1") for span in trace.spans])
    assert built is not None
    for _ in range(count):
        here.see(built)


def test_what_runs_no_longer_show_is_gone_and_comes_back_by_what_is_seen_then(traced: "type[Traced]") -> None:
    """After a hundred runs of its handler without it; open again at the fifth that shows it."""
    here = desk(Level.ON)
    here.found(finding(remedy=Remedy(text="mend it")))
    for move in here.moves(NOW):
        assert move.say is not None
        here.learn(move.say, NOW)
    runs(here, traced, 300, entry="writer.write")
    runs(here, traced, 300, status=2)  # a run that failed might have shown it
    runs(here, traced, 99)
    assert here.moves(NOW + 1) == []
    runs(here, traced, 1)
    (gone,) = [move.say for move in here.moves(NOW + 2)]
    assert gone is not None
    assert (gone.state, gone.note) == (FindingState.GONE, "not seen in the last 100 runs of planner.plan")
    here.learn(gone, NOW + 10)
    for number in range(8):  # as read again after a restart
        here.sighted(finding(last_seen_unix_ms=NOW + number))
    assert here.moves(NOW + 20) == []
    for number in range(5):
        assert here.moves(NOW + 20 + number) == []
        here.sighted(finding(last_seen_unix_ms=NOW + 20 + number, remedy=Remedy(text="mend it")))
    assert said(here.moves(NOW + 30)) == [FindingState.OPEN]


def test_after_a_restart_what_is_gone_is_told_too(traced: "type[Traced]") -> None:
    """Though what was read again makes only a candidate of it, and runs count from 0."""
    here = desk()
    here.learn(finding(), NOW)
    here.found(finding(state=FindingState.CANDIDATE, support=3, saving=None))
    runs(here, traced, 99)
    assert here.moves(NOW) == []
    runs(here, traced, 1)
    assert said(here.moves(NOW)) == [FindingState.GONE]


def test_what_is_rare_or_being_tried_is_not_gone(traced: "type[Traced]") -> None:
    """Ten times its longest silence, or as long as chance keeps it away; and never under a policy."""
    here = desk()
    here.learn(finding(), NOW)
    runs(here, traced, 40)
    here.sighted(finding(last_seen_unix_ms=NOW))
    runs(here, traced, 399)
    assert here.moves(NOW + 1) == []
    here.applied([policy_of(finding(), Level.CANARY, now_ms=NOW)])
    runs(here, traced, 1)
    assert FindingState.GONE not in said(here.moves(NOW + 2))
    here.applied([])
    assert said(here.moves(NOW + 3)) == [FindingState.GONE]
    rare = desk()
    rare.learn(finding(prevalence=0.01), NOW)
    runs(rare, traced, 458)
    assert rare.moves(NOW + 1) == []
    runs(rare, traced, 1)
    assert said(rare.moves(NOW + 2)) == [FindingState.GONE]


def test_a_move_that_was_refused_waits_a_minute() -> None:
    """What it is about may have gone for good; the bus is not asked every second."""
    here = desk(Level.ON)
    here.learn(finding(), NOW)
    (move,) = here.moves(NOW)
    assert move.put is not None
    here.refused(finding().id, NOW)
    assert here.moves(NOW + HOLD_MS - 1) == []
    assert here.moves(NOW + HOLD_MS) != []


def test_one_experiment_at_a_time_on_runs_of_one_kind() -> None:
    """Also when two findings are due in the same round."""
    here = desk(Level.ON)
    for id in ("a" * 32, "b" * 32):
        here.learn(
            finding(id, remedy=Remedy(text="x", proposal=Proposal(action=SingleFlight(), target=f"tool {id}"))), NOW
        )
    first = [move.put for move in here.moves(NOW) if move.put is not None]
    assert len(first) == 1
    here.applied(first)
    assert [move.put for move in here.moves(NOW) if move.put is not None] == []


def test_a_policy_whose_finding_is_gone_ends_with_its_time() -> None:
    """A canary that nobody can measure is taken back; what serves all stays."""
    here = desk()
    canary = policy_of(finding(), Level.CANARY, now_ms=NOW)
    on = policy_of(finding("a" * 32), Level.ON, now_ms=NOW)
    here.applied([canary, on])
    assert here.moves(NOW + EXPERIMENT_MS - 1) == []
    assert here.moves(NOW + EXPERIMENT_MS) == [Move(remove=canary.id)]


def test_estimates_are_corrected_by_what_was_measured_before() -> None:
    """A pattern that promised twice too much says less of its next finding."""
    here = desk()
    got = Realised(saving=Saving(latency_s=Estimate(point=0.2, low=0.1, high=0.3)), runs=(50, 50))
    for number in range(8):
        here.learn(finding(f"{number:032x}", state=FindingState.VERIFIED, realised=got), NOW)
    here.found(finding())
    (word,) = [move.say for move in here.moves(NOW) if move.say is not None and move.say.id == finding().id]
    assert word.saving is not None and word.saving.latency_s is not None
    assert 0.45 < word.factor < 0.65
    assert word.saving.latency_s.point == pytest.approx(0.4 * word.factor)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Findings that nothing happened to for longest give way, but not those that are being tried."""
    monkeypatch.setattr(desks, "KEEP", 10)
    here = desk()
    here.learn(finding(state=FindingState.CANARY), NOW)
    here.applied([policy_of(finding(), Level.CANARY, now_ms=NOW)])
    for number in range(100):
        here.learn(finding(f"{number:032x}"), NOW)
    assert here.moves(NOW) == []
    here.applied([])
    assert said(here.moves(NOW + 60_000)) == [FindingState.DISMISSED]  # it is still known


def test_a_verified_canary_is_told_again_at_twice_the_runs_and_its_pattern_learns(traced: "type[Traced]") -> None:
    """Once each time, however often it is looked at in between."""
    here = desk()
    first = Realised(saving=Saving(latency_s=Estimate(point=0.4, low=0.3, high=0.5)), runs=(8, 8))
    here.learn(finding(state=FindingState.VERIFIED, realised=first), NOW)
    here.applied([policy_of(finding(), Level.CANARY, now_ms=T0_NS // 1_000_000)])
    assert here.calibration.factor("p3") == 1.0
    told = []
    for number in range(1, 80):
        trace = traced(number)
        root = trace.ask(None, "planner.plan", 0, 1_000 + number)
        trace.tool(root, "look", 100, 200)
        built = build([(span, "n1") for span in trace.spans])
        assert built is not None
        here.see(built)
        for _ in range(3):
            for move in here.moves(T0_NS // 1_000_000 + number):
                assert move.say is not None and move.say.realised is not None
                told.append((move.say.state.value, sum(move.say.realised.runs)))
                here.learn(move.say, NOW)
    assert told == [("verified", 41)]  # looked at every ten runs
    assert here.calibration.factor("p3") < 1.0


def test_a_score_counts_whether_it_comes_before_its_run_or_after(traced: "type[Traced]") -> None:
    """As after a restart, where scores are read first; treated runs are worth less, so the remedy goes."""
    here = desk()
    canary = policy_of(finding(), Level.CANARY, now_ms=T0_NS // 1_000_000)
    here.learn(finding(state=FindingState.CANARY), NOW)
    assert not here.measures
    here.applied([canary])
    assert here.measures
    for number in range(1, 100):
        trace = traced(number)
        root = trace.ask(None, "planner.plan", 0, 1_000)
        trace.tool(root, "look", 100, 200)
        built = build([(span, "n1") for span in trace.spans])
        assert built is not None
        treated = arm_of(canary, trace.run, 0) is Arm.TREATED
        value = (0.5 if treated else 0.9) + number % 7 / 100
        score = Score(task=trace.run, name="helpful", value=value, unix_ms=NOW)
        if number % 2:
            here.scored(score)
            here.see(built)
        else:
            here.see(built)
            here.scored(score)
    (move,) = here.moves(T0_NS // 1_000_000 + 1)
    assert move.say is not None
    assert (move.say.state, move.remove) == (FindingState.REFUTED, canary.id)
    assert "the score helpful gets worse" in move.say.note


def test_people_are_told_how_far_an_experiment_is(traced: "type[Traced]") -> None:
    """At about 20 runs, then each time that there are twice as many; not every second."""
    here = desk()
    canary = policy_of(finding(), Level.CANARY, now_ms=T0_NS // 1_000_000)
    here.learn(finding(state=FindingState.CANARY), NOW)
    here.applied([canary])
    told = []
    for number in range(1, 100):
        trace = traced(number)
        root = trace.ask(None, "planner.plan", 0, 1_000)
        trace.tool(root, "look", 100, 200)
        built = build([(span, "n1") for span in trace.spans])
        assert built is not None
        here.see(built)
        for move in here.moves(T0_NS // 1_000_000 + number):
            assert move.say is not None
            told.append(number)
            here.learn(move.say, NOW)
            assert "runs with" in move.say.note
    assert told == [21, 51]
