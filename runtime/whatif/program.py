"""A trace as a program for the simulator."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.simulator import UNLIMITED, Program, Task, Timeline, calibrate
from antiphon.runtime.whatif.trace import Step, Trace

FIDELITY = 0.05  # an unedited replay further from the record than this says nothing about an edited one
EDGES = 100_000  # dependencies below one step; 2,500 calls that each follow 2,500 others would have 6 million
WIDTH = 64  # beyond that a task waits only for so many, the last to end: unedited, that is the same moment
BOUNDS = (
    "Low end: no model serves more at once than it was seen to. High end: up to its reported capacity, each call as "
    "fast as recorded."
)


After = tuple[tuple[int, ...], int]  # tasks to wait for, and the think gap after them


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A trace's program and where its steps are in it. ``first`` and ``last`` task of a step, by step index.

    ``program`` gives pools the capacity they report. ``cautious`` gives model pools no more than was seen at work at
    once: beyond that, batching may slow each call, by how much nobody has measured.
    """

    program: Program
    cautious: Program
    unedited: tuple[Timeline, Timeline]  # the replays of cautious and program
    first: tuple[int, ...]
    last: tuple[int, ...]
    root: int  # the task that starts the run
    finish: int  # the task that ends it

    def latency_ns(self, timeline: Timeline) -> int:
        """What the run took in a replay."""
        return timeline.end_ns[self.finish] - timeline.begin_ns[self.root]

    def tasks(self, steps: Iterable[Step]) -> frozenset[int]:
        """All tasks of these steps."""
        return frozenset(task for step in steps for task in (self.first[step.index], self.last[step.index]))

    def call(self, step: Step) -> tuple[int, int]:
        """The first and last task of a step, as edits name a call."""
        return self.first[step.index], self.last[step.index]


def pool_of(step: Step) -> str | None:
    """The slots that served the step; a model without a reported pool is one by its name.

    What another's result answered needed none.
    """
    if facts.text(step.span, attr.ANSWERED_BY):
        return None
    pool = facts.text(step.span, attr.POOL_ID)
    if pool:
        return pool
    return step.label if step.operation == facts.MODEL else None


def compile_run(trace: Trace) -> Run | None:
    """The trace's program, calibrated to its record; None if the record contradicts itself so far that it stalls."""
    first, last = [0] * len(trace.steps), [0] * len(trace.steps)
    size = 0
    for step in trace.steps:
        first[step.index], last[step.index] = size, size + bool(step.children)
        size += 1 + bool(step.children)
    after: list[After] = [((), 0)] * size
    for step in trace.steps:
        if step.children:
            _wire(step, trace.steps, after, first, last)
    tasks: list[Task] = []
    for step in trace.steps:
        own, end = first[step.index], last[step.index]
        tasks.append(
            Task(
                after=after[own][0],
                gap_ns=after[own][1],
                ready_ns=step.ready_ns,
                begin_ns=step.begin_ns,
                service_ns=step.end_ns - step.begin_ns if own == end else 0,
                pool=pool_of(step),
                held_until=end if own != end else None,
            )
        )
        if own != end:
            tasks.append(Task(after=after[end][0], gap_ns=after[end][1]))
    model_pools = {pool_of(s) for s in trace.steps if s.operation == facts.MODEL}
    reported, active = capacities(trace.steps)
    wide = {p: max(reported.get(p, UNLIMITED), n) for p, n in active.items()}
    narrow = {p: active[p] if p in model_pools else n for p, n in wide.items()}
    hopeful = calibrate(Program(tasks=tuple(tasks), pools=wide))
    cautious = hopeful if narrow == wide else calibrate(Program(tasks=tuple(tasks), pools=narrow))
    if hopeful is None or cautious is None:
        return None
    return Run(
        program=hopeful[0],
        cautious=cautious[0],
        unedited=(cautious[1], hopeful[1]),
        first=tuple(first),
        last=tuple(last),
        root=first[0],
        finish=last[trace.finish],
    )


