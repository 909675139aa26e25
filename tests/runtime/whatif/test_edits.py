"""Edits: analytic answers on small programs, and laws that hold on any."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.whatif import edits
from antiphon.runtime.whatif.simulator import Program, Task, Timeline, replay


def run(program: Program) -> Timeline:
    """Its replay; the program must not stall."""
    timeline = replay(program)
    assert timeline is not None
    return timeline


def ends(program: Program) -> list[int]:
    """End times."""
    return list(run(program).end_ns)


def work(program: Program) -> int:
    """Service time of all tasks."""
    return sum(task.service_ns for task in program.tasks)


def test_enough_goes_on_with_the_first_and_cancels_the_late() -> None:
    """Of branches of 3, 5 and 9 two are enough: what follows after a gap of 1 begins at 6, and the third ends at 5."""
    start = Task(ready_ns=0, service_ns=0)
    branches = [Task(after=(0,), service_ns=ns, pool="p") for ns in (3, 5, 9)]
    join = Task(after=(1, 2, 3), gap_ns=1, service_ns=2)
    program = Program(tasks=(start, *branches, join), pools={"p": 3})
    assert ends(program) == [0, 3, 5, 9, 12]
    assert ends(edits.enough(program, {3}, [1, 2])) == [0, 3, 5, 5, 8]


def test_enough_holds_a_join_that_waited_for_a_late_one_only() -> None:
    """What was recorded as following the third branch alone does not begin before two have ended."""
    start = Task(ready_ns=0, service_ns=0)
    branches = [Task(after=(0,), service_ns=ns) for ns in (3, 5, 9)]
    program = Program(tasks=(start, *branches, Task(after=(3,), service_ns=1)))
    assert ends(edits.enough(program, {3}, [1, 2])) == [0, 3, 5, 5, 6]


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
    moved = edits.move(program, {2: "q", 3: "q"})
    assert [moved.tasks[i].pool for i in range(4)] == ["p", "p", "q", "q"]
    assert ends(moved) == [10, 20, 10, 10]
    assert ends(edits.pool(moved, {"q": 1})) == [10, 20, 10, 20]
    thinking = Program(tasks=(Task(service_ns=5), Task(after=(0,), gap_ns=10, service_ns=4)))
    assert ends(edits.scale(thinking, {1: 0.5}, {1: 0.1})) == [5, 8]


CHAIN = Program(
    tasks=(
        Task(service_ns=10),
        Task(after=(0,), gap_ns=3, service_ns=20, pool="p"),
        Task(after=(1,), gap_ns=5, service_ns=40),
    )
)


def test_remove_closes_the_gap_and_keeps_one_think_time() -> None:
    """What followed starts its own think gap after what the removed work waited for."""
    assert ends(CHAIN) == [10, 33, 78]
    assert ends(edits.remove(CHAIN, [1]))[2] == 10 + 5 + 40


def test_remove_frees_the_slots_of_what_is_removed() -> None:
    """A call that queued behind removed work does not wait."""
    tasks = (Task(service_ns=50, pool="p"), Task(ready_ns=1, service_ns=10, pool="p"))
    assert ends(edits.remove(Program(tasks=tasks, pools={"p": 1}), [0]))[1] == 11


FAN = Program(
    tasks=(
        Task(service_ns=1),
        Task(after=(0,), service_ns=10),
        Task(after=(0,), service_ns=100, pool="p"),
        Task(after=(1, 2), gap_ns=2),
        Task(ready_ns=5, service_ns=7, pool="p"),
    ),
    pools={"p": 1},
)


def test_drop_lets_nobody_wait_for_a_branch() -> None:
    """The join goes on with the others; a branch that is never begun leaves its slot to other work."""
    assert ends(FAN) == [1, 11, 101, 103, 108]
    dropped = ends(edits.drop(FAN, [2]))
    assert (dropped[3], dropped[4]) == (13, 12)


def test_drop_cancels_a_branch_when_the_decision_is_there() -> None:
    """Until then the branch works and holds its slot."""
    assert ends(edits.drop(FAN, [2], by=1)) == [1, 11, 11, 13, 18]


def test_what_waited_for_a_dropped_branch_alone_waits_for_what_the_branch_waited_for() -> None:
    """Through all of the branch, to the last task that stays, or to the branch's own start."""
    assert ends(edits.drop(CHAIN, [1]))[2] == 55
    assert ends(edits.drop(CHAIN, [0, 1]))[2] == 45
    late = Program(tasks=(Task(ready_ns=30, service_ns=9), Task(after=(0,), gap_ns=1, service_ns=2)))
    assert ends(edits.drop(late, [0]))[1] == 33


