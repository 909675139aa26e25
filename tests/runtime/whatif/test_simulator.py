"""Replay: an unedited program reproduces its record; edited ones give the analytic answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.whatif import edits
from antiphon.runtime.whatif.simulator import Program, Task, calibrate, replay


def ends(program: Program) -> list[int]:
    """End times; the program must not stall."""
    timeline = replay(program)
    assert timeline is not None
    return list(timeline.end_ns)


def test_a_chain_adds_gaps_and_service() -> None:
    """Ready a gap after the last dependency, done a service time later."""
    chain = Program(tasks=(Task(service_ns=10), Task(after=(0,), gap_ns=5, service_ns=20)))
    assert ends(chain) == [10, 35]


def test_a_pool_serves_first_come_first_served() -> None:
    """Five tasks of 10 at once on two slots end in rounds."""
    tasks = tuple(Task(service_ns=10, pool="p", ready_ns=i) for i in range(5))
    assert ends(Program(tasks=tasks, pools={"p": 2})) == [10, 11, 20, 21, 30]


def test_a_slot_is_held_until_the_named_task_ends() -> None:
    """A handler keeps its slot while it waits for what it called."""
    tasks = (
        Task(pool="p", held_until=1),
        Task(after=(0,), gap_ns=100),
        Task(pool="p", ready_ns=1, service_ns=10),
    )
    timeline = replay(Program(tasks=tasks, pools={"p": 1}))
    assert timeline is not None
    assert list(timeline.begin_ns) == [0, 100, 100]
    assert list(timeline.wait_ns) == [0, 0, 99]


def test_tasks_that_block_one_another_stall() -> None:
    """A handler that calls its own full pool never ends, and replay says so."""
    tasks = (Task(pool="p", held_until=2), Task(after=(0,), pool="p", service_ns=1), Task(after=(1,)))
    assert replay(Program(tasks=tasks, pools={"p": 1})) is None
    assert replay(Program(tasks=tasks, pools={"p": 2})) is not None


def test_calibration_keeps_waiting_that_nothing_explains() -> None:
    """A recorded begin later than the replay allows becomes a delay; a later replay repeats it."""
    calibrated = calibrate(Program(tasks=(Task(begin_ns=7, service_ns=10, pool="p"),), pools={"p": 1}))
    assert calibrated is not None
    program, timeline = calibrated
    assert list(timeline.end_ns) == [17]
    assert program.tasks[0].delay_ns == 7
    assert ends(program) == [17]


@given(
    rows=st.lists(st.tuples(st.integers(0, 100), st.integers(1, 50)), min_size=1, max_size=40),
    slots=st.integers(1, 4),
)
@settings(max_examples=100, deadline=None)
def test_identity_replay_reproduces_any_queue(rows: list[tuple[int, int]], slots: int) -> None:
    """What a first-in-first-out pool did, recorded and replayed, ends at the same times without any delay."""
    free = [0] * slots
    tasks = []
    for ready, service in sorted(rows):
        slot = min(range(slots), key=free.__getitem__)
        begin = max(ready, free[slot])
        free[slot] = begin + service
        tasks.append(Task(ready_ns=ready, begin_ns=begin, service_ns=service, pool="p"))
    calibrated = calibrate(Program(tasks=tuple(tasks), pools={"p": slots}))
    assert calibrated is not None
    program, _ = calibrated
    assert ends(program) == [task.begin_ns + task.service_ns for task in tasks]
    assert all(task.delay_ns == 0 for task in program.tasks)


def test_redep_gathers_a_chain_within_its_pool() -> None:
    """Three calls of 10 on two slots take 20 together; what followed the last waits for all."""
    tasks = (
        Task(service_ns=1),
        Task(after=(0,), service_ns=10, pool="p"),
        Task(after=(1,), service_ns=10, pool="p"),
        Task(after=(2,), service_ns=10, pool="p"),
        Task(after=(3,), gap_ns=1),
    )
    program = Program(tasks=tasks, pools={"p": 2})
    assert ends(program)[-1] == 32
    assert ends(edits.redep(program, [(1, 1), (2, 2), (3, 3)]))[-1] == 22


def test_dedupe_ends_with_the_shared_result() -> None:
    """The later of two equal calls is there when the earlier one is, its own think gap kept."""
    tasks = (Task(), Task(after=(0,), service_ns=50), Task(after=(0,), gap_ns=30, service_ns=50))
    assert ends(edits.dedupe(Program(tasks=tasks), [2], 2, 1, 0)) == [0, 50, 50]
    assert ends(edits.dedupe(Program(tasks=tasks), [2], 2, None, 15)) == [0, 50, 45]


def test_scale_and_pool_change_what_they_name() -> None:
    """Half the service; twice the slots."""
    tasks = tuple(Task(service_ns=10, pool="p") for _ in range(4))
    program = Program(tasks=tasks, pools={"p": 1})
    assert ends(edits.scale(program, {i: 0.5 for i in range(4)}))[-1] == 20
    assert ends(edits.pool(program, {"p": 4}))[-1] == 10


@pytest.mark.parametrize("capacity", [1, 2, 3, 8])
def test_more_slots_never_hurt_independent_work(capacity: int) -> None:
    """Equal independent tasks end no later with one slot more."""
    tasks = tuple(Task(service_ns=10, pool="p") for _ in range(7))
    before, after = (max(ends(Program(tasks=tasks, pools={"p": c}))) for c in (capacity, capacity + 1))
    assert after <= before