def join(
    programs: Iterable[Program], at_least: Mapping[str, int] | None = None
) -> tuple[tuple[Program, Timeline] | None, list[int]]:
    """Programs of one time as one that shares their pools, calibrated together with its replay; where each begins.

    A pool is as large as the largest that one of them has, and as ``at_least`` says.
    """
    tasks: list[Task] = []
    starts: list[int] = []
    pools: dict[str, int] = {}
    for number, program in enumerate(programs):
        base = len(tasks)
        starts.append(base)
        for task in program.tasks:
            held = None if task.held_until is None else task.held_until + base
            tasks.append(
                replace(
                    task,
                    after=tuple(i + base for i in task.after),
                    also=tuple(i + base for i in task.also),
                    held_until=held,
                    delay_ns=0,
                    run=number,
                    cancels=tuple(i + base for i in task.cancels),
                )
            )
        for pool, capacity in program.pools.items():
            pools[pool] = max(pools.get(pool, 1), capacity)
    for pool in pools:
        pools[pool] = max(pools[pool], (at_least or {}).get(pool, 1))
    return calibrate(Program(tasks=tuple(tasks), pools=pools)), starts


def _wire(step: Step, steps: Sequence[Step], after: list[After], first: Sequence[int], last: Sequence[int]) -> None:
    """Set what a step's children, and its own end, wait for and how long after."""
    own, end = first[step.index], last[step.index]
    before: list[Step] = []  # ended, and no later step began after their end
    earlier: list[Step] = []

    spent = 0

    def since(at_ns: int) -> After:
        nonlocal spent
        if not before:
            return (own,), max(at_ns - step.begin_ns, 0)
        waits = before if spent < EDGES else sorted(before, key=lambda s: s.end_ns)[-WIDTH:]
        spent += len(waits)
        return tuple(last[s.index] for s in waits), max(at_ns - max(s.end_ns for s in before), 0)

    for child in sorted((steps[i] for i in step.children), key=lambda s: (s.ready_ns, s.index)):
        before, earlier = _frontier(before, earlier, child.ready_ns)
        behind = child.ready_ns >= step.end_ns and child.operation == facts.PROCESS and child.end_ns > step.end_ns
        after[first[child.index]] = ((end,), child.ready_ns - step.end_ns) if behind else since(child.ready_ns)
        earlier.append(child)
    before, _ = _frontier(before, earlier, step.end_ns)
    after[end] = since(step.end_ns)


def _frontier(before: list[Step], earlier: list[Step], at_ns: int) -> tuple[list[Step], list[Step]]:
    """What a step that is ready at ``at_ns`` had to wait for, and what still runs then.

    Of the steps that ended by then, those that no other one of them began after.
    """
    fresh = [s for s in earlier if s.end_ns <= at_ns]
    if not fresh:
        return before, earlier
    ended = before + fresh
    latest = max(s.ready_ns for s in ended)
    return [s for s in ended if s.end_ns > latest or s.ready_ns == latest], [s for s in earlier if s.end_ns > at_ns]


def capacities(steps: Iterable[Step]) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Per pool the capacity it reports, and the most that was seen at work in it at once."""
    reported: dict[str, int] = {}
    active: dict[str, int] = {}
    edges: dict[str, list[tuple[int, int]]] = {}
    for step in steps:
        pool = pool_of(step)
        if pool is None:
            continue
        capacity = facts.whole(step.span, attr.POOL_CAPACITY)
        if capacity:
            reported[pool] = max(capacity, reported.get(pool, 1))
        active[pool] = max(facts.whole(step.span, attr.POOL_ACTIVE) or 1, active.get(pool, 1))
        if step.end_ns > step.begin_ns:
            # A caller's span outlives the work: with the last 1 % of it counted, a full pool looks one larger.
            last_ns = step.end_ns - (step.end_ns - step.begin_ns) // 100
            edges.setdefault(pool, []).extend(((step.begin_ns, 1), (last_ns, -1)))
    for pool, changes in edges.items():
        level = 0
        for _, change in sorted(changes):
            level += change
            active[pool] = max(active[pool], level)
    return reported, active
