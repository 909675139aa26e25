"""P4, repeated identical work: the same question is asked again while the earlier answer is still good.

What it is. A tool, a model or a peer that only reads is asked again, in the same run or in another, what it was
asked a short time ago, and gives the same result.

Evidence. Equal `antiphon.input.sha256` for the same tenant, callee and model version, and equal
`antiphon.result.sha256`. Grade A where the work is declared repeatable: a tool that is pure, a tool that reads and
declares how long its results stay good (`antiphon.tool.ttl_s`), or a model call at temperature 0 or with a seed.
Otherwise grade B.

Guards. How long results stay good is measured: of 30 pairs or more at an age, 99 % must agree, and the time
proposed is the longest age for which this holds, never more than the tool declares. A repeat does not count where
the run has written since the earlier answer, unless the work depends on nothing but its input. Nothing at or below
the work writes. Work that failed, that a policy answered, or that overlaps its twin does not count. Tenants never
share.

Remedy. A `cache` policy with that time to live. For grade B it is advice: declare the tool's effect and `ttl` first,
because the policy passes by what is not declared repeatable.

What stays unseen. A result that changes less often than was watched. Writes of other systems, unless results show
them. Requests that differ in a word. Tools that declare no effect: they count as writing.
"""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Case, Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.staleness import MIN_AGREEMENT, MIN_PAIRS, Staleness
from antiphon.agents.logging_agent.steps import gain_of, result_of, tasks_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.effects import Effects, effects_of
from antiphon.runtime.whatif.program import BOUNDS, Run
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Cache, Proposal
from antiphon.schemas.task import Effect
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p4"

_CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})
_AROUND = frozenset({facts.PROCESS, *facts.PEERS})  # write only by what lies below
_KEYS = 4_096
_RESULTS = 8  # of a key, the newest: what a later one is compared with
_CALLEES = 512

Key = tuple[str, str, str, str, str]


@dataclass(slots=True)
class _Answers:
    """What a key gave: its newest results, and the work from which a cache would have one."""

    results: deque[tuple[SpanRecord, str]] = field(default_factory=lambda: deque(maxlen=_RESULTS))
    filled: SpanRecord | None = None


@dataclass(slots=True)
class _Callee:
    """How long a callee's results stay good, by what was seen and by what it says."""

    staleness: Staleness = field(default_factory=Staleness)
    declared_s: float | None = None
    proven: bool = True

    def note(self, step: Step) -> None:
        """What it says of itself."""
        effect = facts.text(step.span, attr.EFFECT)
        declared_s = facts.number(step.span, attr.TOOL_TTL_S)
        if declared_s is not None:
            self.declared_s = declared_s if self.declared_s is None else min(self.declared_s, declared_s)
        reads = step.operation == facts.TOOL and effect == Effect.READ and declared_s is not None
        self.proven = self.proven and (reads or _repeatable(step))

    def ttl_s(self) -> float | None:
        """How long its results may be used again; None where that is not known."""
        seen_s = self.staleness.ttl_s()
        if seen_s is None or self.declared_s is None:
            return seen_s
        return min(seen_s, self.declared_s) or None