BATCHED = Program(
    tasks=(
        Task(),
        Task(after=(0,), gap_ns=2, service_ns=10, pool="p"),
        Task(after=(0,), gap_ns=8, service_ns=10, pool="p"),
        Task(after=(1,), gap_ns=1),
        Task(after=(2,), gap_ns=1),
    ),
    pools={"p": 1},
)


@pytest.mark.parametrize(("window", "left"), [(0, 8), (3, 8), (20, 22)])
def test_merge_leaves_with_the_last_arrival_or_the_window(window: int, left: int) -> None:
    """Both calls end with the batch, and what followed each of them follows the batch."""
    found = ends(edits.merge(BATCHED, [(1, 1), (2, 2)], 12, window))
    assert found[1:5] == [left + 12, left + 12, left + 13, left + 13]


def test_merge_takes_one_slot_for_all_calls() -> None:
    """Other work of the pool waits for one batch instead of several calls."""
    other = Task(ready_ns=9, service_ns=1, pool="p")
    program = Program(tasks=(*BATCHED.tasks, other), pools={"p": 1})
    assert ends(program)[5] == 23
    assert ends(edits.merge(program, [(1, 1), (2, 2)], 12))[5] == 21


def test_a_serial_loop_becomes_one_batch_after_redep() -> None:
    """Three calls of 10 in a row are one of 14; without redep they never arrive together, and the replay says so."""
    tasks = (
        Task(service_ns=1),
        *(Task(after=(i,), gap_ns=1, service_ns=10) for i in range(3)),
        Task(after=(3,), gap_ns=1),
    )
    program, calls = Program(tasks=tasks), [(1, 1), (2, 2), (3, 3)]
    assert replay(edits.merge(program, calls, 14)) is None
    assert ends(edits.merge(edits.redep(program, calls), calls, 14))[4] == 1 + 1 + 14 + 1


def test_swap_model_serves_elsewhere() -> None:
    """In the new pool, in the new time, without what was waited for unexplained at the old one."""
    tasks = tuple(Task(service_ns=50, pool="old", delay_ns=9) for _ in range(2))
    program = edits.pool(Program(tasks=tasks, pools={"old": 1}), {"new": 2})
    assert ends(program) == [59, 118]
    assert ends(edits.swap_model(program, {0: 20, 1: 30}, "new")) == [20, 30]
    assert ends(edits.swap_model(program, {1: 30}, "new")) == [59, 30]


STREAM = Program(
    tasks=(
        Task(service_ns=1),
        Task(after=(0,), service_ns=100, pool="p"),
        Task(after=(1,), gap_ns=2, service_ns=10),
        Task(after=(2,), gap_ns=3),
        Task(ready_ns=2, service_ns=1, pool="p"),
    ),
    pools={"p": 1},
)


@pytest.mark.parametrize(("at", "consumed", "done"), [(20, 33, 101), (95, 108, 111), (100, 113, 116), (500, 113, 116)])
def test_shift_starts_the_consumer_within_the_producer(at: int, consumed: int, done: int) -> None:
    """At the given point plus its own gap; what follows waits for both; the producer keeps its slot to its end."""
    found = ends(edits.shift(STREAM, [(2, 2)], (1, 1), at))
    assert found[1:5] == [101, consumed, done, 102]


def test_what_follows_a_shifted_consumer_waits_for_its_last_part() -> None:
    """So long after the producer's end, where the consumer was there before."""
    assert ends(edits.shift(STREAM, [(2, 2)], (1, 1), 20, 5))[1:4] == [101, 33, 106]
    assert ends(edits.shift(STREAM, [(2, 2)], (1, 1), 95, 5))[1:4] == [101, 108, 111]


def test_shift_serves_several_consumers_of_a_handler() -> None:
    """A handler with calls below it is at its point so long after it began, whatever its calls do."""
    tasks = (
        Task(held_until=2),
        Task(after=(0,), service_ns=50),
        Task(after=(1,), gap_ns=10),
        Task(after=(2,), service_ns=5),
        Task(after=(2,), service_ns=9),
        Task(after=(3, 4)),
    )
    found = ends(edits.shift(Program(tasks=tasks), [(3, 3), (4, 4)], (0, 2), 20))
    assert found[:6] == [0, 50, 60, 25, 29, 60]


@pytest.mark.parametrize(("delay", "other", "end"), [(20, 10, 30), (20, 90, 100), (100, 1, 100), (0, 5, 5)])
def test_hedge_takes_the_earlier_of_two_attempts(delay: int, other: int, end: int) -> None:
    """min(first, delay + second)."""
    program = Program(tasks=(Task(service_ns=100), Task(after=(0,), gap_ns=1)))
    assert ends(edits.hedge(program, delay, {(0, 0): (other, None)}))[:2] == [end, end + 1]


