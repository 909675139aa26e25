"""P14, retry or timeout misfit: callers give up before the answer is there, or ask again at two layers at once.

What it is. A caller waits less than the callee needs in one of a hundred cases, gives up, and asks again; the callee
finishes the first request for nobody. Or a call is tried again by a caller, or by the runtime because it is durable,
though its callee has already tried in vain, so that the attempts of two layers multiply while something is overloaded.

Evidence. `antiphon.timeout_s` on the call; the callee's span, which ends well, but after the call; further calls of
equal `antiphon.input.sha256`, `antiphon.retry` events, or the attempts of a durable call's task; how long the callee
takes, waiting included, over all its requests. Grade B.

Guards. The call failed when its time was up, not before, and was made again. Work of a callee on another node must
have ended 100 ms after its caller gave up, because two clocks may be that far apart. A callee that failed, or was
stopped with its caller, is no orphan: then the timeout is a deadline and works. The timeout lies below the callee's
99th percentile over 20 requests or more, and the proposed one suffices for the request. Retries of one layer are left
alone; those of an outer one count only where they hardly ever help, after the inner ones have failed.

Remedy. A `timeout` policy at the callee's 99.5th percentile. Of two layers that try again, one attempt at the outer
one: a `retry` policy where its attempts are those of a durable call that a task made, else advice, because no policy
stops what code or another policy tries again.

What stays unseen. Work that outlives its caller without a span of its own, such as a thread or a remote tool. Calls
that never end: with a longer timeout they are waited for longer. Answers too late for an attempt that a policy repeated
within one call.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.attempts import CALLS, Orphan, Request, orphan, requests
from antiphon.agents.logging_agent.cases import Case, Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.steps import gain_of, tasks_of
from antiphon.runtime.store.sketch import Sketch
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Proposal, Retry, Timeout
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p14"
MIN_REQUESTS = 20  # served, before a callee's percentiles are trusted
SHORT = 0.99  # a timeout above this quantile fits
PROPOSED = 0.995
MARGIN = 1.05  # on the proposed timeout: quantiles are right to 2 %
MAX_TIMEOUT_S = 3_600.0
MAX_HELP = 0.05  # share of exhausted requests that an outer retry mended

_CALLEES = 512
_LAYERS = 512

Found = dict[str, list[tuple[Orphan | None, Request]]]  # by label; without orphan: an outer layer's repeats


@dataclass(slots=True)
class _Layer:
    """Since a call was first repeated: how often it was asked for and made, how often that came on top of an inner
    layer's failed repeats, and how often it helped then."""

    requests: int = 0
    attempts: int = 0
    exhausted: int = 0
    mended: int = 0


@dataclass(frozen=True, slots=True)
class _Misfit:
    """What to do about a case, and why."""

    proposal: Proposal | None
    text: str
    assumption: str


