"""Replay: an unedited program reproduces its record; edited ones give the analytic answer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


@pytest.mark.parametrize("capacity", [1, 2, 3, 8])
def test_more_slots_never_hurt_independent_work(capacity: int) -> None:
    """Equal independent tasks end no later with one slot more."""
    tasks = tuple(Task(service_ns=10, pool="p") for _ in range(7))
    before, after = (max(ends(Program(tasks=tasks, pools={"p": c}))) for c in (capacity, capacity + 1))
    assert after <= before


def test_a_task_cancels_what_has_not_ended() -> None:
    """Running work stops and gives its slot back; queued work leaves the queue; what has not begun never begins."""
    tasks = (
        Task(service_ns=5, cancels=(1, 2, 3)),
        Task(service_ns=100, pool="p"),
        Task(service_ns=100, pool="p"),
        Task(ready_ns=50, service_ns=100, pool="p"),
        Task(ready_ns=1, service_ns=10, pool="p"),
        Task(after=(1, 2, 3), gap_ns=1),
    )
    timeline = replay(Program(tasks=tasks, pools={"p": 1}))
    assert timeline is not None
    assert list(timeline.end_ns) == [5, 5, 5, 5, 15, 6]
    assert list(timeline.begin_ns) == [0, 0, 5, 5, 5, 6]


def test_a_slot_that_is_held_for_a_cancelled_task_comes_back() -> None:
    """A handler that gets its slot after its end was cancelled keeps the slot no longer than itself."""
    tasks = (
        Task(service_ns=20, pool="p"),
        Task(ready_ns=1, pool="p", held_until=2, service_ns=3),
        Task(after=(1,), gap_ns=50),
        Task(service_ns=10, cancels=(2,)),
        Task(ready_ns=2, service_ns=1, pool="p"),
    )
    timeline = replay(Program(tasks=tasks, pools={"p": 1}))
    assert timeline is not None
    assert list(timeline.end_ns) == [20, 23, 10, 10, 24]


def test_a_task_that_waits_only_beside_is_not_begun_early() -> None:
    """Without a dependency it is ready at its own time, but not before what it also waits for."""
    tasks = (Task(service_ns=30), Task(also=(0,), ready_ns=10, service_ns=1), Task(also=(0,), ready_ns=50))
    assert ends(Program(tasks=tasks)) == [30, 31, 50]


def test_a_pool_may_serve_who_had_least_of_it() -> None:
    """Run 0 has had 1 s when it asks for two more tasks; run 1, which asks later, is served before the second. With
    half as long tasks both runs have the same number."""

    def ended(takes_ns: int) -> list[int]:
        first = Task(service_ns=2 * takes_ns, pool="p")
        more = tuple(Task(after=(0,), service_ns=takes_ns, pool="p") for _ in range(2))
        other = Task(ready_ns=2 * takes_ns + 1, service_ns=takes_ns, pool="p", run=1)
        program = Program(tasks=(first, *more, other), pools={"p": 1}, least_attained=frozenset({"p"}))
        return [end // takes_ns for end in ends(program)]

    assert ended(500_000_000) == [2, 3, 5, 4]
    assert ended(200_000_000) == [2, 3, 4, 5]


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(0, 20), st.integers(0, 3)), min_size=1, max_size=12),
    st.integers(1, 3),
)
def test_the_order_of_a_queue_leaves_no_slot_idle(work: list[tuple[int, int, int]], capacity: int) -> None:
    """Every task is served for its time, and with one slot all is done at the same time as first come first served."""
    tasks = tuple(Task(ready_ns=at, service_ns=takes, pool="p", run=run) for at, takes, run in work)
    fair = replay(Program(tasks=tasks, pools={"p": capacity}, least_attained=frozenset({"p"})))
    assert fair is not None
    assert [e - b for b, e in zip(fair.begin_ns, fair.end_ns, strict=True)] == [takes for _, takes, _ in work]
    if capacity == 1:
        assert max(fair.end_ns) == max(ends(Program(tasks=tasks, pools={"p": 1})))
