"""The what-if primitives: a program changed as a remedy would change it. Tasks keep their indices.

A call is named by its (first, last) task, the same one twice for a call without operations below it
(``program.Run.first``, ``.last``). Edits compose; those that add tasks append them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from antiphon.runtime.whatif.simulator import Program, Task

Call = tuple[int, int]


def redep(program: Program, group: Sequence[Call]) -> Program:
    """Let the members of ``group``, each a (first, last) task, start together when the first of them would.

    Whatever waited for one of them now waits for all.
    """
    model = program.tasks[group[0][0]]
    firsts = {first for first, _ in group}
    lasts = tuple(last for _, last in group)
    ends = set(lasts)
    changed = {}
    for index, task in enumerate(program.tasks):
        if index in firsts:
            changed[index] = replace(task, after=model.after, gap_ns=model.gap_ns, ready_ns=model.ready_ns)
        elif not ends.isdisjoint(task.after):
            others = tuple(i for i in task.after if i not in ends)
            changed[index] = replace(task, after=(*others, *lasts))
    return _with(program, changed)


def scale(program: Program, factors: Mapping[int, float], gaps: Mapping[int, float] | None = None) -> Program:
    """Multiply service times by ``factors`` and the think gaps before tasks by ``gaps``."""
    changed = {
        i: replace(program.tasks[i], service_ns=round(program.tasks[i].service_ns * f)) for i, f in factors.items()
    }
    for i, f in (gaps or {}).items():
        task = changed.get(i, program.tasks[i])
        changed[i] = replace(task, gap_ns=round(task.gap_ns * f))
    return _with(program, changed)


class Share(NamedTuple):
    """``removed`` work, of which task ``last`` ends when the result it shares is there.

    That is with task ``shared`` of the same program, or, where the work that is shared is in another run,
    ``remaining_ns`` after the removed work became ready.
    """

    removed: Collection[int]
    last: int
    shared: int | None
    remaining_ns: int = 0


def dedupe_all(program: Program, shares: Iterable[Share]) -> Program:
    """Removed work does nothing but wait for the result that it shares."""
    changed: dict[int, Task] = {}
    for removed, last, shared, remaining_ns in shares:
        changed |= {i: _idle(program.tasks[i]) for i in removed}
        first = min(removed)
        changed[first] = replace(changed[first], gap_ns=program.tasks[first].gap_ns)
        if shared is not None:
            changed[last] = replace(changed[last], also=(*changed[last].also, shared))
        else:
            changed[last] = replace(changed[last], service_ns=remaining_ns)
    return _with(program, changed)


def prolong(program: Program, added_ns: Mapping[int, int]) -> Program:
    """Add to service times; a slot that a task holds until another one ends is held as much longer as that one."""
    tasks = program.tasks
    return _with(program, {i: replace(tasks[i], service_ns=tasks[i].service_ns + ns) for i, ns in added_ns.items()})


def dedupe(program: Program, removed: Collection[int], last: int, shared: int | None, remaining_ns: int) -> Program:
    """One ``Share``."""
    return dedupe_all(program, [Share(removed, last, shared, remaining_ns)])


def pool(program: Program, capacities: Mapping[str, int]) -> Program:
    """Other pool sizes."""
    return replace(program, pools={**program.pools, **capacities})


def move(program: Program, pools: Mapping[int, str]) -> Program:
    """Other pools serve these tasks, in the same time; those that the program does not know have no limit."""
    return _with(program, {i: replace(program.tasks[i], pool=to) for i, to in pools.items()})


def least_attained(program: Program, pools: Iterable[str]) -> Program:
    """These pools serve calls of runs that had had least of them first, where they served what waited longest."""
    return replace(program, least_attained=program.least_attained | frozenset(pools))


def remove(program: Program, removed: Iterable[int]) -> Program:
    """The work is never asked for. What followed it waits for what it waited for.

    Of the think gaps before and after removed work the one after it stays.
    """
    return _with(program, {i: _idle(program.tasks[i]) for i in removed})


def drop(program: Program, branch: Collection[int], by: int | None = None) -> Program:
    """Nobody waits for the tasks of ``branch`` any more.

    Without ``by`` the branch is never begun. Otherwise it runs until task ``by`` ends and what is left of it is
    cancelled then. Its slots are free from that time on. What waited for nothing but the branch waits for what the
    branch waited for.
    """
    members = set(branch)
    changed: dict[int, Task] = {}
    for index, task in enumerate(program.tasks):
        if index in members:
            if by is None:
                changed[index] = _idle(task)
        elif not members.isdisjoint((*task.after, *task.also)):
            after = tuple(i for i in task.after if i not in members)
            also = tuple(i for i in task.also if i not in members)
            ready_ns = task.ready_ns
            if task.after and not after:
                after, ready_ns = _above(program, task, members)
            changed[index] = replace(task, after=after, also=also, ready_ns=ready_ns)
    if by is not None:
        task = changed.get(by, program.tasks[by])
        changed[by] = replace(task, cancels=(*task.cancels, *sorted(members)))
    return _with(program, changed)


def enough(program: Program, late: Collection[int], needed: Sequence[int]) -> Program:
    """Whoever waited for tasks of ``late`` waits for those of ``needed`` instead; the last of these cancels the late.

    The quorum of a group: ``needed`` are the last tasks of the branches that came first, in their order.
    """
    members = set(late)
    changed: dict[int, Task] = {}
    for index, task in enumerate(program.tasks):
        if index not in members and not members.isdisjoint(task.after):
            others = (i for i in task.after if i not in members)
            changed[index] = replace(task, after=tuple(dict.fromkeys((*others, *needed))))
    return drop(_with(program, changed), members, by=needed[-1])


def merge(program: Program, calls: Sequence[Call], service_ns: int, window_ns: int = 0) -> Program:
    """One batch does the work of ``calls`` in ``service_ns``, in the pool of the first of them.

    It leaves when the last of them has arrived, not before ``window_ns`` after the first one's arrival. Each ends with
    the batch. Calls made one after the other never arrive together (the replay stalls): ``redep`` them before. Work
    below the calls goes by ``remove``.
    """
    tasks = program.tasks
    arrivals = range(len(tasks), len(tasks) + len(calls))
    batch = arrivals.stop
    added: list[Task] = []
    changed: dict[int, Task] = {}
    for arrival, (first, last) in zip(arrivals, calls, strict=True):
        added.append(replace(_idle(tasks[first]), gap_ns=tasks[first].gap_ns))
        for index in (first, last):
            task = _idle(tasks[index])
            changed[index] = replace(task, after=(arrival,), also=(batch,) if index == last else ())
    lead = tasks[calls[0][0]]
    added.append(
        Task(
            after=(arrivals[0],),
            also=tuple(arrivals[1:]),
            gap_ns=window_ns,
            service_ns=service_ns,
            pool=lead.pool,
            delay_ns=lead.delay_ns,
        )
    )
    return _with(program, changed, added)


def swap_model(program: Program, service_ns: Mapping[int, int], pool: str | None) -> Program:
    """Another model serves these tasks: in the times that its law gives them, from its ``pool``.

    The waiting that was unexplained at the old model stays behind there.
    """
    return _with(
        program,
        {i: replace(program.tasks[i], service_ns=ns, pool=pool, delay_ns=0) for i, ns in service_ns.items()},
    )


def shift(program: Program, dependents: Collection[Call], source: Call, at_ns: int, rest_ns: int = 0) -> Program:
    """``dependents`` start when ``source`` has worked for ``at_ns``, where they waited for the end of ``source``.

    What waits for one of them now waits for ``source`` too, work that is still under way is not forgotten; and for
    ``rest_ns`` longer, which is what its last part still takes them. Edit a source before, not after, it is shifted:
    its work is then two tasks.
    """
    tasks = program.tasks
    first, last = source
    starts = {start for start, _ in dependents if last in tasks[start].after}
    ends = {end for start, end in dependents if start in starts}
    if not starts:
        return program
    point = len(tasks)
    changed: dict[int, Task] = {}
    if first == last:
        whole = tasks[first]
        at_ns = min(at_ns, whole.service_ns)
        added = replace(whole, service_ns=at_ns, held_until=first, cancels=())
        changed[first] = replace(
            _idle(whole), after=(point,), also=(), service_ns=whole.service_ns - at_ns, cancels=whole.cancels
        )
    else:
        added = Task(after=(first,), gap_ns=at_ns)
    rest = Task(after=(last,), gap_ns=rest_ns)
    for index, task in enumerate(tasks):
        if index in starts:
            task = replace(task, after=tuple(point if i == last else i for i in task.after))
        if index not in ends and not ends.isdisjoint(tasks[index].after):
            task = replace(task, also=(*task.also, point + 1))
        if task is not tasks[index]:
            changed[index] = task
    return _with(program, changed, [added, rest])


def hedge(program: Program, delay_ns: int, attempts: Mapping[Call, tuple[int, str | None]]) -> Program:
    """Second attempts, each asked for ``delay_ns`` after its call was; how long it takes, and in which pool.

    The first to end wins and stops the other; below a call, what the first attempt began runs to its end. The attempts
    are appended in the order given.
    """
    tasks = program.tasks
    changed: dict[int, Task] = {}
    added: list[Task] = []
    for (first, last), (service_ns, pool) in attempts.items():
        asked, loser = tasks[first], changed.get(last, tasks[last])
        changed[last] = replace(loser, cancels=(*loser.cancels, len(tasks) + len(added)))
        added.append(
            Task(
                after=asked.after,
                also=asked.also,
                ready_ns=asked.ready_ns + delay_ns,
                gap_ns=asked.gap_ns + delay_ns,
                service_ns=service_ns,
                pool=pool,
                cancels=(last,),
            )
        )
    return _with(program, changed, added)


def _idle(task: Task) -> Task:
    return replace(task, gap_ns=0, service_ns=0, pool=None, held_until=None, delay_ns=0)


def _above(program: Program, task: Task, members: Collection[int]) -> tuple[tuple[int, ...], int]:
    """What ``members`` that the task waits for waited for themselves; if that is nothing, when it is ready then."""
    found: dict[int, None] = {}
    ready_ns = 0
    seen: set[int] = set()
    stack = [i for i in task.after if i in members]
    while stack:
        index = stack.pop()
        if index in seen:
            continue
        seen.add(index)
        above = program.tasks[index]
        if not above.after:
            ready_ns = max(ready_ns, above.ready_ns + task.gap_ns)
        for before in above.after:
            if before in members:
                stack.append(before)
            else:
                found[before] = None
    return tuple(found), ready_ns


def _with(program: Program, changed: Mapping[int, Task], added: Sequence[Task] = ()) -> Program:
    tasks = (*(changed.get(i, task) for i, task in enumerate(program.tasks)), *added)
    return replace(program, tasks=tasks)
