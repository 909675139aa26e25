"""What a run may be given: the budgets that exist, and how they are said."""

import math
from collections.abc import Mapping
from typing import Final

from antiphon.runtime.errors import ConfigurationError

TOKENS: Final = "tokens"  # input and output of model calls
USD: Final = "usd"  # the price of model calls
STEPS: Final = "steps"  # operations of handlers: asks, calls, submits, models, tools, runs; not state, not events
WALL_S: Final = "wall_s"  # seconds from the run's beginning

_NAMES: Final = f"{TOKENS}, {USD}, {STEPS} or {WALL_S}"


def check_budget(budget: Mapping[str, float]) -> Mapping[str, float]:
    """The budget as numbers.

    Raises:
        ConfigurationError: a name that is no budget, or an amount that is not a finite number from 0.
    """
    for name, amount in budget.items():
        if name not in (TOKENS, USD, STEPS, WALL_S):
            raise ConfigurationError(f"there is no budget {name!r}, expected {_NAMES}")
        if not isinstance(amount, int | float) or not 0 <= amount < math.inf:
            raise ConfigurationError(f"budget {name} is {amount!r}, expected a finite number from 0")
    return {name: float(amount) for name, amount in budget.items()}


def parse_budget(text: str) -> Mapping[str, float]:
    """``"tokens=10000,usd=0.5"`` as a budget. Raises ConfigurationError, as ``check_budget``."""
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, amount = (piece.strip() for piece in part.partition("="))
        try:
            found[name] = float(amount)
        except ValueError:
            raise ConfigurationError(
                f"budget {part.strip()!r}: expected NAME=AMOUNT, such as tokens=10000,usd=0.5; a name is {_NAMES}"
            ) from None
    return check_budget(found)


def deadline_of(budget: Mapping[str, float], now_unix_ms: int) -> int | None:
    """When a run that begins now has used up its ``wall_s``, in unix ms; None: it has no such budget."""
    wall_s = budget.get(WALL_S)
    return None if wall_s is None else now_unix_ms + int(wall_s * 1000)
