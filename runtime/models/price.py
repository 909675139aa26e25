"""What a model call costs."""

from dataclasses import dataclass
from typing import Final

from antiphon.runtime.models.setting import LocalSetting, ModelSetting
from antiphon.schemas.inference import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """US dollars for a million tokens."""

    usd_per_million_input: float
    usd_per_million_output: float

    def usd(self, usage: Usage) -> float:
        """The price of one call. Tokens served from a cache cost as much as others."""
        input_usd = usage.input_tokens * self.usd_per_million_input
        return (input_usd + usage.output_tokens * self.usd_per_million_output) / 1e6


FREE: Final = Price(usd_per_million_input=0.0, usd_per_million_output=0.0)


def price_of(setting: ModelSetting) -> Price | None:
    """The model's price: nothing where this process runs it, None where the setting of a remote one names none."""
    if isinstance(setting, LocalSetting):
        return FREE
    if setting.usd_per_million_input is None or setting.usd_per_million_output is None:
        return None
    return Price(
        usd_per_million_input=setting.usd_per_million_input, usd_per_million_output=setting.usd_per_million_output
    )