def test_hedge_loads_the_pool_and_frees_it_when_one_has_won() -> None:
    """Other work waits behind the second attempt, but only until the first answer is there."""
    tasks = (Task(service_ns=30, pool="p"), Task(ready_ns=15, service_ns=10, pool="p"))
    program = Program(tasks=tasks, pools={"p": 2})
    assert ends(program) == [30, 25]
    assert ends(edits.hedge(program, 10, {(0, 0): (100, "p")}))[:2] == [30, 40]
    assert ends(edits.hedge(program, 10, {(0, 0): (8, "p")}))[:2] == [18, 28]
    alone = ends(edits.hedge(Program(tasks=tasks, pools={"p": 1}), 10, {(0, 0): (1, "p")}))
    assert alone[:2] == [30, 40]  # the second attempt never gets the only slot


def test_hedging_a_call_leaves_what_it_started_to_end() -> None:
    """The caller goes on with the second answer; the first callee works on in its slot."""
    tasks = (
        Task(),
        Task(after=(0,), service_ns=100, pool="p"),
        Task(after=(1,)),
        Task(after=(2,), gap_ns=1),
        Task(ready_ns=25, service_ns=1, pool="p"),
    )
    found = ends(edits.hedge(Program(tasks=tasks, pools={"p": 2}), 10, {(0, 2): (20, "p")}))
    assert found[:5] == [0, 100, 30, 31, 31]


@st.composite
def programs(draw: st.DrawFn, *, pooled: bool = True) -> Program:
    """Any program whose tasks wait for earlier ones."""
    pools = {"p": draw(st.integers(1, 3)), "q": 1} if pooled else {}
    tasks = []
    for index in range(draw(st.integers(1, 12))):
        after = draw(st.lists(st.integers(0, index - 1), max_size=3, unique=True)) if index else []
        tasks.append(
            Task(
                after=tuple(after),
                ready_ns=draw(st.integers(0, 50)),
                gap_ns=draw(st.integers(0, 9)),
                service_ns=draw(st.integers(0, 40)),
                pool=draw(st.sampled_from([*pools, None])),
            )
        )
    return Program(tasks=tuple(tasks), pools=pools)


def _some(data: st.DataObject, program: Program) -> list[int]:
    return data.draw(st.lists(st.sampled_from(range(len(program.tasks))), min_size=1, max_size=4, unique=True))


def _edit(data: st.DataObject, program: Program) -> Program:
    """The program after an edit of any kind."""
    some = _some(data, program)
    calls = [(i, i) for i in some]
    times = st.integers(0, 60)
    after = program.tasks[some[0]].after
    choices: list[Callable[[], Program]] = [
        lambda: edits.scale(program, dict.fromkeys(some, data.draw(st.floats(0, 3)))),
        lambda: edits.remove(program, some),
        lambda: edits.drop(program, some),
        lambda: edits.merge(program, calls, data.draw(times), data.draw(times)),
        lambda: edits.swap_model(program, {i: data.draw(times) for i in some}, "q"),
        lambda: edits.hedge(program, data.draw(times), {c: (data.draw(times), "p") for c in calls}),
        lambda: edits.pool(program, {"p": data.draw(st.integers(1, 5))}),
        lambda: edits.shift(program, calls[:1], (after[0], after[0]), data.draw(times)) if after else program,
    ]
    return data.draw(st.sampled_from(choices))()


@given(data=st.data())
@settings(max_examples=120, deadline=None)
def test_no_edits_make_a_negative_time(data: st.DataObject) -> None:
    """Whatever is combined: it stalls, or every task ends after it began and began after what it waits for."""
    program = data.draw(programs())
    for _ in range(data.draw(st.integers(1, 4))):
        program = _edit(data, program)
    timeline = replay(program)
    if timeline is None:
        return
    cancelled = {i for task in program.tasks for i in task.cancels}
    for index, task in enumerate(program.tasks):
        begin, end = timeline.begin_ns[index], timeline.end_ns[index]
        assert 0 <= begin <= end
        assert timeline.wait_ns[index] >= 0
        if index not in cancelled:
            assert end == begin + task.service_ns
            assert all(timeline.end_ns[i] <= begin for i in (*task.after, *task.also))
    for pool, capacity in program.pools.items():
        busy = [
            change
            for index, task in enumerate(program.tasks)
            if task.pool == pool and task.held_until is None
            for change in ((timeline.begin_ns[index], 1), (timeline.end_ns[index], -1))
        ]
        level = 0
        for _, change in sorted(busy):
            level += change
            assert level <= capacity


