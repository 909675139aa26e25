"""What a run has used of its budgets: pure sums, the same on every node."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

Amounts = Mapping[str, float]


class Shortage(NamedTuple):
    """A budget that does not suffice: ``used`` (reservations included) and ``wanted`` come to more than ``limit``."""

    budget: str
    limit: float
    used: float
    wanted: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The amounts a run has ``spent``, and those ``held`` for operations under way, by operation.

    A hold of the same operation replaces its older one: work that a killed node began is not counted twice when
    another node begins it anew. ``outlived``: detached work or an event goes on after the run's root has ended.
    """

    spent: Amounts = field(default_factory=dict)
    held: Mapping[str, Amounts] = field(default_factory=dict)
    outlived: bool = False

    def used(self, budget: str) -> float:
        """Spent and held of one budget."""
        return self.spent.get(budget, 0.0) + sum(amounts.get(budget, 0.0) for amounts in self.held.values())

    def shortage(self, limits: Amounts, wanted: Amounts, operation: str = "") -> Shortage | None:
        """The first budget that ``wanted`` would overrun, or None. A hold of ``operation`` itself does not count."""
        own = self.held.get(operation, {})
        for budget, amount in wanted.items():
            used = self.used(budget) - own.get(budget, 0.0)
            if not used + amount <= limits[budget]:  # so that a limit that is no number refuses
                return Shortage(budget, limits[budget], used, amount)
        return None

    def spend(self, amounts: Amounts) -> "Account":
        """The account after ``amounts`` more."""
        return replace(self, spent=_sum(self.spent, amounts))

    def hold(self, operation: str, amounts: Amounts) -> "Account":
        """The account while ``operation`` may use up to ``amounts``."""
        return replace(self, held={**self.held, operation: amounts})

    def settle(self, operation: str, amounts: Amounts) -> "Account":
        """The account after ``operation`` used ``amounts``; its hold is gone."""
        held = {name: found for name, found in self.held.items() if name != operation}
        return replace(self, spent=_sum(self.spent, amounts), held=held)

    def lasting(self) -> "Account":
        """The account of a run that goes on after its root has ended."""
        return replace(self, outlived=True)


def _sum(spent: Amounts, amounts: Amounts) -> Amounts:
    return {**spent, **{budget: spent.get(budget, 0.0) + amount for budget, amount in amounts.items()}}
