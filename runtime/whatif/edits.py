"""The what-if primitives: a program changed as a remedy would change it. Tasks keep their indices."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from antiphon.runtime.whatif.simulator import Program, Task


def redep(program: Program, group: Sequence[tuple[int, int]]) -> Program:
    """Let the members of ``group``, each a (first, last) task, start together when the first of them would.

    Whatever waited for one of them now waits for all.
    """
    model = program.tasks[group[0][0]]
    firsts = {first for first, _ in group}
    lasts = tuple(last for _, last in group)
    changed = {}
    for index, task in enumerate(program.tasks):
        if index in firsts:
            changed[index] = replace(task, after=model.after, gap_ns=model.gap_ns, ready_ns=model.ready_ns)
        elif any(last in task.after for last in lasts):
            others = tuple(i for i in task.after if i not in lasts)
            changed[index] = replace(task, after=(*others, *lasts))
    return _with(program, changed)


def scale(program: Program, factors: Mapping[int, float]) -> Program:
    """Multiply service times."""
    return _with(
        program,
        {i: replace(program.tasks[i], service_ns=round(program.tasks[i].service_ns * f)) for i, f in factors.items()},
    )


def dedupe(program: Program, removed: Iterable[int], last: int, shared: int | None, remaining_ns: int) -> Program:
    """``removed`` do nothing; ``last`` of them ends when the result it shares is there.

    That is with task ``shared`` of the same program, or, where the work that is shared is in another run,
    ``remaining_ns`` after the removed work became ready.
    """
    changed = {
        i: replace(program.tasks[i], gap_ns=0, service_ns=0, pool=None, held_until=None, delay_ns=0) for i in removed
    }
    first = min(changed)
    changed[first] = replace(changed[first], gap_ns=program.tasks[first].gap_ns)
    if shared is not None:
        changed[last] = replace(changed[last], also=(*changed[last].also, shared))
    else:
        changed[last] = replace(changed[last], service_ns=remaining_ns)
    return _with(program, changed)


def pool(program: Program, capacities: Mapping[str, int]) -> Program:
    """Other pool sizes."""
    return replace(program, pools={**program.pools, **capacities})


def _with(program: Program, changed: Mapping[int, Task]) -> Program:
    return replace(program, tasks=tuple(changed.get(i, task) for i, task in enumerate(program.tasks)))