@given(program=programs(), data=st.data())
@settings(max_examples=60, deadline=None)
def test_identity_edits_change_nothing(program: Program, data: st.DataObject) -> None:
    """Scale by one, nothing removed, the same pool and model, a hedge that comes too late, a shift to the end."""
    before = ends(program)
    some = _some(data, program)
    size = len(before)
    assert edits.scale(program, dict.fromkeys(some, 1.0), dict.fromkeys(some, 1.0)) == program
    assert edits.remove(program, []) == program
    assert edits.drop(program, []) == program
    assert edits.pool(program, {}) == program
    same = {i: program.tasks[i].service_ns for i in some}
    assert all(edits.swap_model(program, {i: ns}, program.tasks[i].pool) == program for i, ns in same.items())
    assert ends(edits.hedge(program, 100_000, {(i, i): (1, "p") for i in some}))[:size] == before
    for index in some:
        for source in program.tasks[index].after:
            late = edits.shift(program, [(index, index)], (source, source), 1_000)
            if program.pools:  # a queue may serve equal arrivals in another order
                late, plain = (edits.pool(each, {"p": 99, "q": 99}) for each in (late, program))
                assert ends(late)[:size] == ends(plain)
            else:
                assert ends(late)[:size] == before


@given(program=programs(pooled=False), data=st.data())
@settings(max_examples=60, deadline=None)
def test_less_work_never_ends_later_without_queues(program: Program, data: st.DataObject) -> None:
    """Remove, drop, a smaller scale, a hedge and a shift only ever make tasks end earlier; both at once save no less
    than either alone."""
    before = ends(program)
    a, b = _some(data, program), _some(data, program)
    both = ends(edits.remove(edits.remove(program, a), b))
    assert both == ends(edits.remove(program, {*a, *b}))
    for alone in (ends(edits.remove(program, a)), ends(edits.remove(program, b))):
        assert all(x <= y for x, y in zip(both, alone, strict=True))
        assert all(x <= y for x, y in zip(alone, before, strict=True))
    changed = [
        edits.drop(program, a),
        edits.scale(program, dict.fromkeys(a, 0.5)),
        edits.hedge(program, 5, {(i, i): (5, None) for i in a}),
    ]
    for each in changed:
        assert all(x <= y for x, y in zip(ends(each), before, strict=False))


@given(program=programs(), data=st.data())
@settings(max_examples=40, deadline=None)
def test_work_is_conserved_where_only_its_time_changes(program: Program, data: st.DataObject) -> None:
    """Other pools and earlier starts do the same work; removing takes exactly what was removed; edits of different
    tasks do not depend on their order."""
    some = _some(data, program)
    assert work(edits.pool(program, {"p": 9})) == work(program)
    after = program.tasks[some[0]].after
    if after:
        assert work(edits.shift(program, [(some[0], some[0])], (after[0], after[0]), 7)) == work(program)
    assert work(program) - work(edits.remove(program, some)) == sum(program.tasks[i].service_ns for i in some)
    rest = [i for i in range(len(program.tasks)) if i not in some]
    one = edits.scale(edits.remove(program, some), dict.fromkeys(rest, 0.5))
    assert one == edits.remove(edits.scale(program, dict.fromkeys(rest, 0.5)), some)


def test_a_prolonged_task_keeps_what_it_holds() -> None:
    """A handler whose end takes 5 ns more keeps its slot for them, and whoever waits for it waits longer."""
    tasks = (Task(pool="p", held_until=1), Task(after=(0,), gap_ns=10), Task(ready_ns=1, service_ns=1, pool="p"))
    program = Program(tasks=tasks, pools={"p": 1})
    assert ends(program) == [0, 10, 11]
    assert ends(edits.prolong(program, {1: 5})) == [0, 15, 16]


def test_another_order_is_for_the_named_pools() -> None:
    """Calls that the first run makes when it has had 1 s come after the second run's, in pool p only; what it asked for
    at first keeps its place."""
    s = 1_000_000_000
    tasks = tuple(
        task
        for start, pool in ((0, "p"), (5, "q"))
        for task in (
            Task(service_ns=s, pool=pool, run=0),
            Task(ready_ns=1, service_ns=s, pool=pool, run=0),
            Task(after=(start,), service_ns=s, pool=pool, run=0),
            Task(after=(start,), service_ns=s, pool=pool, run=0),
            Task(ready_ns=s + 1, service_ns=s, pool=pool, run=1),
        )
    )
    program = Program(tasks=tasks, pools={"p": 1, "q": 1})
    ended = [end // s for end in ends(edits.least_attained(program, ["p"]))]
    assert ended == [1, 2, 4, 5, 3, 1, 2, 3, 4, 5]
