"""P21, late consumption: a consumer starts after the last chunk of a text, though it was written bit by bit.

What it is. A handler waits until a model or a peer has said everything, and only then passes the text on. The text
came in chunks, and what follows takes text.

Evidence. `gen_ai.response.time_to_first_chunk` of model calls, `antiphon.emit.first_ns` and `antiphon.emit.count` of
handlers, and `antiphon.msg.causes`, by which the consumer has the text in its input. Grade C, because no consumer
declares yet that it accepts a part of a text.

Guards. At least 30 ms between the first chunk and the consumer's start, and no thinking between the last chunk and
that start. Nothing that is parsed as a whole counts: JSON, or a typed reply in which no field makes up 90 %. A model
needs its whole prompt, so no model works at or below the consumer. The consumer writes nothing, because a text whose
rest fails would have been half written. No more than 5 % of the producer's calls fail.

Remedy. Emit the text as it comes (`ctx.emit`) and let the consumer take it bit by bit.

What stays unseen. Whether the consumer can work on a part. The time until a person sees the first words, which is no
part of a run's latency. When each field of a typed reply was complete.
"""

import random
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.sized import sizes
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.effects import read_only
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p21"
MIN_LATE_NS = 30_000_000
MAX_GAP_SHARE = 0.10  # of the producer's time; a longer gap is thinking
MAX_FAILED = 0.05
TEXT_SHARE = 0.90  # of a typed reply in one field: it is a text with a label
HALF = 0.5  # the cautious consumer begins when half of the text is there, and with the other half when all of it is

_PRODUCERS = frozenset({facts.MODEL, *facts.WAITED})
_CONSUMERS = frozenset({facts.TOOL, *facts.WAITED})
_SITES = 512


@dataclass(frozen=True, slots=True)
class _Late:
    """A consumer that waited for the end, and after how much of the producer's work it could have begun."""

    producer: Step
    consumer: Step
    first_ns: int  # from the producer's begin


