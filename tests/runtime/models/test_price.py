"""What a model call costs, by the settings."""

import pytest
from pydantic import ValidationError

from antiphon.runtime.models.price import FREE, Price, price_of
from antiphon.runtime.models.setting import BusSetting, LocalSetting, OpenAISetting
from antiphon.schemas.inference import Usage


def test_a_call_costs_its_tokens() -> None:
    """Input and output each at their own price for a million."""
    price = Price(usd_per_million_input=3.0, usd_per_million_output=15.0)
    assert price.usd(Usage(input_tokens=2_000, output_tokens=100)) == pytest.approx(0.0075)


def test_the_settings_say_the_price() -> None:
    """A local model costs nothing; a remote one what its table says, or nobody knows."""
    priced = OpenAISetting(base_url="http://h/v1", model="m", usd_per_million_input=0.15, usd_per_million_output=0.6)
    assert price_of(priced) == Price(usd_per_million_input=0.15, usd_per_million_output=0.6)
    assert price_of(LocalSetting(path="smollm2-135m")) is FREE
    assert price_of(BusSetting()) is None
    assert price_of(BusSetting(usd_per_million_input=0, usd_per_million_output=0)) == FREE


@pytest.mark.parametrize("input_usd", [1.0, -1.0, float("inf")])
def test_half_a_price_and_an_impossible_one_are_refused(input_usd: float) -> None:
    """When the settings are read, so that no call is counted wrongly later."""
    with pytest.raises(ValidationError, match=r"or neither|greater than|finite"):
        BusSetting(usd_per_million_input=input_usd)
