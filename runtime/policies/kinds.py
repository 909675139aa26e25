"""The kinds of policies: what each may be about, in which order they act, and what of the ladder they can climb."""

from collections.abc import Iterable
from typing import Final

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.policies.chain import OperationKind
from antiphon.schemas.identity import Address, InvalidName, check_name
from antiphon.schemas.policy import Arms, Level, Policy, Proposal

_ASK, _CALL, _MODEL = OperationKind.ASK, OperationKind.CALL, OperationKind.MODEL
_TOOL, _RUN = OperationKind.TOOL, OperationKind.RUN

ABOUT: Final = {
    "cache": (_TOOL, _MODEL),
    "single_flight": (_TOOL, _MODEL),
    "batch": (_TOOL, _MODEL),
    "timeout": (_ASK, _CALL, _TOOL, _RUN, _MODEL),
    "hedge": (_ASK, _TOOL, _MODEL),
    "retry": (_ASK, _CALL, _TOOL, _RUN, _MODEL),
    "route": (_MODEL,),
    "affinity": (_MODEL,),
    "priority": (_MODEL,),
}
"""Kinds that are about operations, and of which ones. Outermost first: what is answered from a cache is not sent, what
is sent is timed, and every attempt of a retry is routed and has its priority."""

ORDER: Final = tuple(ABOUT)
ONCE: Final = ("cache", "single_flight", "hedge")  # run an operation less or more often than asked
AGENT: Final = "concurrency"  # its target is an agent
HANDLERS: Final = ("quorum", "parallelise")  # their target is the handler that gathers
SHADOWS: Final = ("cache", "single_flight", "route")  # both ways give a result, and the results can be compared
KINDS: Final = (*ABOUT, AGENT, *HANDLERS)


def check_policy(policy: Policy) -> None:
    """What one policy must be by itself, whatever agents there are.

    Raises:
        ConfigurationError: a target that its kind is not about, or a level that it cannot have.
    """
    proposal = policy.proposal
    kind = proposal.action.kind
    _check_target(policy.id, proposal)
    if policy.level is Level.SHADOW and kind not in SHADOWS:
        raise ConfigurationError(
            f"policy {policy.id!r}: {kind} cannot be at level shadow, because it gives no second result to compare "
            f"({', '.join(SHADOWS)} can): use level canary"
        )
    if kind == AGENT and proposal.agent is not None:
        raise ConfigurationError(
            f"policy {policy.id!r}: {kind} is about the slots of {proposal.target!r}, whoever asks: leave out "
            f"the agent {proposal.agent!r}"
        )
    if kind == AGENT and policy.level is Level.CANARY and policy.arms is not Arms.TIME:
        raise ConfigurationError(
            f"policy {policy.id!r}: all runs share an agent's slots, so {kind} at level canary has no arms by run: use "
            "arms time"
        )


def possible(proposal: Proposal) -> bool:
    """Whether there can be a policy that does this."""
    try:
        _check_target("", proposal)
    except ConfigurationError:
        return False
    return True


def _check_target(id: str, proposal: Proposal) -> None:
    kind, target = proposal.action.kind, proposal.target
    try:
        if kind == AGENT:
            check_name("agent", target)
            return
        if kind in HANDLERS:
            Address.parse(target)
            return
    except InvalidName as error:
        expected = "an agent" if kind == AGENT else "a handler, such as editor.review"
        raise ConfigurationError(f"policy {id!r}: {kind} is about {expected}: {error}") from None
    verb, _, name = target.partition(" ")
    if verb not in ABOUT[kind] or not name:
        raise ConfigurationError(
            f"policy {id!r}: {kind} is about {' or '.join(f'{each} NAME' for each in ABOUT[kind])}, not {target!r}"
        )
    if verb in (_ASK, _CALL):
        try:
            Address.parse(name)
        except InvalidName as error:
            raise ConfigurationError(f"policy {id!r}: {target!r} names no handler: {error}") from None


def rival(policy: Policy, others: Iterable[Policy]) -> Policy | None:
    """The first of the others that changes what ``policy`` changes; both must be at level canary or on."""
    return next((other for other in others if _contradicts(policy, other)), None)


def _contradicts(one: Policy, other: Policy) -> bool:
    mine, theirs = one.proposal, other.proposal
    return (
        one.id != other.id
        and all(each.level in (Level.CANARY, Level.ON) for each in (one, other))
        and (mine.action.kind, mine.target) == (theirs.action.kind, theirs.target)
        and (None in (mine.agent, theirs.agent) or mine.agent == theirs.agent)
    )


def contradicting(one: Policy, other: Policy) -> ConfigurationError:
    """The error for two that contradict each other."""
    return ConfigurationError(
        f"policies {one.id!r} and {other.id!r} both change {one.proposal.action.kind} of {one.proposal.target!r}: "
        "remove one, or set it to level suggest"
    )
