"""Calls that were made again: a handler's attempts at one request, and those that were given up too early."""

from collections.abc import Iterator
from dataclasses import dataclass

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Step, Trace

CLOCK_NS = 100_000_000  # two nodes' clocks may each be 50 ms off: work that ends less late than this proves nothing
GAVE_UP = 0.9  # share of its timeout that a call lasted; one that failed sooner failed for another reason

CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})


@dataclass(frozen=True, slots=True)
class Request:
    """What a handler asked for, and its calls for it, one after the other: all but the last one failed.

    ``attempts`` counts those that the runtime made within a call too: by a policy, or for a durable call's task.
    """

    calls: tuple[Step, ...]
    attempts: int
    of_task: int  # those of them that are attempts of the task of a durable call

    @property
    def may_be_fewer(self) -> bool:
        """Whether a policy can make fewer: all are attempts of one task, and a task called it."""
        return self.of_task == self.attempts and bool(facts.text(self.calls[0].span, attr.TASK))

    @property
    def failed(self) -> bool:
        """Whether no attempt succeeded."""
        return self.calls[-1].span.status == facts.ERROR

    def repeats(self, trace: Trace) -> list[Step]:
        """What would not have been done without a second attempt: later calls, and later handlers of the first one."""
        handlers = [s for i in self.calls[0].children if (s := trace.steps[i]).operation == facts.PROCESS]
        return [*handlers[1:], *self.calls[1:]]


@dataclass(frozen=True, slots=True)
class Orphan:
    """An attempt that its callee finished after the caller had given up, and asked again."""

    request: Request
    place: int  # of the attempt among the request's calls
    served: Step  # the handler that finished
    late_ns: int  # how long after the caller had gone

    @property
    def call(self) -> Step:
        """The call that was given up."""
        return self.request.calls[self.place]

    @property
    def repeats(self) -> tuple[Step, ...]:
        """The calls that would not have been made."""
        return self.request.calls[self.place + 1 :]


def requests(trace: Trace, handler: Step) -> Iterator[Request]:
    """What ``handler`` asked for with an input on record, each request once.

    Equal label and input, begun after the one before had failed: another attempt. A loop over items is none.
    """
    open_calls: dict[tuple[str, str], list[Step]] = {}
    for index in handler.children:
        step = trace.steps[index]
        content = facts.text(step.span, attr.INPUT_HASH)
        if step.operation not in CALLS or not content or not step.span.end_ns:
            continue
        calls = open_calls.get((step.label, content))
        if calls and calls[-1].span.status == facts.ERROR and calls[-1].end_ns <= step.start_ns:
            calls.append(step)
            continue
        if calls:
            yield _request(trace, calls)
        open_calls[step.label, content] = [step]
    for calls in open_calls.values():
        yield _request(trace, calls)


def orphan(trace: Trace, request: Request) -> Orphan | None:
    """The first attempt that was finished for nobody though asked for again; None if there is none."""
    for place, call in enumerate(request.calls[:-1]):
        allowed_s = facts.number(call.span, attr.TIMEOUT_S)
        if call.operation not in facts.WAITED or allowed_s is None or call.duration_ns < GAVE_UP * allowed_s * 1e9:
            continue
        for index in call.children:
            served = trace.steps[index]
            if served.operation != facts.PROCESS or served.span.status == facts.ERROR or not served.span.end_ns:
                continue
            late_ns = served.span.end_ns - call.span.end_ns
            if late_ns > (CLOCK_NS if served.node != call.node else 0):
                return Orphan(request, place, served, late_ns)
    return None


def _request(trace: Trace, calls: list[Step]) -> Request:
    within = sum(event.name == attr.RETRY_EVENT for call in calls for event in call.span.events)
    of_task = sum(
        trace.steps[i].operation == facts.PROCESS and trace.steps[i].span.end_ns > 0
        for i in (calls[0].children if len(calls) == 1 and calls[0].operation == facts.CALL else ())
    )
    return Request(tuple(calls), max(len(calls) + within, of_task), of_task)
