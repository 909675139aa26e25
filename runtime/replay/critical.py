"""The critical path of a trace: the chain of work that its end waited for."""

from collections import Counter
from collections.abc import Mapping

from antiphon.runtime.whatif.trace import Step, Trace


def critical_path(trace: Trace) -> Mapping[str, int]:
    """Nanoseconds on the critical path by label; they add up to the trace's latency.

    Backwards from the end, the child that ended last is what was waited for; what no child covers is the step's own
    (Zhang et al., CRISP, USENIX ATC 2022).
    """
    found: Counter[str] = Counter()
    root, finish = trace.steps[0], trace.steps[trace.finish]
    stack: list[tuple[Step, int, int]] = [(finish, max(finish.start_ns, root.start_ns), finish.end_ns)]
    if finish.index != root.index:
        found[root.label] += max(0, finish.start_ns - root.start_ns)  # from the submit to the handler
    while stack:
        step, start_ns, end_ns = stack.pop()
        at_ns = end_ns
        for child in sorted((trace.steps[i] for i in step.children), key=lambda each: (-each.end_ns, -each.start_ns)):
            ended_ns = min(child.end_ns, end_ns)
            began_ns = max(child.start_ns, start_ns)
            if ended_ns > at_ns or began_ns >= ended_ns:
                continue  # it ran beside what is on the path already
            found[step.label] += at_ns - ended_ns
            stack.append((child, began_ns, ended_ns))
            at_ns = began_ns
        found[step.label] += max(0, at_ns - start_ns)
    return {label: ns for label, ns in found.most_common() if ns}
