"""Which results of a run found their way into its outcome: reachability backwards over the recorded causes."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.sized import sizes
from antiphon.agents.logging_agent.steps import causes_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.effects import Effects, effects_of
from antiphon.runtime.whatif.trace import Step, Trace

LEAST_BYTES = 128  # of a result whose text would show; the fields of smaller ones are not recorded
LEAST_FIELD = 24  # bytes: a shorter field is a number, a decision or a text of less than 12 characters
LEAST_TOKENS = 16  # of a model's reply: some 60 characters; decisions are shorter

_CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})
_PLAIN = frozenset({"stop", "length"})  # why a reply ended that is text and not a request for tools


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an operation's result.

    ``place``: of equal branches of one group, which it is, from 0. ``proven``: nobody waited any more when it came.
    """

    handler: Step
    step: Step
    place: int
    used: bool
    proven: bool


def results(trace: Trace) -> Iterator[Result]:
    """The results of the handlers whose own results were used, each operation once.

    Used counts what may have been: work that writes or does not show all it did, results whose use would leave no
    cause (decisions, numbers, short texts), and everything earlier where causes are missing or unknown. Of what
    failed or nobody waited for, only what was given up harmlessly is told.
    """
    effects = effects_of(trace)
    reached = _reached(trace, effects)
    for index in sorted(reached):
        handler = trace.steps[index]
        if handler.operation != facts.PROCESS or handler.excluded:
            continue
        read = _fields_read(handler)
        places: Counter[tuple[str, str]] = Counter()
        for step in (trace.steps[i] for i in handler.children):
            group = facts.text(step.span, attr.GROUP)
            place = places[step.label, group] if group else 0
            places[step.label, group] += 1
            given_up = step.span.attributes.get(attr.RESULT_CONSUMED) is False
            if step.operation not in _CALLS or (step.excluded and not given_up):
                continue
            harmless = step.index in effects.read_only
            if given_up:
                if harmless:
                    yield Result(handler, step, place, False, True)
                continue
            hidden = not (harmless and _would_show(trace, step, read))
            used = step.index in reached or hidden or bool(read.get(step.id))
            yield Result(handler, step, place, used, False)


def _reached(trace: Trace, effects: Effects) -> set[int]:
    """Steps that the roots, and whatever writes, rest on or may rest on."""
    ids = {step.id: step.index for step in trace.steps}
    reached: set[int] = set()
    todo = [step.index for step in trace.steps if step.parent is None]
    while todo:
        step = trace.steps[todo.pop()]
        if step.index in reached:
            continue
        reached.add(step.index)
        siblings = () if step.parent is None else trace.steps[step.parent].children
        earlier = (trace.steps[i] for i in siblings if trace.steps[i].end_ns <= step.start_ns)
        todo += _named(causes_of(step), ids, earlier)
        children = [trace.steps[i] for i in step.children]
        if step.operation == facts.PROCESS:
            todo += [s.index for s in children if s.operation not in _CALLS or s.index in effects.writes]
            todo += _named(_sources(step), ids, children)
        else:
            todo += step.children
    return reached


def _named(causes: Sequence[str] | None, ids: dict[str, int], otherwise: Iterable[Step]) -> list[int]:
    """The steps that are named; all of ``otherwise`` that somebody waited for, where names are missing or unknown."""
    if causes is not None and all(cause in ids for cause in causes):
        return [ids[cause] for cause in causes]
    return [s.index for s in otherwise if s.span.attributes.get(attr.RESULT_CONSUMED) is not False]


def _sources(handler: Step) -> tuple[str, ...] | None:
    """What the handler's result has content of. Of a result without any, or after chunks were shown, nothing is
    known: it may be a decision, and the chunks had their own content."""
    shown = facts.whole(handler.span, attr.EMIT_COUNT)
    return None if shown else facts.texts(handler.span, attr.RESULT_CAUSES) or None


def _fields_read(handler: Step) -> dict[str, str]:
    """By operation, the fields of its reply that were used or may have been; empty text: none."""
    items = facts.texts(handler.span, attr.FIELDS_READ) or ()
    return {operation: names for operation, _, names in (item.partition(":") for item in items)}


def _would_show(trace: Trace, step: Step, read: dict[str, str]) -> bool:
    """Whether the result is made of texts long enough to leave a cause wherever they are used."""
    if step.id in read:
        return True
    if step.operation == facts.MODEL:
        reasons = facts.texts(step.span, attr.GENAI_FINISH_REASONS)
        tokens = facts.whole(step.span, attr.GENAI_OUTPUT_TOKENS) or 0
        text = facts.text(step.span, attr.GENAI_OUTPUT_TYPE) == "text"
        return text and tokens >= LEAST_TOKENS and reasons is not None and _PLAIN.issuperset(reasons)
    spans = [step.span, *(trace.steps[i].span for i in step.children if trace.steps[i].operation == facts.PROCESS)]
    for span in spans:
        if (facts.whole(span, attr.RESULT_SIZE) or 0) >= LEAST_BYTES:
            return all(size >= LEAST_FIELD for size in sizes(span, attr.RESULT_FIELDS).values())
    return False
