"""What steps cost: tokens and seconds of model instance time."""

from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Step


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Tokens in and out, and seconds in which a model instance worked (waiting not counted)."""

    tokens: float
    model_s: float


def cost_of(steps: Iterable[Step]) -> Cost:
    """The sum over the model calls among ``steps``."""
    tokens = model_s = 0.0
    for step in steps:
        if step.operation == facts.MODEL:
            tokens += facts.number(step.span, attr.GENAI_INPUT_TOKENS) or 0
            tokens += facts.number(step.span, attr.GENAI_OUTPUT_TOKENS) or 0
            model_s += (step.end_ns - step.begin_ns) / 1e9
    return Cost(tokens=tokens, model_s=model_s)