class LateConsumption:
    """Finds texts that are passed on when they are complete, though they came in chunks. Grade C."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._calls: OrderedDict[tuple[str, str], list[int]] = OrderedDict()  # by handler and producer: all, failed
        self._shown: OrderedDict[tuple[str, str], _Late] = OrderedDict()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: who consumes a text shows only in the trace."""

    def trace(self, observed: Observed) -> None:
        """Look at every handler of a closed trace."""
        trace = observed.trace
        for handler in trace.steps:
            if handler.operation != facts.PROCESS or not handler.children:
                continue
            siblings = [trace.steps[i] for i in handler.children]
            self._count(handler, siblings)
            if handler.excluded:
                continue
            late = [found for found in _late(trace, siblings) if self._reliable(handler, found.producer)]
            if late:
                self._note(observed, handler.label, late)

    def findings(self, now_ns: int) -> list[Finding]:
        """Texts whose early passing on would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _count(self, handler: Step, siblings: Sequence[Step]) -> None:
        for step in siblings:
            if step.operation in _PRODUCERS:
                key = (handler.label, step.label)
                counts = self._calls.setdefault(key, [0, 0])
                counts[0] += 1
                counts[1] += step.span.status == facts.ERROR
                self._calls.move_to_end(key)
                if len(self._calls) > _SITES:
                    self._calls.popitem(last=False)

    def _reliable(self, handler: Step, producer: Step) -> bool:
        counts = self._calls.get((handler.label, producer.label))
        return counts is not None and counts[1] <= MAX_FAILED * counts[0]

    def _note(self, observed: Observed, subject: str, late: Sequence[_Late]) -> None:
        run = observed.run
        if run is None:
            return

        def streamed(program: Program, waits: float) -> Program:
            """``waits``: the share of the text that is there when the consumer begins, and that it reads last."""
            for found in late:
                producer, consumer = found.producer, found.consumer
                work_ns = producer.end_ns - producer.begin_ns
                program = edits.shift(
                    program,
                    [run.call(consumer)],
                    run.call(producer),
                    found.first_ns + round(waits * (work_ns - found.first_ns)),
                    round(waits * consumer.duration_ns),
                )
            return program

        saved = observed.saved_s(streamed(run.cautious, HALF), streamed(run.program, 0.0))
        if saved is None:
            return
        case = self._cases.touch(observed.cohort, subject)
        case.support += case.gain(observed.trace.run, Gain(latency_s=saved))
        spans = [step.id for found in late for step in (found.producer, found.consumer)]
        case.witness(observed.trace.id, spans, observed.trace.steps[0].end_ns)
        key = (observed.cohort.key, subject)
        self._shown[key] = max(late, key=lambda found: found.producer.end_ns - found.producer.begin_ns - found.first_ns)
        self._shown.move_to_end(key)
        if len(self._shown) > _SITES:
            self._shown.popitem(last=False)

    def _finding(self, case: Case) -> Finding | None:
        late = self._shown.get((case.cohort.key, case.subject))
        if late is None:
            return None
        producer, consumer = late.producer, late.consumer
        waited_s = (producer.end_ns - producer.begin_ns - late.first_ns) / 1e9
        return case.finding(
            PATTERN,
            title=f"Late consumption in {case.subject}",
            grade=Grade.C,
            rng=self._rng,
            remedy=Remedy(
                text=f"In {case.prevalence:.0%} of runs {consumer.label} takes the text of {producer.label} when it "
                f"is complete, {waited_s:.2g} s after its first chunk: pass the text on as it comes, if "
                f"{consumer.label} can work on a part of it."
            ),
            assumptions=(
                f"{consumer.label} can begin with a part of the text; no declaration says so.",
                "Low end: it takes the text in two halves. High end: chunk by chunk.",
                BOUNDS,
            ),
        )


def _late(trace: Trace, siblings: Sequence[Step]) -> Iterator[_Late]:
    """For each producer among ``siblings`` the first consumer of its text that waited for the end of it."""
    by_id = {step.id: step for step in siblings}
    for producer in siblings:
        first_ns = _first_chunk_ns(trace, producer)
        if first_ns is None:
            continue
        for consumer in siblings:
            causes = () if facts.flag(consumer.span, attr.CAUSES_INFERRED) else facts.texts(consumer.span, attr.CAUSES)
            if not causes or producer.id not in causes or not _follows(producer, consumer):
                continue
            others = [by_id[i].end_ns for i in causes if i in by_id and i != producer.id]
            begun_ns = max([first_ns, *others])
            if consumer.start_ns - begun_ns >= MIN_LATE_NS and begun_ns < producer.end_ns and _takes(trace, consumer):
                yield _Late(producer, consumer, begun_ns - producer.begin_ns)
            break


def _first_chunk_ns(trace: Trace, step: Step) -> int | None:
    """When the first chunk of a text was there, on the trace's clock; None for what did not come in chunks."""
    if step.excluded or step.operation not in _PRODUCERS:
        return None
    if step.operation == facts.MODEL:
        after_s = facts.number(step.span, attr.GENAI_FIRST_CHUNK)
        tokens = facts.whole(step.span, attr.GENAI_OUTPUT_TOKENS)
        if after_s is None or (tokens or 0) < 2 or facts.text(step.span, attr.GENAI_OUTPUT_TYPE) == "json":
            return None
        first_ns = step.start_ns + round(min(after_s, 1e6) * 1e9)
    else:
        handler = next((trace.steps[i] for i in step.children if trace.steps[i].operation == facts.PROCESS), None)
        if handler is None or (facts.whole(handler.span, attr.EMIT_COUNT) or 0) < 2 or not _one_text(handler.span):
            return None
        shown_ns = facts.whole(handler.span, attr.EMIT_FIRST_NS)
        if shown_ns is None:
            return None
        first_ns = shown_ns + handler.start_ns - handler.span.start_ns
    return first_ns if step.begin_ns <= first_ns < step.end_ns else None


def _one_text(span: SpanRecord) -> bool:
    """Whether the reply is a text, or as good as one."""
    fields = sizes(span, attr.RESULT_FIELDS).values()
    return not fields or max(fields) >= TEXT_SHARE * sum(fields)


def _follows(producer: Step, consumer: Step) -> bool:
    """Whether the consumer starts when the producer has ended, without thinking in between."""
    return 0 <= consumer.start_ns - producer.end_ns <= MAX_GAP_SHARE * producer.duration_ns


def _takes(trace: Trace, step: Step) -> bool:
    """Whether a part of a text would do, as far as the record can tell: nothing writes and no model is prompted."""
    return (
        step.operation in _CONSUMERS
        and not step.excluded
        and read_only(trace, step)
        and not any(below.operation == facts.MODEL for below in trace.below(step.index))
    )


DETECTOR = LateConsumption