class RetryOrTimeout:
    """Finds answers that came too late for their callers, and retries of retries. Grade B."""

    streams: ClassVar[frozenset[str]] = frozenset({facts.PROCESS})

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._took_ns: Recent[str, Sketch] = Recent(_CALLEES)
        self._layers: Recent[str, _Layer] = Recent(_LAYERS)
        self._misfits: Recent[tuple[str, str], _Misfit] = Recent(_LAYERS)
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Count how long the callee took, from when it was sent the request."""
        if span.end_ns == 0 or span.status == facts.ERROR:
            return
        sent_ns = facts.whole(span, attr.QUEUE_ENTER_NS)
        begin_ns = span.start_ns if sent_ns is None else min(sent_ns, span.start_ns)
        self._took_ns.make(facts.label(span), Sketch).add(max(span.end_ns - begin_ns, 1))

    def trace(self, observed: Observed) -> None:
        """Look for requests that were made more than once."""
        trace = observed.trace
        found: Found = {}
        exhausted: set[int] = set()  # handlers below which retries have failed
        for handler in reversed(self._troubled(trace.steps)):  # inner layers first
            for request in requests(trace, handler):
                self._count(trace, request, exhausted, found)
                if request.attempts > 1 and request.failed:
                    exhausted.add(handler.index)
        for label, wasted in found.items():
            self._note(observed, label, wasted)

    def findings(self, now_ns: int) -> list[Finding]:
        """Misfits whose mending would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _troubled(self, steps: Sequence[Step]) -> list[Step]:
        """The handlers some of whose calls failed or were retried; requests of the others are counted here."""
        calls = [step for step in steps if step.operation in CALLS and step.parent is not None]
        found = {
            step.parent
            for step in calls
            if step.span.status == facts.ERROR
            or step.span.events
            or (step.operation == facts.CALL and len(step.children) > 1)
        }
        for call in calls if len(self._layers) else ():
            layer = self._layers.get(call.label) if call.parent not in found else None
            if layer is not None:
                layer.requests += 1
                layer.attempts += 1
        return [steps[index] for index in sorted(i for i in found if i is not None)]

    def _count(self, trace: Trace, request: Request, exhausted: set[int], found: Found) -> None:
        label = request.calls[0].label
        layer = self._layers.get(label) if request.attempts == 1 else self._layers.make(label, _Layer)
        if layer is None:
            return
        layer.requests += 1
        layer.attempts += request.attempts
        if request.attempts == 1:
            return
        late = orphan(trace, request)
        if late is not None:
            found.setdefault(label, []).append((late, request))
        elif any(i in exhausted for call in request.calls for i in call.children):
            layer.exhausted += 1
            layer.mended += not request.failed
            if request.failed:
                found.setdefault(label, []).append((None, request))

    def _note(self, observed: Observed, label: str, wasted: list[tuple[Orphan | None, Request]]) -> None:
        run, trace = observed.run, observed.trace
        late = [one for one, _ in wasted if one is not None]
        misfit = self._timeout(label, late) if late else self._retry(label, [request for _, request in wasted])
        if run is None or misfit is None:
            return
        repeats = [step for one, request in wasted for step in (one.repeats if one else request.repeats(trace))]
        removed = [below for step in repeats for below in trace.below(step.index)]
        longer_ns = {run.last[one.served.index]: one.late_ns for one in late}  # its handler works on, in its slot

        def mended(program: Program) -> Program:
            return edits.remove(edits.prolong(program, longer_ns), tasks_of(run, removed))

        case = self._cases.touch(observed.cohort, label)
        gain = gain_of(removed, observed.saved_s(mended(run.cautious), mended(run.program)))
        case.support += case.gain(trace.run, gain)
        spans = [step.id for one in late for step in (one.call, one.served)] + [step.id for step in repeats]
        case.witness(trace.id, spans, trace.steps[0].end_ns)
        self._misfits.put((observed.cohort.key, label), misfit)

    def _timeout(self, label: str, late: list[Orphan]) -> _Misfit | None:
        """A timeout that suffices; None where the callee is little known, or the present one fits it."""
        callee = late[0].served.label
        took = self._took_ns.get(callee)
        if took is None or sum(took.counts.values()) < MIN_REQUESTS:
            return None
        allowed_s = max(facts.number(one.call.span, attr.TIMEOUT_S) or 0.0 for one in late)
        needed_s = max(one.call.duration_ns + one.late_ns for one in late) / 1e9
        proposed_s = min(MARGIN * took.quantile(PROPOSED) / 1e9, MAX_TIMEOUT_S)
        if allowed_s >= took.quantile(SHORT) / 1e9 or needed_s > proposed_s:
            return None
        return _Misfit(
            Proposal(action=Timeout(timeout_s=round(proposed_s, 3)), target=label),
            f"{callee} finishes after its callers gave up at {allowed_s:.3g} s and asked again: 1 of 200 requests "
            f"takes over {took.quantile(PROPOSED) / 1e9:.3g} s. Wait {proposed_s:.3g} s.",
            f"Calls that never end are waited for {proposed_s:.3g} s.",
        )

    def _retry(self, label: str, wasted: list[Request]) -> _Misfit | None:
        """One layer less; None where the outer retries mended what the inner ones could not."""
        layer = self._layers.get(label)
        if layer is None or layer.mended > MAX_HELP * layer.exhausted:
            return None
        return _Misfit(
            Proposal(action=Retry(attempts=1), target=label)
            if all(request.may_be_fewer for request in wasted)
            else None,
            f"{label} is tried again though its callee has tried before ({layer.attempts / layer.requests:.2g} "
            f"attempts a request here, {layer.mended} of {layer.exhausted} mended): try again at one layer only.",
            "A request that fails at the inner layer would fail again.",
        )

    def _finding(self, case: Case) -> Finding | None:
        misfit = self._misfits.get((case.cohort.key, case.subject))
        if misfit is None:
            return None
        return case.finding(
            PATTERN,
            title=f"Retry or timeout misfit at {case.subject}",
            grade=Grade.B,
            rng=self._rng,
            remedy=Remedy(text=misfit.text, proposal=misfit.proposal),
            assumptions=(misfit.assumption, BOUNDS),
        )


DETECTOR = RetryOrTimeout
