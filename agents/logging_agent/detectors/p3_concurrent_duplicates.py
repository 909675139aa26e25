"""P3, concurrent duplicates: the same repeatable work is in flight at least twice at once.

What it is. The same repeatable work is in flight twice at the same time. One result could serve both.

Evidence. Equal `antiphon.input.sha256` for the same tenant, callee and model version, with overlapping times, in one
run or in several. Grade A.

Guards. The work is declared repeatable: a model call at temperature 0 or with a seed, or a tool that is pure. Nothing
at or below it writes. The results agreed, and work that failed does not count. On two nodes the overlap must exceed
100 ms, because two clocks may be that far apart. A call inside its own duplicate is left alone.

Remedy. A `single_flight` policy: later callers get the result of the first.

What stays unseen. Duplicates that follow one another, which are a matter for a cache. Requests that differ in a word.
Peers that are called with equal messages, unless the call itself is declared repeatable.
"""

import random
from collections import OrderedDict
from typing import ClassVar, NamedTuple

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.effects import read_only
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Proposal, SingleFlight
from antiphon.schemas.task import Effect
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p3"
CLOCK_NS = 100_000_000  # two nodes' clocks may each be 50 ms off: less overlap than this proves nothing

_KEYS = 4_096
_PER_KEY = 32
_CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})

Key = tuple[str, str, str, str, str]


class _Flight(NamedTuple):
    """One piece of work. A named tuple: making a frozen dataclass of this size takes 1 us more, for every call seen."""

    start_ns: int
    end_ns: int
    trace_id: bytes
    span_id: bytes
    node: str
    result: str


class ConcurrentDuplicates:
    """Finds work that single-flight would share: same input hash, declared repeatable, at the same time.

    Grade A: tenant, callee, model version and input are equal, the work is repeatable and its results agreed.
    """

    streams: ClassVar[frozenset[str]] = _CALLS

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._recent: OrderedDict[Key, dict[bytes, _Flight]] = OrderedDict()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Remember when work of one key was in flight."""
        key = _key(span)
        if key is None:
            return
        flights = self._recent.get(key)
        if flights is None:
            flights = self._recent[key] = {}
        else:
            self._recent.move_to_end(key)
        flights[span.span_id] = _Flight(
            span.start_ns, span.end_ns, span.trace_id, span.span_id, node, facts.text(span, attr.RESULT_HASH)
        )
        if len(flights) > _PER_KEY:
            del flights[next(iter(flights))]
        if len(self._recent) > _KEYS:
            self._recent.popitem(last=False)

    def trace(self, observed: Observed) -> None:
        """Confirm this trace's duplicates, now that its retries and failures are known."""
        trace = observed.trace
        shared: set[int] = set()
        found: dict[str, list[tuple[Step, _Flight]]] = {}
        by_id = {step.span.span_id: step for step in trace.steps}
        for step in trace.steps:
            if step.parent in shared:  # goes away with the call it belongs to
                shared.add(step.index)
                continue
            if step.excluded or step.operation not in _CALLS:
                continue
            leader = self._leader(step)
            if leader is None or not read_only(trace, step):
                continue
            own = by_id.get(leader.span_id) if leader.trace_id == step.span.trace_id else None
            if own is not None and (own.excluded or any(s.index == step.index for s in trace.below(own.index))):
                continue
            shared.add(step.index)
            found.setdefault(step.label, []).append((step, leader))
        for subject, pairs in found.items():
            self._note(observed, subject, pairs, by_id)

    def findings(self, now_ns: int) -> list[Finding]:
        """Duplicates whose sharing would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _leader(self, step: Step) -> _Flight | None:
        """The flight that the step would have joined, under single-flight from the first start on."""
        key = _key(step.span)
        flights = self._recent.get(key) if key is not None else None
        if flights is None or len(flights) < 2:
            return None
        leader: _Flight | None = None
        for flight in sorted(flights.values(), key=lambda f: (f.start_ns, f.span_id)):
            slack_ns = CLOCK_NS if leader is not None and leader.node != flight.node else 0
            joins = leader is not None and flight.start_ns < leader.end_ns - slack_ns
            if joins and leader is not None and leader.result != flight.result:
                joins = False  # not repeatable, whatever it says
            if flight.span_id == step.span.span_id:
                return leader if joins else None
            if not joins:
                leader = flight
        return None

    def _note(
        self, observed: Observed, subject: str, pairs: list[tuple[Step, _Flight]], by_id: dict[bytes, Step]
    ) -> None:
        run, trace = observed.run, observed.trace
        latency_s = None
        if run is not None:

            def shared(program: Program) -> Program:
                for step, leader in pairs:
                    steps = [s.index for s in trace.below(step.index)]
                    tasks = {run.first[i] for i in steps} | {run.last[i] for i in steps}
                    own = by_id.get(leader.span_id) if leader.trace_id == step.span.trace_id else None
                    program = edits.dedupe(
                        program,
                        tasks,
                        run.last[step.index],
                        None if own is None else run.last[own.index],
                        max(leader.end_ns - step.span.start_ns, 0),
                    )
                return program

            latency_s = observed.saved_s(shared(run.cautious), shared(run.program))
        costs = [cost_of(trace.below(step.index)) for step, _ in pairs]
        gain = Gain(
            latency_s=latency_s,
            tokens=sum(c.tokens for c in costs),
            model_s=sum(c.model_s for c in costs),
            usd=sum(c.usd for c in costs),
        )
        case = self._cases.touch(observed.cohort, subject)
        case.support += case.gain(trace.run, gain)
        spans = [i for step, leader in pairs for i in (leader.span_id.hex(), step.id)]
        case.witness(trace.id, dict.fromkeys(spans), trace.steps[0].end_ns)

    def _finding(self, case: Case) -> Finding | None:
        return case.finding(
            PATTERN,
            title=f"Concurrent duplicates of {case.subject}",
            grade=Grade.A,
            rng=self._rng,
            remedy=Remedy(
                text=f"{case.subject} was asked for the same input while it was already at work on it, in "
                f"{case.prevalence:.0%} of runs: share one result.",
                proposal=Proposal(action=SingleFlight(), target=case.subject),
            ),
            assumptions=("Repeatable work gives the later caller the result that the earlier one gets.",),
        )


def _key(span: SpanRecord) -> Key | None:
    """What must agree to be the same work; None for work that may not be shared or did not succeed."""
    known = span.attributes
    effect, repeatable = known.get(attr.EFFECT), known.get(attr.DETERMINISTIC) is True
    if not repeatable and effect != Effect.PURE:  # most calls: asked first, and without another call
        return None
    operation = facts.operation(span)
    if operation not in _CALLS or span.end_ns == 0 or span.status == facts.ERROR:
        return None
    if effect == Effect.WRITE if operation == facts.TOOL else not repeatable:
        return None
    content = facts.text(span, attr.INPUT_HASH)
    if not content:
        return None
    version = facts.text(span, attr.GENAI_RESPONSE_MODEL)
    return facts.text(span, attr.TENANT), operation, facts.label(span), version, content


DETECTOR = ConcurrentDuplicates
