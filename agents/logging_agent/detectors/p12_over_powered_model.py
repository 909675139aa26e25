"""P12, over-powered model: a smaller model may give the same results.

What it is. An agent asks a large model for short or few different answers, such as a class or a route. A model that is
faster or cheaper is at work in the same deployment.

Evidence. `antiphon.result.sha256`, tokens, times and `antiphon.cost_usd` of the agent's model calls make it advice
(grade C), which proposes a `route` policy at level shadow. With that, or with a person's, `antiphon.shadow.equal` says
whether both models gave the same. It is grade B where at least 189 results were compared and the true share of equal
ones is 0.98 or more: the lower bound by Wilson, 95 %, two-sided.

Guards. At least 20 calls with different inputs. The results have at most 3 bits of entropy, or 95 % of them at most 16
tokens, and half of the prompts at most 2,048. All calls of the agent to the model count together, because the policy
would be about all. Shadow results that are not good enough take the recommendation back, however cheap the model is.

Remedy. Let the smaller model answer: a `route` policy, first at level shadow.

What stays unseen. Which model is better where the two differ. Free texts that mean the same in other words count as
different. The cache of the other model is taken to be as good as that of the present one, and to have room.
"""

import math
import random
import statistics
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.agreement import Agreement
from antiphon.agents.logging_agent.cases import REQUIRED_RUNS, Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.rivals import Rivals
from antiphon.agents.logging_agent.shorter import work_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.estimate import p95
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.time_law import Call, TimeLaw, call_of
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, QualityRisk, Remedy
from antiphon.schemas.policy import Proposal, Route
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p12"
REQUIRED_CALLS = 20
REQUIRED_COMPARED = 189
MIN_EQUAL = 0.98
MAX_BITS = 3.0
SHORT_TOKENS = 16
MAX_PROMPT_TOKENS = 2_048

_SITES = 256
_CALLS = 256  # of each site


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """What is known of one call of an agent's."""

    call: Call
    prompt: str
    result: str
    tokens: int


class _Site:
    """An agent's newest calls of one model. ``simple``: whether their results are few or short, on short inputs."""

    def __init__(self) -> None:
        self.calls: deque[_Asked] = deque(maxlen=_CALLS)
        self.smaller: str | None = None  # once proposed, it stays: shadow results are about it
        self.simple = False
        self._fresh = 0

    def add(self, asked: _Asked) -> None:
        """One more; all of them are looked at again when an eighth is new."""
        self.calls.append(asked)
        self._fresh += 1
        if 8 * self._fresh >= len(self.calls):
            self._fresh = 0
            self.simple = _is_simple(self.calls)


