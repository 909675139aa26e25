"""P6, no-progress loop: the same call with the same result three times, or to and fro between two of them.

What it is. A handler asks again what it has asked before, and gets the answer it has already: one call three times
or more, or two calls in turn. Mostly a model decides so that does not see, or does not believe, what it was told.

Evidence. Equal `antiphon.input.sha256` and `antiphon.result.sha256` of successive calls in one handler run, and the
model calls between them. Grade B: without the repeats the model reads another prompt, and may go another way.

Guards. Calls that failed do not count. Nothing writes at the calls or between them, because a write is a reason to
look again. A repeat comes at most 60 s after the one before. The last result adds nothing: a call that later gives
another result was waiting for it, and so a tool that was ever seen to change by itself is left alone. So are calls
at nearly equal intervals, multiples of one included, with nothing but waiting between: polling is another pattern.
Two calls in turn count only where a model call lies before each repeat.

Remedy. Answer a repeat with a note that this was asked already, or stop the loop after the second time.

What stays unseen. Arguments that differ in a word and mean the same, because only hashes are compared. Tools that
declare no effect: they count as writing. Results that differ in nothing but a time or an id.
"""

import itertools
import random
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Case, Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.steps import gain_of, result_of, tasks_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.effects import read_only, writes
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, QualityRisk, Remedy
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p6"
MIN_CALLS = 3
MAX_GAP_NS = 60_000_000_000
POLL_SPREAD = 0.2  # of the usual interval: others are that close to it, or to a multiple where a span was lost
POLL_IDLE = 0.5  # of the intervals, at least, is waiting

_CALLS = frozenset({*facts.WAITED, facts.TOOL})
_CHANGING = 1_024


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that can be compared. ``asked``: since the call before, a model was."""

    step: Step
    content: str
    result: str
    asked: bool

    @property
    def question(self) -> tuple[str, str]:
        return self.step.label, self.content

    def repeats(self, other: "_Call") -> bool:
        return self.question == other.question and self.result == other.result


class NoProgress:
    """Finds loops whose repeats bring nothing new; what they cost is the repeats and the model calls between."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._cases = Cases()
        self._changing: Recent[str, bool] = Recent(_CHANGING)  # labels whose result changes though nothing writes

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: a loop shows only in a whole handler."""

    def trace(self, observed: Observed) -> None:
        """Look at the calls of every handler of a closed trace."""
        trace = observed.trace
        found: dict[str, list[Step]] = {}
        for step in trace.steps:
            if step.excluded or len(step.children) < MIN_CALLS:
                continue
            siblings = [trace.steps[i] for i in step.children]
            for stretch in _stretches(trace, siblings):
                self._note_changes(stretch)
                for calls, period in _loops(stretch):
                    labels = dict.fromkeys(call.step.label for call in calls[:period])
                    if not any(self._changing.get(label) for label in labels):
                        found.setdefault(" and ".join(labels), []).extend(_wasted(calls, period, siblings))
        for subject, wasted in found.items():
            self._note(observed, subject, wasted)

    def findings(self, now_ns: int) -> list[Finding]:
        """Loops whose end would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _note_changes(self, stretch: Sequence[_Call]) -> None:
        results: dict[tuple[str, str], str] = {}
        for call in stretch:
            if results.setdefault(call.question, call.result) != call.result:
                self._changing.put(call.step.label, True)

    def _note(self, observed: Observed, subject: str, wasted: list[Step]) -> None:
        run, trace = observed.run, observed.trace
        steps = {step.index: step for top in wasted for step in trace.below(top.index)}
        latency_s = None
        if run is not None:
            tasks = tasks_of(run, steps.values())
            latency_s = observed.saved_s(edits.remove(run.cautious, tasks), edits.remove(run.program, tasks))
        case = self._cases.touch(observed.cohort, subject)
        case.support += case.gain(trace.run, gain_of(steps.values(), latency_s))
        case.witness(trace.id, (step.id for step in wasted), trace.steps[0].end_ns)

    def _finding(self, case: Case) -> Finding | None:
        found = case.finding(
            PATTERN,
            title=f"No progress in a loop over {case.subject}",
            grade=Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"{case.subject} was asked the same again and gave the same again, in {case.prevalence:.0%} of "
                "runs: answer a repeat with a note that this was asked already, or stop after the second time.",
            ),
            assumptions=(
                "A model that is told so goes on as it did after the last repeat.",
                BOUNDS,
            ),
        )
        return None if found is None else found.model_copy(update={"quality_risk": QualityRisk.NEEDS_EVALUATION})


def _stretches(trace: Trace, siblings: Sequence[Step]) -> Iterator[list[_Call]]:
    """The successful calls between two writes, by start. One that cannot be compared counts as a write."""
    stretch: list[_Call] = []
    asked = False
    for step in siblings:
        if step.operation == facts.MODEL:
            asked = True
            continue
        called = step.operation in _CALLS and not step.excluded
        content, result = facts.text(step.span, attr.INPUT_HASH), result_of(trace, step)
        if called and content and result and read_only(trace, step):
            stretch.append(_Call(step, content, result, asked))
            asked = False
        elif called or writes(trace, step):
            yield stretch
            stretch = []
    yield stretch


def _loops(stretch: Sequence[_Call]) -> Iterator[tuple[Sequence[_Call], int]]:
    """Calls that repeat, with the period, 1 or 2; no call is in two loops."""
    last = {call.question: call.result for call in stretch}
    start = 0
    while start + MIN_CALLS <= len(stretch):
        for period in (1, 2):
            end = _end(stretch, start, period)
            calls = stretch[start:end]
            if len(calls) >= MIN_CALLS:
                settled = all(last[call.question] == call.result for call in calls)
                if settled and not _polls(calls):
                    yield calls, period
                start = end - 1
                break
        start += 1


def _end(stretch: Sequence[_Call], start: int, period: int) -> int:
    """Where the loop that begins at ``start`` is over."""
    end = start + 1
    while end < len(stretch):
        before, call = stretch[end - 1], stretch[end]
        near = 0 <= call.step.start_ns - before.step.end_ns <= MAX_GAP_NS
        repeats = end < start + period or call.repeats(stretch[end - period])
        if not (near and repeats and (period == 1 or call.asked)):
            break
        end += 1
    return end


def _polls(calls: Sequence[_Call]) -> bool:
    """Whether the calls come at nearly equal intervals that are mostly waiting, no model deciding on them."""
    if any(call.asked for call in calls[1:]):
        return False
    starts = [call.step.start_ns for call in calls]
    intervals = [after - before for before, after in itertools.pairwise(starts)]
    mean = statistics.fmean(intervals)
    worked = statistics.fmean(call.step.duration_ns for call in calls[:-1])
    if worked >= (1 - POLL_IDLE) * mean:
        return False
    usual = max(statistics.median_low(intervals), 1)
    return all(abs(each - max(round(each / usual), 1) * usual) < POLL_SPREAD * usual for each in intervals)


def _wasted(calls: Sequence[_Call], period: int, siblings: Sequence[Step]) -> list[Step]:
    """The repeats and the model calls between. The one that asked for the first repeat stays: it has to be asked."""
    since_ns, until_ns = calls[period].step.start_ns, calls[-1].step.start_ns
    repeats = {call.step.index for call in calls[period:]}
    return [
        step
        for step in siblings
        if step.index in repeats
        or (step.operation == facts.MODEL and since_ns <= step.start_ns and step.end_ns <= until_ns)
    ]


DETECTOR = NoProgress
