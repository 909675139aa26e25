"""The window forgets the oldest runs, suspects are looked at in turn, and runs replayed together share their pools."""

from typing import TYPE_CHECKING

import pytest

from antiphon.agents.logging_agent.cohorts import Cohorts
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.window import RUNS, STEPS, SUBJECTS, Suspects, Window
from antiphon.runtime.whatif import edits
from antiphon.runtime.whatif.trace import build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from antiphon.runtime.whatif.program import Run
    from antiphon.runtime.whatif.simulator import Program
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


def test_what_was_edited_of_a_run_goes_with_it(traced: "type[Traced]") -> None:
    """Two whole programs for each gain would be most of what detectors remember; the seconds stay."""
    window = Window()
    one = traced(1)
    one.tool(one.ask(None, "writer.write", 0, 100), "search", 0, 90)
    first = seen(one)
    window.add(first)
    assert first.run is not None
    saved = first.saved_s(first.run.cautious, first.run.program)
    assert saved is not None and saved.doubted().edit is saved.edit
    for number in range(2, RUNS + 2):
        assert saved.edit.programs is not None
        other = traced(number)
        other.ask(None, "writer.write", 0, 100)
        window.add(seen(other))
    assert saved.edit.programs is None
    assert tuple(saved) == (0.0, 0.0)


def test_a_suspect_is_due_when_a_quarter_more_runs_say_so() -> None:
    """At once, then after each further run, and after eight seen runs only when two are new."""
    suspects: Suspects[str] = Suspects()
    window, looks = Window(), []
    for _ in range(12):
        suspects.note("m", window)
        looks.append(suspects.due() == [("m", window)])
    assert looks == [True] * 8 + [False, True, False, True]
    assert suspects.due() == []


def test_suspects_take_turns() -> None:
    """One a tick: the one that waits longest."""
    suspects: Suspects[str] = Suspects()
    for key in ("a", "b", "a"):
        suspects.note(key, Window())
    assert [[key for key, _ in suspects.due()] for _ in range(3)] == [["b"], ["a"], []]


def test_runs_without_a_window_are_not_suspected() -> None:
    """There would be nothing to look at."""
    suspects: Suspects[str] = Suspects()
    suspects.note("m", None)
    assert suspects.due() == []


def test_suspects_are_bounded() -> None:
    """The one that gave reason longest ago is forgotten."""
    suspects: Suspects[int] = Suspects()
    for key in range(SUBJECTS + 1):
        suspects.note(key, Window())
    found = [key for _ in range(SUBJECTS + 1) for key, _ in suspects.due()]
    assert found == list(range(1, SUBJECTS + 1))


def test_runs_wait_for_one_another_in_the_joint_replay(traced: "type[Traced]") -> None:
    """Two runs at one slot, the second waits 100 ms; with two slots it does not. Alone it would save nothing."""
    window = Window()
    for number, wait in ((1, 0), (2, 100)):
        one = traced(number, at_ms=0)
        root = one.ask(None, "writer.write", 0, 100 + wait, node="n0")
        one.ask(root, "critic.review", 0, 100 + wait, capacity=1, wait_ms=wait)
        window.add(seen(one))
    joint = window.joint
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
    joint = window.joint
    assert joint is not None
    stalls = edits.redep(joint.hopeful, [(0, 0)])
    stuck = edits.dedupe(stalls, [1], 1, 1, 0)  # a task that waits for itself
    assert joint.saved_s(joint.placed, stuck, stuck) is None


def test_an_empty_window_has_no_program() -> None:
    """Nothing to replay is an empty replay, not an error."""
    joint = Window().joint
    assert joint is None or joint.placed == ()


def test_runs_are_joined_once_until_another_comes(traced: "type[Traced]", monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks in between gets the same replay, also where there is none because the runs stall."""
    window = Window()
    joined: list[int] = []

    def stalls(programs: "Iterable[Program]") -> tuple[None, list[int]]:
        joined.append(len(list(programs)))
        return None, []

    monkeypatch.setattr("antiphon.agents.logging_agent.window.join", stalls)
    for number in range(2):
        one = traced(number)
        one.ask(None, "writer.write", 0, 10)
        window.add(seen(one))
        assert [window.joint for _ in range(3)] == [None] * 3
        assert joined == [1, 1, 2, 2][: 2 * (number + 1)]  # hopeful and cautious


def edited(window: Window, edit: "Callable[[Run, Program], Program]") -> "dict[str, tuple[Program, Program]]":
    """The edit made in each run alone, by trace."""
    found = {}
    for observed in window:
        assert observed.run is not None
        found[observed.trace.id] = edit(observed.run, observed.run.cautious), edit(observed.run, observed.run.program)
    return found


def test_an_edit_of_every_run_frees_slots_for_the_next(queued: "Callable[[int], Window]") -> None:
    """Each run shorter by one look-up of 100 ms, run k also waits 100 k ms less. Alone each would save 100 ms."""
    window = queued(6)
    edits_ = edited(window, lambda run, program: edits.remove(program, [run.last[-1]]))
    alone = [observed.saved_s(*edits_[observed.trace.id]) for observed in window]
    assert alone == [pytest.approx((0.1, 0.1))] * 6
    joint = window.joint
    assert joint is not None
    saved = joint.saved_s(joint.placed, *joint.edited(edits_))
    assert saved is not None
    assert saved == [pytest.approx((0.1 * (k + 1), 0.1 * (k + 1))) for k in range(6)]


def test_runs_without_an_edit_gain_from_that_of_others(queued: "Callable[[int], Window]") -> None:
    """Only the first run looks up less: it and the two behind it end 100 ms earlier."""
    window = queued(3)
    first = next(iter(window)).trace.id
    edits_ = edited(window, lambda run, program: edits.remove(program, [run.last[-1]]))
    joint = window.joint
    assert joint is not None
    saved = joint.saved_s(joint.placed, *joint.edited({first: edits_[first]}))
    assert saved is not None
    assert saved == [pytest.approx((0.1, 0.1))] * 3


def test_tasks_that_edits_add_find_their_place(queued: "Callable[[int], Window]") -> None:
    """A second attempt at the second look-up begins 20 ms after it and takes 30: it ends the look-up after 50 of 100
    ms in every run, and each waits for those before it."""
    window = queued(3)
    edits_ = edited(
        window,
        lambda run, program: edits.hedge(program, 20_000_000, {(run.first[-1], run.last[-1]): (30_000_000, None)}),
    )
    joint = window.joint
    assert joint is not None
    both = joint.edited(edits_)
    assert [len(program.tasks) - len(joint.hopeful.tasks) for program in both] == [3, 3]
    assert [task.run for task in both[1].tasks[-3:]] == [0, 1, 2]
    saved = joint.saved_s(joint.placed, *both)
    assert saved is not None
    assert saved == [pytest.approx((0.05 * (k + 1), 0.05 * (k + 1))) for k in range(3)]
