"""P19 fires where short runs wait for the calls of long ones, and only where another order would help."""

import random
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p19_blocked_behind_long_runs import BlockedBehindLongRuns
from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Priority, Proposal

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look
    from tests.agents.logging_agent.detectors.conftest import Spoiled, Stripped

    from antiphon.runtime.whatif.testing import Traced

CALLS = ((0.0, 200.0, 8), (850.0, 100.0, 1), (1_050.0, 100.0, 1), (1_250.0, 100.0, 1))  # arrives, takes, so many
ROUND = 4  # calls that a run makes at once


def hour(
    traced: "type[Traced]", number: int, arrivals: Any = CALLS, *, pool: bool = True, told: bool = True
) -> "list[Traced]":
    """Runs that share a model which serves one call at a time, first come first served."""
    free_ms = 0.0
    found = []
    served: dict[int, list[tuple[float, float, float]]] = {}  # asked, begun, ended
    waiting = [(at, i, min(calls, ROUND)) for i, (at, _, calls) in enumerate(arrivals)]
    while waiting:
        asked, i, calls = heappop(waiting)
        mine = served.setdefault(i, [])
        for _ in range(calls):
            begin = max(free_ms, asked)
            free_ms = begin + arrivals[i][1]
            mine.append((asked, begin, free_ms))
        left = arrivals[i][2] - len(mine)
        if left:
            heappush(waiting, (free_ms, i, min(left, ROUND)))
    for i, (at, _, calls) in enumerate(arrivals):
        trace = traced(10 * number + i, at_ms=10_000 * number + at)
        root = trace.ask(None, f"{'long' if calls > 1 else 'short'}.run", 0, served[i][-1][2] - at, node="n0")
        for asked, begin, end in served[i]:
            facts: dict[str, Any] = {
                "antiphon__pool__id": "model:m@n1" if pool else None,
                "antiphon__pool__capacity": 1 if pool else None,
                "antiphon__pool__active": 1 if pool else None,
                "antiphon__model__queue_s": (begin - asked) / 1000 if told else None,
            }
            trace.model(root, asked - at, end - at, **facts)
        found.append(trace)
    return found


def many(traced: "type[Traced]", arrivals: Any = CALLS, **kwargs: Any) -> "list[Traced]":
    """Four times the same, an hour (of ten seconds) after the other."""
    return [run for number in range(1, 5) for run in hour(traced, number, arrivals, **kwargs)]


def test_short_runs_behind_many_calls_are_found(traced: "type[Traced]", look: "Look") -> None:
    """First come: they are served at 1,600, 1,700 and 1,800 ms. Least attained: the long run has had 800 ms when its
    last four calls come, so they are served at 1,000, 1,100 and 1,400 ms. They save 600, 600 and 400 ms, in the mean
    533 (less than 10 % of change is not told again); the long run ends 300 ms later."""
    finding = look(many(traced)).one("p19")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.subject == "model m"
    assert finding.cohort.startswith("short.run#")
    assert finding.remedy.proposal == Proposal(action=Priority(order="least_attained"), target="model m")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.533, rel=0.05)
    assert "The longest wait for model m becomes 0.9 s, from 0.75 s" in finding.assumptions[0]


def test_too_few_short_runs_are_a_candidate(traced: "type[Traced]", look: "Look") -> None:
    """Three runs in an hour and two in the next: five; one less says nothing."""
    assert look(hour(traced, 1)).of("p19") == []


def test_calls_made_all_at_once_keep_their_place(traced: "type[Traced]", look: "Look") -> None:
    """A policy gives a number to a call when it is made; then the long run had had no more than the short ones."""
    arrivals = ((0.0, 200.0, ROUND), (50.0, 100.0, 1), (250.0, 100.0, 1), (450.0, 100.0, 1))
    assert look(many(traced, arrivals)).of("p19") == []


EQUAL = tuple((50.0 * i, 100.0, 1) for i in range(8))
ALL_SLOW = tuple((float(i), 300.0 if i % 2 else 100.0, 2 if i % 2 else 1) for i in range(8))
IDLE = ((0.0, 100.0, 8), (900.0, 100.0, 1), (1_100.0, 100.0, 1), (1_300.0, 100.0, 1))
SAME_SIZE = ((0.0, 100.0, 3), *(((50.0 + 10 * i), 100.0, 1) for i in range(6)))


@pytest.mark.parametrize(
    ("arrivals", "settings"),
    [
        (EQUAL, {}),
        (ALL_SLOW, {}),
        (IDLE, {}),
        (SAME_SIZE, {}),
        (CALLS, {"told": False}),
        (CALLS, {"pool": False, "told": False}),
    ],
    ids=["all alike", "everybody waits", "nobody waits", "little longer", "no queue times", "no facts"],
)
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", arrivals: Any, settings: Any) -> None:
    """Runs of one size, a pool too small for all, free slots, and waiting that is not on record are no finding."""
    assert look(many(traced, arrivals, **settings)).of("p19") == []


def test_waiting_for_a_slow_network_is_no_queue(traced: "type[Traced]", look: "Look") -> None:
    """Short runs that wait as long whatever the long ones have left do not wait for them."""
    runs = []
    for number in range(1, 9):
        long, *_ = hour(traced, number, ((0.0, 100.0, 8),))
        runs.append(long)
        short = traced(10 * number + 5, at_ms=10_000 * number + 2_000 + 100 * number)
        root = short.ask(None, "short.run", 0, 500, node="n0")
        short.model(root, 0, 500, antiphon__pool__id="model:m@n1", antiphon__pool__capacity=1,
                    antiphon__model__queue_s=0.4)  # fmt: skip
        runs.append(short)
    assert look(runs).of("p19") == []


@pytest.mark.parametrize("wrong", ["soon", -1, 1e300, True])
def test_hostile_queue_times_are_survived(traced: "type[Traced]", look: "Look", wrong: Any) -> None:
    """A waiting time that cannot be one makes no finding and breaks nothing."""
    runs = many(traced)
    for run in runs:
        for span in run.spans:
            if "antiphon.model.queue_s" in span.attributes:
                span.attributes["antiphon.model.queue_s"] = wrong
    assert look(runs).of("p19") == []


def test_foreign_spans_are_left_alone(traced: "type[Traced]", look: "Look", stripped: "Stripped") -> None:
    """The same work without our facts on record says nothing."""
    assert look(stripped(many(traced))).of("p19") == []


def test_hostile_values_break_nothing(traced: "type[Traced]", spoiled: "Spoiled") -> None:
    """Whatever attributes say, each in turn, the detector goes on."""
    spoiled(BlockedBehindLongRuns(random.Random(0)), many(traced))
