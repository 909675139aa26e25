"""Whether there is what a policy is about: agents, handlers and tools, by what the directory knows."""

from collections.abc import Iterable, Sequence

from antiphon.runtime.errors import ConfigurationError, UnknownAgent, UnknownHandler
from antiphon.runtime.policies.chain import OperationKind
from antiphon.runtime.policies.kinds import AGENT, HANDLERS, ONCE, check_policy, contradicting, rival
from antiphon.schemas.identity import Address
from antiphon.schemas.node import AgentCard
from antiphon.schemas.policy import Policy
from antiphon.schemas.task import Effect


def check_given(policies: Sequence[Policy], cards: Sequence[AgentCard]) -> None:
    """Policies that a system's code gives: each by itself, against its agents' cards, and all together.

    Raises:
        ConfigurationError: one that cannot be, two of one id, or two that contradict each other.
        UnknownAgent, UnknownHandler: as ``check_known``; peers that are asked or called may live elsewhere.
    """
    for policy in policies:
        check_policy(policy)
        check_known(policy, cards, peers=False)
    ids = [policy.id for policy in policies]
    twice = sorted({id for id in ids if ids.count(id) > 1})
    if twice:
        raise ConfigurationError(f"two policies have the id {twice[0]!r}: rename one")
    for index, policy in enumerate(policies):
        other = rival(policy, policies[index + 1 :])
        if other is not None:
            raise contradicting(policy, other)


def check_known(policy: Policy, cards: Sequence[AgentCard], *, peers: bool = True) -> None:
    """That agents of these cards have what the policy is about. Models are not looked at: each node has its own.

    Without ``peers`` the handlers that are asked or called are not looked at either.

    Raises:
        UnknownAgent, UnknownHandler: nobody has ever served it; names what there is.
        ConfigurationError: a tool that nobody has, or whose declared effect rules the policy out.
    """
    proposal = policy.proposal
    if proposal.agent is not None:
        _agent(policy, proposal.agent, cards)
    kind = proposal.action.kind
    if kind == AGENT:
        _agent(policy, proposal.target, cards)
        return
    if kind in HANDLERS:
        _handler(policy, Address.parse(proposal.target), cards)
        return
    verb, _, name = proposal.target.partition(" ")
    if verb in (OperationKind.ASK, OperationKind.CALL):
        if peers:
            _handler(policy, Address.parse(name), cards)
        _asked(policy, Address.parse(name), cards)
    elif verb == OperationKind.TOOL:
        _tool(policy, name, [card for card in cards if proposal.agent in (None, card.name)])


def _agent(policy: Policy, name: str, cards: Sequence[AgentCard]) -> None:
    if not any(card.name == name for card in cards):
        raise UnknownAgent(
            f"policy {policy.id!r}: no agent {name!r} (known: {_listed(card.name for card in cards)}): check the name, "
            "or start it with `antiphon run`",
            agent=name,
        )


def _handler(policy: Policy, address: Address, cards: Sequence[AgentCard]) -> None:
    _agent(policy, address.agent, cards)
    known = {handler.name for card in cards if card.name == address.agent for handler in card.handlers}
    if address.handler not in known:
        raise UnknownHandler(
            f"policy {policy.id!r}: agent {address.agent!r} has no handler {address.handler!r} (it has: "
            f"{_listed(known)})",
            agent=address.agent,
            handler=address.handler,
        )


def _asked(policy: Policy, address: Address, cards: Sequence[AgentCard]) -> None:
    kind = policy.proposal.action.kind
    mine = [each for card in cards if card.name == address.agent for each in card.handlers]
    found = [handler.effect for handler in mine if handler.name == address.handler]
    if kind in ONCE and found and all(effect is Effect.WRITE for effect in found):
        raise ConfigurationError(
            f"policy {policy.id!r}: {address} may write, so {kind} must not touch it: declare "
            "@agent.handles(effect='read') if nothing that a message causes changes anything"
        )


def _tool(policy: Policy, name: str, cards: Sequence[AgentCard]) -> None:
    tools = [tool for card in cards for tool in card.tools]
    mine = [tool for tool in tools if tool.name == name]
    if not mine:
        owner = f"agent {policy.proposal.agent!r}" if policy.proposal.agent else "no agent"
        raise ConfigurationError(
            f"policy {policy.id!r}: {owner} has {'no' if policy.proposal.agent else 'a'} tool {name!r} (known: "
            f"{_listed(tool.name for tool in tools)}): check the name, or start its agent with `antiphon run`"
        )
    kind = policy.proposal.action.kind
    if kind in ONCE and all(tool.effect is Effect.WRITE for tool in mine):
        raise ConfigurationError(
            f"policy {policy.id!r}: tool {name!r} writes, so {kind} must not touch it: declare effect='read' or 'pure' "
            "if it changes nothing"
        )
    if kind in ("cache", "single_flight") and all(tool.effect is Effect.READ and tool.ttl_s is None for tool in mine):
        raise ConfigurationError(
            f"policy {policy.id!r}: tool {name!r} reads and declares no ttl, so nobody knows how long a result stays "
            "good: declare ttl=, or effect='pure' if it is a function of its input"
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none"
