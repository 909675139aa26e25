"""What steps cost: what their spans say was spent, each once."""

from typing import TYPE_CHECKING

import pytest

from antiphon.runtime.whatif.cost import cost_of
from antiphon.runtime.whatif.trace import build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def test_a_call_that_another_result_answered_spends_nothing(traced: "type[Traced]") -> None:
    """Two calls at a time, 500 ms of work: the second waited for the first one's reply, so 120 tokens and 0.5 s."""
    trace = traced(1)
    root = trace.ask(None, "writer.write", 0, 600)
    trace.model(root, 0, 500, antiphon__cost_usd=0.01)
    follower = trace.model(root, 100, 500, antiphon__answered_by="p3")
    for key in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"):
        del follower.attributes[key]  # as the runtime writes it
    built = build([(span, "n1") for span in trace.spans])
    assert built is not None
    cost = cost_of(built.steps)
    assert (cost.tokens, cost.usd) == (120, 0.01)
    assert cost.model_s == pytest.approx(0.5)


def test_waiting_is_no_work_and_tools_have_their_price(traced: "type[Traced]") -> None:
    """A call that queued for 200 of 500 ms, beside a tool that costs a cent."""
    trace = traced(1)
    root = trace.ask(None, "writer.write", 0, 600)
    trace.model(root, 0, 500, antiphon__model__queue_s=0.2)
    trace.tool(root, "search", 500, 600, antiphon__cost_usd=0.01)
    built = build([(span, "n1") for span in trace.spans])
    assert built is not None
    cost = cost_of(built.steps)
    assert (cost.tokens, cost.usd) == (120, 0.01)
    assert cost.model_s == pytest.approx(0.3)
