"""The critical path: the chain of work that the end waited for."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from antiphon.runtime.whatif.trace import Step, Trace

T = TypeVar("T")


def waited_for(
    top: T, start_ns: int, end_ns: int, below: Callable[[T], Iterable[tuple[T, int, int]]]
) -> Iterator[tuple[T, int]]:
    """The work on the path of ``top``, itself first, each with the nanoseconds in which it waited for none below it.

    ``below`` gives what a piece of work led to, each with its begin and end. Backwards from the end, what ended last is
    what was waited for, then what ended last before that began; what began and ended beside the path, or took no time,
    is not on it. The nanoseconds add up to ``end_ns - start_ns`` (Zhang et al., CRISP, USENIX ATC 2022; the walk of
    Jaeger's critical path, jaeger-ui #1288).
    """
    stack = [(top, start_ns, end_ns)]
    while stack:
        work, start_ns, end_ns = stack.pop()
        own_ns, at_ns = 0, end_ns
        for each, first_ns, last_ns in sorted(below(work), key=lambda found: (-found[2], -found[1])):
            began_ns, ended_ns = max(first_ns, start_ns), min(last_ns, end_ns)
            if ended_ns > at_ns or began_ns >= ended_ns:
                continue
            own_ns += at_ns - ended_ns
            stack.append((each, began_ns, ended_ns))
            at_ns = began_ns
        yield work, own_ns + max(0, at_ns - start_ns)


def critical_path(trace: Trace) -> Mapping[str, int]:
    """Nanoseconds on the critical path by label; they add up to the trace's latency."""

    def below(step: Step) -> Iterator[tuple[Step, int, int]]:
        return ((each, each.start_ns, each.end_ns) for each in map(trace.steps.__getitem__, step.children))

    found: Counter[str] = Counter()
    root, finish = trace.steps[0], trace.steps[trace.finish]
    if finish.index != root.index:
        found[root.label] += max(0, finish.start_ns - root.start_ns)  # from the submit to the handler
    for step, own_ns in waited_for(finish, max(finish.start_ns, root.start_ns), finish.end_ns, below):
        found[step.label] += own_ns
    return {label: ns for label, ns in found.most_common() if ns}