class OverPoweredModel:
    """Finds agents whose model calls look easy, and believes shadow results only. Grade C, with them B."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._rivals = Rivals()
        self._sites: Recent[tuple[str, str], _Site] = Recent(_SITES)  # by agent and model
        self._proposed: Recent[str, tuple[str, str]] = Recent(_SITES)  # by finding: agent and model
        self._tried: Recent[tuple[str, str], tuple[str, str]] = Recent(_SITES)  # by agent and smaller model
        self._compared: Recent[tuple[str, str], Agreement] = Recent(_SITES)  # by agent and model
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: whose call it is shows only in the trace."""

    def trace(self, observed: Observed) -> None:
        """Learn what models take and what agents ask of them, and what another model would have taken."""
        trace = observed.trace
        found: dict[tuple[str, str], list[Step]] = {}
        for step in trace.steps:
            self._note_shadow(step.span)
            asked = _asked(step)
            if asked is None:
                continue
            self._rivals.note(step, asked.call)
            owner = trace.owner(step.index)
            agent = "" if owner is None else facts.text(owner.span, attr.AGENT)
            if agent and asked.prompt and asked.result:
                self._sites.make((agent, step.label), _Site).add(asked)
                found.setdefault((agent, step.label), []).append(step)
        for key, steps in found.items():
            site = self._sites.make(key, _Site)
            if site.simple:
                self._note(observed, key, site, steps)

    def findings(self, now_ns: int) -> list[Finding]:
        """Calls that another model might answer, where that would matter."""
        found = [finding for case in self._cases.changed() if (finding := self._finding(case)) is not None]
        for finding in found:
            agent, _, model = finding.subject.partition(": ")
            self._proposed.put(finding.id, (agent, model))
            site = self._sites.get((agent, model))
            if site is not None and site.smaller is not None:
                self._tried.put((agent, site.smaller), (agent, model))
        return found

    def _note_shadow(self, span: SpanRecord) -> None:
        equal = span.attributes.get(attr.SHADOW_EQUAL)
        arms = facts.texts(span, attr.POLICY_ARM) or ()
        if not isinstance(equal, bool) or not any(arm.endswith("=shadow") for arm in arms):
            return
        findings = facts.texts(span, attr.FINDING_ID) or ()
        keys = [self._proposed.get(finding) for finding in findings]
        if not findings and not facts.operation(span):  # a person's policy; a comparison is no operation of its agent
            smaller = f"model {facts.text(span, attr.GENAI_REQUEST_MODEL)}"
            keys = [self._tried.get((facts.text(span, attr.AGENT), smaller))]
        for key in keys:
            if key is not None:
                self._compared.make(key, Agreement).note(equal)

    def _note(self, observed: Observed, key: tuple[str, str], site: _Site, steps: Sequence[Step]) -> None:
        agent, model = key
        if site.smaller is None:
            site.smaller = self._rivals.for_less(model, [asked.call for asked in site.calls])
        law = None if site.smaller is None else self._rivals.law(site.smaller)
        if site.smaller is None or law is None:
            return
        calls = [(step, call) for step in steps if (call := call_of(step)) is not None]
        gain = Gain(
            latency_s=_swapped(observed, calls, law),
            model_s=sum(call.service_s - law.service_s(call.uncached, call.output) for _, call in calls),
            usd=_cheaper(calls, self._rivals.usd_per_token(site.smaller)),
        )
        case = self._cases.touch(observed.cohort, f"{agent}: {model}", learning=True)
        case.gain(observed.trace.run, gain)
        case.witness(observed.trace.id, (step.id for step in steps), observed.trace.steps[0].end_ns)

    def _finding(self, case: Case) -> Finding | None:
        agent, _, model = case.subject.partition(": ")
        key = (agent, model)
        site = self._sites.get(key)
        if site is None or site.smaller is None:
            return None
        name = site.smaller.removeprefix("model ")
        agreement = self._compared.get(key) or Agreement()
        low, high = agreement.bounds()
        compared = agreement.compared
        proven = compared >= REQUIRED_COMPARED and low >= MIN_EQUAL
        says = f"{agreement.equal} of {compared} compared results were equal (at least {low:.1%} of all, 95 %)"
        if not compared:
            case.support, required = len(site.calls) if case.runs >= REQUIRED_RUNS else case.runs, REQUIRED_CALLS
            text = f"Answers of {model} to {agent} are few or short, and {name} is faster or cheaper: compare the two."
        else:
            case.support, required = compared, REQUIRED_COMPARED if proven else max(REQUIRED_COMPARED, compared + 1)
            text = f"Of {agent}'s calls of {model}, {says} with {name}: " + (
                f"let {name} answer." if proven else f"{MIN_EQUAL:.0%} of all is what it takes."
            )
        return case.finding(
            PATTERN,
            title=f"Over-powered model at {agent}",
            grade=Grade.B if proven else Grade.C,
            rng=self._rng,
            required=required,
            unit="compared calls" if compared else "calls",
            quality_risk=QualityRisk.LOW if proven else QualityRisk.NEEDS_EVALUATION,
            remedy=Remedy(
                text=text,
                proposal=Proposal(action=Route(model=name), target=model, agent=agent) if high >= MIN_EQUAL else None,
            ),
            assumptions=(
                f"{name} answers as well; what is known of that is said above.",
                f"{name} has room, and caches prompts as {model} does.",
                f"The time is that of its law, with the law's error of {_error(self._rivals.law(site.smaller)):.0%} "
                "either way.",
                BOUNDS,
            ),
        )


def _is_simple(calls: Sequence[_Asked]) -> bool:
    if 2 * len({asked.prompt for asked in calls}) < len(calls):
        return False  # one input again and again is another pattern
    if statistics.median(asked.tokens for asked in calls) > MAX_PROMPT_TOKENS:
        return False
    counts = Counter(asked.result for asked in calls)
    bits = -sum(n / len(calls) * math.log2(n / len(calls)) for n in counts.values())
    few = bits <= MAX_BITS and 2 * len(counts) <= len(calls)
    return few or p95([asked.call.output for asked in calls]) <= SHORT_TOKENS


def _asked(step: Step) -> _Asked | None:
    """A call that generated something; None for other work, and for calls that a policy had answered elsewhere."""
    call = call_of(step) if step.operation == facts.MODEL else None
    treated = any(arm.endswith("=treated") for arm in facts.texts(step.span, attr.POLICY_ARM) or ())
    if call is None or call.output < 1 or treated:
        return None
    return _Asked(
        call=call,
        prompt=facts.text(step.span, attr.INPUT_HASH),
        result=facts.text(step.span, attr.RESULT_HASH),
        tokens=facts.whole(step.span, attr.GENAI_INPUT_TOKENS) or 0,
    )


def _swapped(observed: Observed, calls: Sequence[tuple[Step, Call]], law: TimeLaw) -> tuple[float, float] | None:
    """Seconds that the run saves when the other model does its calls, as slow or as fast as the law's error allows."""
    run = observed.run
    if run is None:
        return None

    def served(program: Program, factor: float) -> Program:
        times = {
            run.first[work_of(observed.trace, step).index]: round(
                factor * law.service_s(call.uncached, call.output) * 1e9
            )
            for step, call in calls
        }
        return edits.swap_model(program, times, None)

    return observed.saved_s(served(run.cautious, 1 + law.error), served(run.program, max(1 - law.error, 0.0)))


def _cheaper(calls: Sequence[tuple[Step, Call]], usd_per_token: float | None) -> float | None:
    """What the calls cost less the same tokens at the other model's price; None where a price is missing."""
    saved = 0.0
    for step, call in calls:
        usd = facts.number(step.span, attr.COST_USD)
        if usd is None or usd_per_token is None:
            return None
        saved += usd - usd_per_token * ((facts.number(step.span, attr.GENAI_INPUT_TOKENS) or 0) + call.output)
    return saved


def _error(law: TimeLaw | None) -> float:
    return 0.0 if law is None else law.error


DETECTOR = OverPoweredModel
