"""The window forgets the oldest runs, suspects are looked at in turn, and runs replayed together share their pools."""

from typing import TYPE_CHECKING

import pytest

from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.window import RUNS, STEPS, SUBJECTS, Suspects, Window, together
from antiphon.runtime.whatif import edits
from antiphon.runtime.whatif.trace import build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def seen(traced: "Traced") -> Observed:
    """The trace as a detector is shown it."""
    trace = build([(span, traced.nodes[span.span_id]) for span in traced.spans])
    assert trace is not None
    return Observed(trace, Cohorts().see(trace))


def test_the_oldest_runs_go_first(traced: "type[Traced]") -> None:
    """At most RUNS of them, in the order in which they came."""
    window = Window()
    for number in range(RUNS + 3):
        one = traced(number)
        one.ask(None, "writer.write", 0, 10)
        window.add(seen(one))
    assert [observed.trace.run for observed in window] == [f"run{n}" for n in range(3, RUNS + 3)]


def test_large_runs_push_out_others(traced: "type[Traced]") -> None:
    """Steps count as well; the newest run stays, however large."""
    window = Window()
    for number in range(3):
        one = traced(number)
        root = one.ask(None, "writer.write", 0, 10)
        for _ in range(STEPS if number == 2 else 5):
            one.tool(root, "search", 1, 2)
        window.add(seen(one))
    assert [observed.trace.run for observed in window] == ["run2"]


def test_a_suspect_is_due_when_a_quarter_more_runs_say_so() -> None:
    """At once, then after each further run, and after eight seen runs only when two are new."""
    suspects: Suspects[str] = Suspects()
    looks = []
    for _ in range(12):
        suspects.note("m")
        looks.append(suspects.due() == ["m"])
    assert looks == [True] * 8 + [False, True, False, True]
    assert suspects.due() == []


def test_suspects_take_turns() -> None:
    """One a tick: the one that waits longest."""
    suspects: Suspects[str] = Suspects()
    for key in ("a", "b", "a"):
        suspects.note(key)
    assert [suspects.due(), suspects.due(), suspects.due()] == [["b"], ["a"], []]


def test_suspects_are_bounded() -> None:
    """The one that gave reason longest ago is forgotten."""
    suspects: Suspects[int] = Suspects()
    for key in range(SUBJECTS + 1):
        suspects.note(key)
    found = [key for _ in range(SUBJECTS + 1) for key in suspects.due()]
    assert found == list(range(1, SUBJECTS + 1))


def test_runs_wait_for_one_another_in_the_joint_replay(traced: "type[Traced]") -> None:
    """Two runs at one slot, the second waits 100 ms; with two slots it does not. Alone it would save nothing."""
    window = Window()
    for number, wait in ((1, 0), (2, 100)):
        one = traced(number, at_ms=0)
        root = one.ask(None, "writer.write", 0, 100 + wait, node="n0")
        one.ask(root, "critic.review", 0, 100 + wait, capacity=1, wait_ms=wait)
        window.add(seen(one))
    joint = together(window)
    assert joint is not None
    wide = [edits.pool(program, {"agent:critic@n1": 2}) for program in (joint.cautious, joint.hopeful)]
    saved = joint.saved_s(joint.placed, *wide)
    assert saved is not None
    assert saved[0] == pytest.approx((0.0, 0.0))
    assert saved[1] == pytest.approx((0.1, 0.1))


def test_a_record_that_the_replay_cannot_reproduce_says_nothing(traced: "type[Traced]") -> None:
    """Programs with other tasks than the record stall or differ: no saving is claimed from them."""
    window = Window()
    one = traced(1)
    root = one.ask(None, "writer.write", 0, 100)
    one.tool(root, "search", 0, 90)
    window.add(seen(one))
    joint = together(window)
    assert joint is not None
    stalls = edits.redep(joint.hopeful, [(0, 0)])
    stuck = edits.dedupe(stalls, [1], 1, 1, 0)  # a task that waits for itself
    assert joint.saved_s(joint.placed, stuck, stuck) is None


def test_an_empty_window_has_no_program() -> None:
    """Nothing to replay is an empty replay, not an error."""
    joint = together(Window())
    assert joint is None or joint.placed == ()
