"""The models of a deployment: what their calls take and cost, and which of them would do others' calls for less."""

from collections import OrderedDict
from collections.abc import Sequence

from antiphon.agents.logging_agent.laws import Laws, asked_for
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.time_law import Call, TimeLaw
from antiphon.runtime.whatif.trace import Step

WORTH = 0.8  # of the time or the price, at most: less is not worth another model

_MODELS = 32


class _Price:
    """What a model's tokens cost, on average."""

    __slots__ = ("tokens", "usd")

    def __init__(self) -> None:
        self.usd = self.tokens = 0.0


class Rivals:
    """Models by label (``model small``), those called last."""

    def __init__(self) -> None:
        self._laws = Laws(by=asked_for)
        self._prices: OrderedDict[str, _Price] = OrderedDict()

    def note(self, step: Step, call: Call) -> None:
        """Learn from a call of a model that generates."""
        self._laws.note(step)
        price = self._prices.setdefault(step.label, _Price())
        self._prices.move_to_end(step.label)
        if len(self._prices) > _MODELS:
            self._prices.popitem(last=False)
        usd = facts.number(step.span, attr.COST_USD)
        if usd is not None:
            price.usd += min(usd, 1e6)
            price.tokens += (facts.number(step.span, attr.GENAI_INPUT_TOKENS) or 0) + call.output

    def law(self, model: str) -> TimeLaw | None:
        """How long the model's calls take; None while too few are known."""
        return self._laws.of(model)

    def usd_per_token(self, model: str) -> float | None:
        """None where no price is on record."""
        price = self._prices.get(model)
        return price.usd / price.tokens if price is not None and price.tokens else None

    def for_less(self, model: str, calls: Sequence[Call]) -> str | None:
        """The fastest at these calls of the models that are much faster or much cheaper, and neither slower nor dearer.

        A price that is not known is taken as equal.
        """
        own = self.law(model)
        if own is None:
            return None
        took_s = _all_s(own, calls)
        found: dict[str, float] = {}
        for other in self._prices:
            law = self.law(other)
            if other == model or law is None:
                continue
            takes_s, price = _all_s(law, calls), self._relative_price(other, model)
            if takes_s <= took_s and price <= 1 and (takes_s <= WORTH * took_s or price <= WORTH):
                found[other] = takes_s
        return min(found, key=found.__getitem__, default=None)

    def _relative_price(self, other: str, model: str) -> float:
        theirs, ours = self.usd_per_token(other), self.usd_per_token(model)
        if theirs is None or ours is None or theirs == ours:
            return 1.0
        return theirs / ours if ours else float("inf")


def _all_s(law: TimeLaw, calls: Sequence[Call]) -> float:
    return sum(law.service_s(call.uncached, call.output) for call in calls)
