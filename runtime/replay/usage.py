"""What recorded and live model calls used."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from antiphon.runtime.models.price import Price
from antiphon.runtime.replay.record import RecordedRun, RecordedTask
from antiphon.schemas.inference import Usage
from antiphon.schemas.journal import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """Of model calls: how many, their tokens, and US dollars, None where a price is unknown."""

    calls: int = 0
    tokens: int = 0
    usd: float | None = 0.0

    def __add__(self, other: "Used") -> "Used":
        usd = None if self.usd is None or other.usd is None else self.usd + other.usd
        return Used(calls=self.calls + other.calls, tokens=self.tokens + other.tokens, usd=usd)


def used_by(usage: Usage, price: Price | None) -> Used:
    """One call."""
    usd = None if price is None else price.usd(usage)
    return Used(calls=1, tokens=usage.input_tokens + usage.output_tokens, usd=usd)


def used_in(entries: Iterable[Entry], price: Callable[[str], Price | None]) -> Used:
    """The recorded model calls among ``entries``; one that failed used what nobody knows."""
    total = Used()
    for entry in entries:
        if entry.operation == "model" and entry.value:
            reply = msgspec.json.decode(entry.value)
            found = reply.get("usage") or reply.get("finish", {}).get("usage", {})
            total += used_by(Usage.model_validate(found), price(entry.target))
    return total


def used_below(run: RecordedRun, task: RecordedTask, price: Callable[[str], Price | None]) -> Used:
    """What the task and all that it called used; not what peers did in asks, which no journal has."""
    total = Used()
    for each in run.below(task):
        total += used_in(each.operations.values(), price)
    return total
