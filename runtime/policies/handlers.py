"""Policies about a handler: how its groups and the steps that it declares go, and how often it is tried."""

from typing import TYPE_CHECKING

from antiphon.runtime.policies.arms import Arm, arm_of
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.telemetry.span import LightSpan
from antiphon.schemas.identity import Address
from antiphon.schemas.policy import Action, Parallelise, Quorum, Retry

if TYPE_CHECKING:
    from antiphon.runtime.host import Host


def steps_at_once(host: "Host", handler: Address, run: str) -> int:
    """How many steps of ``ctx.each`` may run at a time in this run of the handler."""
    action = _treating(host, "parallelise", handler, run)
    return action.most if isinstance(action, Parallelise) else 1


def successes_needed(host: "Host", handler: Address, run: str) -> int | None:
    """After how many successes the handler's groups may go on in this run; None: as the code says."""
    action = _treating(host, "quorum", handler, run)
    return action.needed if isinstance(action, Quorum) else None


def attempts_of_call(host: "Host", handler: Address, run: str) -> int | None:
    """How often a call of the handler is tried in this run where it fails; None: as its agent says.

    The arm is on the caller's span.
    """
    policy = host.policies.table.find("retry", f"call {handler}")
    if policy is None or arm_of(policy, run, host.clock.unix_ns() // 1_000_000) is not Arm.TREATED:
        return None
    action = policy.proposal.action
    return action.attempts if isinstance(action, Retry) else None


def _treating(host: "Host", kind: str, handler: Address, run: str) -> Action | None:
    """What the policy of a kind does to this run; the arm of one that leaves it as it was is noted too."""
    policy = host.policies.table.find(kind, str(handler), handler.agent)
    if policy is None:
        return None
    arm = arm_of(policy, run, host.clock.unix_ns() // 1_000_000)
    span = host.telemetry.tracer.current()  # the handler's: no operation is under way
    if isinstance(span, LightSpan):
        _note(span, names.POLICY_ARM, f"{policy.id}={arm}")
        if policy.finding is not None:
            _note(span, names.FINDING_ID, policy.finding)
    return policy.proposal.action if arm is Arm.TREATED else None


def _note(span: LightSpan, attribute: str, value: str) -> None:
    known = span.attribute(attribute) or ()
    if value not in known:
        span.set_attribute(attribute, [*known, value])
