"""One policy's experiment as its runs come in: who was treated, and what each run took."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field

from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.units import Sample, Unit
from antiphon.runtime.policies.arms import Arm, arm_of, slice_of
from antiphon.runtime.policies.kinds import AGENT, HANDLERS
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding
from antiphon.schemas.policy import Arms, Level, Policy

KEEP = 2_000  # units, 1.5 KB each; the oldest give way
SCORED = 10_000  # newest runs that a score may still be about
WASHOUT_MS = 2_000  # nodes hear of a change at different moments, and what was under way before it goes on

LABELLED = "score"  # the label, and the score's name, by which whoever sends a run says how good its result is


@dataclass(slots=True, kw_only=True)
class LeftOut:
    """Runs that an experiment does not count, by reason."""

    near_change: int = 0  # began within 2 s of a change of the policy, or of a time slice
    unread: int = 0  # its root is not on record
    mixed: int = 0  # parts of it were treated and others not


@dataclass(frozen=True, slots=True)
class _Counted:
    unit: str
    scores: dict[str, float] = field(default_factory=dict)


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
        self._units: OrderedDict[str, Unit] = OrderedDict()
        self._counted: Recent[str, _Counted] = Recent(SCORED)

    def see(self, trace: Trace) -> None:
        """Take a closed trace, if it belongs here."""
        policy = self.policy
        if policy.level is Level.SHADOW:
            self._compare(trace)
            return
        root, finish = trace.steps[0], trace.steps[trace.finish]
        began_ms = root.start_ns // 1_000_000
        if trace.label != self._entry or began_ms < policy.since_unix_ms - WASHOUT_MS or not self._touches(trace):
            return
        has_ended = root.span.end_ns != 0 and finish.span.end_ns != 0
        ended_ms = finish.end_ns // 1_000_000 if has_ended else began_ms
        if root.span.parent_id is not None:
            self.left_out.unread += 1
        elif self._near_change(trace.run, began_ms):
            self.left_out.near_change += 1
        elif (arm := self._arm(trace, began_ms, ended_ms)) is None:
            self.left_out.mixed += 1
        elif arm is not Arm.OFF:
            self._keep(trace, arm is Arm.TREATED, began_ms, has_ended=has_ended)

    def scored(self, run: str, scores: Mapping[str, float]) -> None:
        """What a run's result is worth, by name; a later score of a name replaces it. Runs that failed have none."""
        counted = self._counted.get(run)
        unit = None if counted is None else self._units.get(counted.unit)
        if counted is None or unit is None:
            return
        for name, value in scores.items():
            unit.score(name, value, counted.scores.get(name))
            counted.scores[name] = value

    @property
    def units(self) -> list[Unit]:
        """What counts, in order of arrival. Where all are treated each run is one."""
        return list(self._units.values())

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

    def _keep(self, trace: Trace, treated: bool, began_ms: int, *, has_ended: bool) -> None:
        """A run that never ended has failed: its remedy may be what holds it up."""
        cost = cost_of(trace.steps)
        models = [step for step in trace.steps if step.operation == facts.MODEL]
        first = min(models, key=lambda step: step.start_ns, default=None)
        sample = Sample(
            run=trace.run,
            failed=not has_ended or facts.ERROR in (trace.steps[trace.finish].span.status, trace.steps[0].span.status),
            latency_s=trace.latency_ns / 1e9,
            tokens=cost.tokens,
            model_s=cost.model_s,
            usd=cost.usd,
            input_tokens=(facts.number(first.span, attr.GENAI_INPUT_TOKENS) or 0.0) if first is not None else 0.0,
        )
        policy = self.policy
        is_sliced = policy.arms is Arms.TIME and policy.level is Level.CANARY
        key = str(slice_of(policy, began_ms)) if is_sliced else trace.run
        self._units.setdefault(key, Unit(treated)).add(sample)
        self.runs += 1
        if len(self._units) > KEEP:
            self._units.popitem(last=False)
        if not sample.failed:
            self._counted.put(trace.run, _Counted(key))
            said = _score(trace)
            self.scored(trace.run, {} if said is None else {LABELLED: said})


def entry_of(finding: Finding) -> str:
    """The handler by which the finding's runs come in: ``planner.plan`` of the cohort ``planner.plan#1f0c22ab``."""
    return finding.cohort.rpartition("#")[0] or finding.cohort


def _arms(step: Step) -> dict[str, str]:
    """What the step's span says of each policy."""
    value = step.span.attributes.get(attr.POLICY_ARM)
    said = [value] if isinstance(value, str) else value if isinstance(value, list | tuple) else []
    pairs = (item.partition("=") for item in said if isinstance(item, str))
    return {policy: arm for policy, _, arm in pairs}


def _score(trace: Trace) -> float | None:
    """The first label of that name; labels are texts."""
    for step in trace.steps:
        said = step.span.attributes.get(attr.LABEL + LABELLED)
        try:
            score = float(said) if isinstance(said, str | int | float) else math.nan
        except ValueError:
            continue
        if math.isfinite(score):
            return score
    return None
