"""What steps cost: tokens, seconds of model instance time and money."""

from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens in and out, seconds in which a model instance worked (waiting not counted), and what was to be paid.

    ``usd`` is 0 where no step has a price on record: a model of one's own.
    """

    tokens: float
    model_s: float
    usd: float


def cost_of(steps: Iterable[Step]) -> Cost:
    """The sum over the model calls among ``steps``; of money, over all of them: a tool may have its price too.

    No model worked for a call that another's result answered; it only waited for it.
    """
    tokens = model_s = usd = 0.0
    for step in steps:
        usd += facts.number(step.span, attr.COST_USD) or 0
        if step.operation == facts.MODEL:
            tokens += facts.number(step.span, attr.GENAI_INPUT_TOKENS) or 0
            tokens += facts.number(step.span, attr.GENAI_OUTPUT_TOKENS) or 0
            if not facts.text(step.span, attr.ANSWERED_BY):
                model_s += (step.end_ns - step.begin_ns) / 1e9
    return Cost(tokens=tokens, model_s=model_s, usd=usd)
