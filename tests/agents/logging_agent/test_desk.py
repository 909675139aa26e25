"""What is said, once and in order, whatever comes late, fails or is forgotten."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent import desk as desks
from antiphon.agents.logging_agent.desk import HOLD_MS, Desk
from antiphon.agents.logging_agent.ladder import COOL_DOWN_MS, EXPERIMENT_MS, Move, policy_of
from antiphon.runtime.whatif.testing import T0_NS
from antiphon.runtime.whatif.trace import build
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Realised, Remedy, Saving
from antiphon.schemas.policy import Level, Proposal, SingleFlight

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
    """A late word that it was found is answered by saying once more that it is over; after a week it counts."""
    here = desk(Level.ON)
    here.learn(finding(), NOW - 1)
    here.learn(finding(state=state), NOW)
    here.found(finding(support=40))
    assert here.moves(NOW + COOL_DOWN_MS - 1) == []
    here.learn(finding(support=20), NOW + 5)
    again = here.moves(NOW + 6)
    assert said(again) == [state]
    assert again[0].say is not None
    here.learn(again[0].say, NOW + 7)
    assert here.moves(NOW + 8) == []
    assert said(here.moves(NOW + COOL_DOWN_MS)) == [FindingState.OPEN]


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
