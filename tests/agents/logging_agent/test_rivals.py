"""Which model would do another's calls for less."""

from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.rivals import Rivals
from antiphon.runtime.whatif.time_law import Call, call_of
from antiphon.runtime.whatif.trace import build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

ASKED = [Call(uncached=500, output=5, prefill_s=None, decode_s=1.0)]


def known(traced: "type[Traced]", **models: tuple[float, float | None]) -> Rivals:
    """Twelve calls of each model, which takes so many ms a token of input and costs so much a call of 500 to 611."""
    rivals = Rivals()
    for number, (model, (ms, usd)) in enumerate(models.items(), 1):
        trace = traced(number)
        root = trace.ask(None, "helper.help", 0, 10**6)
        for call in range(12):
            tokens = 500 + 10 * call
            facts: dict[str, Any] = {
                "antiphon.model.prefill_s": ms * tokens / 1_000,
                "antiphon.model.decode_s": 0.05,
                "antiphon.cost_usd": usd,
            }
            trace.model(root, 0, ms * tokens + 50, model=model, tokens=tokens, output=5, **facts)
        built = build([(span, "n1") for span in trace.spans])
        assert built is not None
        for step in built.steps:
            sized = call_of(step)
            if sized is not None:
                rivals.note(step, sized)
    return rivals


def test_the_fastest_of_the_faster_ones_is_chosen(traced: "type[Traced]") -> None:
    """Where nothing has a price, time decides."""
    rivals = known(traced, big=(4.0, None), middle=(2.0, None), small=(1.0, None))
    assert rivals.for_less("model big", ASKED) == "model small"
    assert rivals.for_less("model small", ASKED) is None


@pytest.mark.parametrize(
    ("small", "chosen"),
    [
        ((3.9, 0.01), None),  # little faster, as dear
        ((3.9, 0.001), "model small"),  # little faster, much cheaper
        ((1.0, 0.02), None),  # faster, dearer
        ((5.0, 0.001), None),  # cheaper, slower
        ((1.0, None), "model small"),  # faster, of unknown price
    ],
)
def test_neither_slower_nor_dearer(
    traced: "type[Traced]", small: tuple[float, float | None], chosen: str | None
) -> None:
    """A gain in one must not be a loss in the other."""
    assert known(traced, big=(4.0, 0.01), small=small).for_less("model big", ASKED) == chosen


def test_an_unknown_model_has_no_rival(traced: "type[Traced]") -> None:
    """What it takes is not known, so nothing is faster."""
    assert known(traced, small=(1.0, 0.01)).for_less("model big", ASKED) is None
    assert known(traced, small=(1.0, None)).usd_per_token("model small") is None
