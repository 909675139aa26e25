"""The policies that apply to a tenant now: an immutable snapshot, made anew at every change."""

from collections.abc import Iterable
from types import MappingProxyType

from antiphon.runtime.policies.kinds import ORDER, rival
from antiphon.schemas.policy import Level, Policy

_RANK = {Level.ON: 0, Level.CANARY: 1, Level.SHADOW: 2}
_PLACE = {kind: place for place, kind in enumerate(ORDER)}


class PolicyTable:
    """Policies that do something, by what they are about.

    Of two that contradict each other (two nodes may have stored them at once) the one further up the ladder applies,
    then the one whose id comes first; the other is in ``refused``, beside it. So every node decides alike.
    """

    __slots__ = ("_labels", "_others", "operations", "policies", "refused")

    def __init__(self, policies: Iterable[Policy] = ()) -> None:
        active = [policy for policy in policies if policy.level is not Level.SUGGEST]
        kept: list[Policy] = []
        refused: list[tuple[Policy, Policy]] = []
        for policy in sorted(active, key=lambda policy: (_RANK[policy.level], policy.id)):
            winner = rival(policy, kept)
            if winner is None:
                kept.append(policy)
            else:
                refused.append((policy, winner))
        kept.sort(key=lambda policy: (_PLACE.get(policy.proposal.action.kind, 0), policy.id))
        labels: dict[str, tuple[Policy, ...]] = {}
        others: dict[tuple[str, str], tuple[Policy, ...]] = {}
        for policy in kept:
            kind, target = policy.proposal.action.kind, policy.proposal.target
            if kind in _PLACE:
                labels[target] = (*labels.get(target, ()), policy)
            others[kind, target] = (*others.get((kind, target), ()), policy)
        self.policies = tuple(kept)
        self.refused = tuple(refused)
        self.operations = bool(labels)
        """Whether some policy is about operations: the one thing that an operation looks at where none is."""
        self._labels = MappingProxyType(labels)
        self._others = MappingProxyType(others)

    def matching(self, label: str, agent: str) -> tuple[Policy, ...]:
        """Those about the operation ``label`` (``tool search``) of the agent's handlers, outermost first."""
        found = self._labels.get(label)
        return () if found is None else tuple(policy for policy in found if policy.proposal.agent in (None, agent))

    def find(self, kind: str, target: str, agent: str = "") -> Policy | None:
        """The policy of a kind about a target, for operations of ``agent``; the furthest up the ladder."""
        found = [policy for policy in self._others.get((kind, target), ()) if policy.proposal.agent in (None, agent)]
        return min(found, key=lambda policy: _RANK[policy.level], default=None)


EMPTY = PolicyTable()
