"""One policy's experiment as its runs come in: who was treated, and what each run took."""

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.statistics import Unit
from antiphon.runtime.policies.arms import Arm, arm_of, slice_of
from antiphon.runtime.policies.kinds import AGENT, HANDLERS
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding
from antiphon.schemas.policy import Arms, Level, Policy

KEEP = 4_000  # runs; the oldest give way
WASHOUT_MS = 2_000  # nodes hear of a change at different moments, and what was under way before it goes on

SCORE = f"{attr.LABEL}score"  # how good a run's result is, as whoever sent or scored it says: a number, more is better


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one run took. ``unit``: what was assigned with it. ``input_tokens``: of its first model call."""

    unit: str
    treated: bool
    failed: bool
    latency_s: float
    tokens: float
    model_s: float
    usd: float
    input_tokens: float
    score: float | None


@dataclass(slots=True, kw_only=True)
class LeftOut:
    """Runs that an experiment does not count, by reason."""

    near_change: int = 0  # began within 2 s of a change of the policy, or of a time slice
    unread: int = 0  # its root or its end is not on record
    mixed: int = 0  # parts of it were treated and others not


class Trial:
    """The runs that a policy is about, since its last change.

    Those are the runs that came in by the same handler as the finding's cohort and in which the policy's target came
    up, whether it was treated or not. The cohort's shape would not do: a remedy may change it.
    """

    def __init__(self, finding: Finding, policy: Policy) -> None:
        self.policy = policy
        self.left_out = LeftOut()
        self.runs = 0  # that counted or gave a comparison, those that gave way included
        self.compared = self.mismatches = 0  # results at level shadow
        self._entry = entry_of(finding)
        self._samples: OrderedDict[str, Sample] = OrderedDict()

    def see(self, trace: Trace) -> None:
        """Take a closed trace, if it belongs here."""
        policy = self.policy
        if policy.level is Level.SHADOW:
            self._compare(trace)
            return
        root = trace.steps[0]
        began_ms, ended_ms = root.start_ns // 1_000_000, trace.steps[trace.finish].end_ns // 1_000_000
        if trace.label != self._entry or began_ms < policy.since_unix_ms - WASHOUT_MS or not self._touches(trace):
            return
        if root.span.parent_id is not None or root.span.end_ns == 0 or trace.steps[trace.finish].span.end_ns == 0:
            self.left_out.unread += 1
        elif self._near_change(trace.run, began_ms):
            self.left_out.near_change += 1
        elif (arm := self._arm(trace, began_ms, ended_ms)) is None:
            self.left_out.mixed += 1
        elif arm is not Arm.OFF:
            self._keep(trace, arm is Arm.TREATED, began_ms)

    @property
    def samples(self) -> list[Sample]:
        """What counts, in order of arrival."""
        return list(self._samples.values())

    def _compare(self, trace: Trace) -> None:
        for step in trace.steps:
            equal = step.span.attributes.get(attr.SHADOW_EQUAL)
            if isinstance(equal, bool) and self.policy.id in _arms(step):
                self.runs += 1
                self.compared += 1
                self.mismatches += not equal

    def _touches(self, trace: Trace) -> bool:
        proposal = self.policy.proposal
        kind = proposal.action.kind
        for step in trace.steps:
            if kind == AGENT:
                if step.operation == facts.PROCESS and facts.text(step.span, attr.AGENT) == proposal.target:
                    return True
            elif step.label == proposal.target and (kind in HANDLERS or self._by_agent(trace, step)):
                return True
        return False

    def _by_agent(self, trace: Trace, step: Step) -> bool:
        agent = self.policy.proposal.agent
        if agent is None:
            return True
        owner = trace.owner(step.index)
        return owner is not None and facts.text(owner.span, attr.AGENT) == agent

    def _near_change(self, run: str, began_ms: int) -> bool:
        policy = self.policy
        if began_ms < policy.since_unix_ms + WASHOUT_MS:
            return True
        changed = arm_of(policy, run, began_ms - WASHOUT_MS) is not arm_of(policy, run, began_ms)
        return policy.arms is Arms.TIME and changed

    def _arm(self, trace: Trace, began_ms: int, ended_ms: int) -> Arm | None:
        """The run's arm; None if it mixes arms, by the clock or by what its spans say."""
        arm = arm_of(self.policy, trace.run, began_ms)
        if self.policy.arms is Arms.TIME and arm_of(self.policy, trace.run, ended_ms) is not arm:
            return None
        said = {_arms(step).get(self.policy.id, arm) for step in trace.steps}
        return arm if said == {arm} else None

    def _keep(self, trace: Trace, treated: bool, began_ms: int) -> None:
        policy = self.policy
        cost = cost_of(trace.steps)
        models = [step for step in trace.steps if step.operation == facts.MODEL]
        first = min(models, key=lambda step: step.start_ns, default=None)
        finish = trace.steps[trace.finish].span
        self._samples[trace.run] = Sample(
            unit=trace.run if policy.arms is Arms.RUN else str(slice_of(policy, began_ms)),
            treated=treated,
            failed=facts.ERROR in (finish.status, trace.steps[0].span.status),
            latency_s=trace.latency_ns / 1e9,
            tokens=cost.tokens,
            model_s=cost.model_s,
            usd=cost.usd,
            input_tokens=(facts.number(first.span, attr.GENAI_INPUT_TOKENS) or 0.0) if first is not None else 0.0,
            score=_score(trace),
        )
        self.runs += 1
        if len(self._samples) > KEEP:
            self._samples.popitem(last=False)


def entry_of(finding: Finding) -> str:
    """The handler by which the finding's runs come in: ``planner.plan`` of the cohort ``planner.plan#1f0c22ab``."""
    return finding.cohort.rpartition("#")[0] or finding.cohort


def units(samples: Sequence[Sample], metric: str) -> tuple[list[Unit], list[Unit]]:
    """Treated and control units of the runs that did not fail and have the metric; none where it is 0 for all."""
    if not any(getattr(sample, metric) for sample in samples):
        return [], []
    grouped: tuple[dict[str, list[tuple[float, float]]], ...] = ({}, {})
    for sample in samples:
        value = getattr(sample, metric)
        if not sample.failed and value is not None:
            grouped[not sample.treated].setdefault(sample.unit, []).append((value, sample.input_tokens))
    treated, control = (
        [Unit(values=tuple(y for y, _ in rows), covariates=tuple(x for _, x in rows)) for rows in arm.values()]
        for arm in grouped
    )
    return treated, control


def _arms(step: Step) -> dict[str, str]:
    """What the step's span says of each policy."""
    value = step.span.attributes.get(attr.POLICY_ARM)
    said = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    pairs = (item.partition("=") for item in said if isinstance(item, str))
    return {policy: arm for policy, _, arm in pairs}


def _score(trace: Trace) -> float | None:
    """The first score on record; labels are texts."""
    for step in trace.steps:
        said = step.span.attributes.get(SCORE)
        try:
            score = float(said) if isinstance(said, str | int | float) else math.nan
        except ValueError:
            continue
        if math.isfinite(score):
            return score
    return None
