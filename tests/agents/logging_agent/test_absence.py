"""A finding is gone when it stays away for longer than chance and its own rhythm explain, and never without runs."""

import itertools

import pytest

from antiphon.agents.logging_agent.absence import QUIET, Absence
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy

LATER = itertools.count()  # ms


def finding(id: str = "f", prevalence: float | None = None, entry: str = "planner.plan") -> Finding:
    """About runs that come in by ``entry``."""
    return Finding(
        id=id,
        pattern="p3",
        title="twice",
        cohort=f"{entry}#1f0c22ab",
        subject="tool look",
        state=FindingState.OPEN,
        grade=Grade.A,
        support=5,
        required=5,
        prevalence=prevalence,
        remedy=Remedy(text="share"),
        first_seen_unix_ms=0,
        last_seen_unix_ms=next(LATER),
    )


def after(absence: Absence, seen: Finding, entry: str = "planner.plan") -> int:
    """Runs until it is gone, at most 10,000."""
    for number in range(10_000):
        if absence.is_gone(seen):
            return number
        absence.run(entry)
    return 10_000


@pytest.mark.parametrize(
    ("prevalence", "runs"), [(None, QUIET), (0.0, QUIET), (1.0, QUIET), (0.5, QUIET), (0.01, 459), (1e-9, 10_000)]
)
def test_the_rarer_it_is_the_longer_it_may_stay_away(prevalence: float | None, runs: int) -> None:
    """One in a hundred that is still there shows in 459 runs with 99 %."""
    absence = Absence(10)
    absence.seen(finding(prevalence=prevalence))
    assert after(absence, finding(prevalence=prevalence)) == runs


def test_what_came_back_after_a_silence_may_be_silent_for_ten_times_as_long() -> None:
    """The longest counts; being seen begins a new one."""
    absence = Absence(10)
    absence.seen(finding())
    for quiet in (30, 5):
        for _ in range(quiet):
            absence.run("planner.plan")
        absence.seen(finding())
    assert after(absence, finding()) == 300


def test_another_estimate_of_the_same_runs_is_no_sight_of_it() -> None:
    """What was told is estimated again as runs come that do not show it."""
    absence, told = Absence(10), finding()
    absence.seen(told)
    for _ in range(QUIET):
        absence.run("planner.plan")
        absence.seen(told)
    assert absence.is_gone(told)


def test_other_runs_say_nothing() -> None:
    """Where nothing comes in by its handler, nothing is absent."""
    absence = Absence(10)
    absence.seen(finding())
    absence.seen(finding("g", entry="writer.write"))
    assert after(absence, finding(), "writer.write") == 10_000
    assert (absence.quiet(finding()), absence.quiet(finding("g", entry="writer.write"))) == (0, 10_000)


def test_what_is_forgotten_begins_anew() -> None:
    """Memory is bounded; that can only delay."""
    absence = Absence(2)
    absence.seen(finding())
    for _ in range(90):
        absence.run("planner.plan")
    for number in range(3):
        absence.seen(finding(f"{number}", entry=f"a.h{number}"))
    assert absence.quiet(finding()) == 0
    assert after(absence, finding()) == QUIET