class RepeatedWork:
    """Finds work that a cache would answer, by keeping one in mind: filled as runs fill it, with the measured ttl."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._answers: Recent[Key, _Answers] = Recent(_KEYS)
        self._callees: Recent[str, _Callee] = Recent(_CALLEES)
        self._asked: Recent[tuple[str, str], int] = Recent(_CALLEES)  # runs of a cohort since a ttl is known
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: whether work only reads shows in what lies below it."""

    def trace(self, observed: Observed) -> None:
        """Compare the work of a closed trace with what is known, and let it pass the cache."""
        trace = observed.trace
        effects = effects_of(trace)
        work = sorted(_work(trace, effects), key=lambda found: (found[0].span.start_ns, found[0].index))
        changes = [trace.steps[i] for i in effects.writes if trace.steps[i].operation not in _AROUND]
        answered: set[int] = set()  # and what lies below
        found: dict[str, list[Step]] = {}
        for step, key, result in work:
            callee = self._callees.make(step.label, _Callee)
            answers = self._answers.make(key, _Answers)
            callee.note(step)
            for span, earlier in answers.results:
                if span.end_ns <= step.span.start_ns:
                    callee.staleness.note((step.span.start_ns - span.start_ns) / 1e9, earlier == result)
            answers.results.append((step.span, result))
            if step.index not in answered and _hit(step, answers, callee.ttl_s(), changes):
                answered.update(below.index for below in trace.below(step.index))
                found.setdefault(step.label, []).append(step)
        for subject in {step.label for step, _, _ in work}:
            if self._callees.make(subject, _Callee).ttl_s() is not None:
                asked = observed.cohort.key, subject
                self._asked.put(asked, (self._asked.get(asked) or 0) + 1)
        for subject, hits in found.items():
            self._note(observed, subject, hits)

    def findings(self, now_ns: int) -> list[Finding]:
        """Repeats whose caching would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _note(self, observed: Observed, subject: str, hits: list[Step]) -> None:
        run, trace = observed.run, observed.trace
        latency_s = None
        if run is not None:
            latency_s = observed.saved_s(
                _cached(run.cautious, run, trace, hits), _cached(run.program, run, trace, hits)
            )
        case = self._cases.touch(observed.cohort, subject)
        case.support += case.gain(trace.run, gain_of((s for hit in hits for s in trace.below(hit.index)), latency_s))
        case.witness(trace.id, (hit.id for hit in hits), trace.steps[0].end_ns)

    def _finding(self, case: Case) -> Finding | None:
        callee = self._callees.get(case.subject)
        ttl_s = None if callee is None else callee.ttl_s()
        if callee is None or ttl_s is None:
            return None
        case.of_runs = self._asked.get((case.cohort.key, case.subject))
        first = "" if callee.proven else ", once its effect and ttl are declared"
        return case.finding(
            PATTERN,
            title=f"Repeated identical work of {case.subject}",
            grade=Grade.A if callee.proven else Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"{case.subject} was asked again what it had answered less than {ttl_s:g} s before, in "
                f"{case.prevalence:.0%} of runs, and gave the same result: cache results for {ttl_s:g} s{first}.",
                proposal=Proposal(action=Cache(ttl_s=ttl_s), target=case.subject) if callee.proven else None,
            ),
            assumptions=(
                f"Results stay good for {ttl_s:g} s: {MIN_AGREEMENT:.0%} of at least {MIN_PAIRS} pairs of that age "
                "agreed.",
                "The cache keeps every result for that time.",
                BOUNDS,
            ),
        )


def _work(trace: Trace, effects: Effects) -> Iterator[tuple[Step, Key, str]]:
    """What may be cached, with its key and result."""
    for step in trace.steps:
        span = step.span
        if step.operation not in _CALLS or step.excluded or facts.text(span, attr.ANSWERED_BY):
            continue
        content, result = facts.text(span, attr.INPUT_HASH), result_of(trace, step)
        if content and result and step.index in effects.read_only:
            version = facts.text(span, attr.GENAI_RESPONSE_MODEL)
            yield step, (facts.text(span, attr.TENANT), step.operation, step.label, version, content), result


def _repeatable(step: Step) -> bool:
    """Whether the work is declared to depend on nothing but its input."""
    if step.operation == facts.TOOL:
        return facts.text(step.span, attr.EFFECT) == Effect.PURE
    return step.operation == facts.MODEL and facts.flag(step.span, attr.DETERMINISTIC)


def _hit(step: Step, answers: _Answers, ttl_s: float | None, changes: Sequence[Step]) -> bool:
    """Whether the cache has the answer; else the step fills it. Ages count from the start of the work, as there."""
    span, filled = step.span, answers.filled
    if filled is not None and span.start_ns < filled.end_ns:
        return False  # at work at the same time
    if filled is not None and ttl_s is not None and span.start_ns - filled.start_ns <= ttl_s * 1e9:
        written = any(c.span.end_ns > filled.start_ns and c.span.start_ns < span.start_ns for c in changes)
        if not written or _repeatable(step):
            return True
    answers.filled = span
    return False


def _cached(program: Program, run: Run, trace: Trace, hits: Iterable[Step]) -> Program:
    shares = (edits.Share(tasks_of(run, trace.below(hit.index)), run.last[hit.index], None) for hit in hits)
    return edits.dedupe_all(program, shares)


DETECTOR = RepeatedWork
