"""The time laws of the model instances seen, fitted when somebody asks and again when enough is new."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from antiphon.agents.logging_agent.recent import Recent
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.program import pool_of
from antiphon.runtime.whatif.time_law import Call, TimeLaw, call_of, fit
from antiphon.runtime.whatif.trace import Step

INSTANCES = 256
CALLS = 64  # of each; a fit of them takes some 50 ms
WITHOUT_TOKENS = 0.12
"""Of a prefill of a thousand tokens, what does not follow the tokens, where all prompts have one length and no law
tells. The median of twelve pairs of model and machine in Splitwise's profile (ISCA 2024; lines through 1,024 and 2,048
tokens at batch 1 give 4 to 24 %)."""
ONE_LENGTH = 1.1  # the longest prompt over the shortest, as far as a law takes them for equally long
EVERY = 4  # of the calls, once there are so many: reading one takes 6 us


@dataclass(slots=True)
class _Instance:
    calls: deque[Call] = field(default_factory=lambda: deque(maxlen=CALLS))
    seen: int = 0
    fresh: int = 0  # calls since the last fit
    law: TimeLaw | None = None


def served_by(step: Step) -> str:
    """The instance that served the step: its pool, or else the model."""
    return pool_of(step) or step.label


def asked_for(step: Step) -> str:
    """The model, whichever of its instances served the step."""
    return step.label


class Laws:
    """How long calls take, each law of the calls that ``by`` takes for one."""

    def __init__(self, by: Callable[[Step], str] = served_by) -> None:
        self._by = by
        self._known: Recent[str, _Instance] = Recent(INSTANCES)

    def note(self, step: Step) -> None:
        """Learn from a model call; other work and failed calls say nothing. Of many calls every fourth is enough."""
        if step.operation != facts.MODEL:
            return
        instance = self._known.make(self._by(step), _Instance)
        instance.seen += 1
        if len(instance.calls) == CALLS and instance.seen % EVERY:
            return
        call = call_of(step)
        if call is not None:
            instance.calls.append(call)
            instance.fresh += 1

    def of(self, instance: str) -> TimeLaw | None:
        """The law of an instance, as ``by`` names it; None while too few calls are known."""
        known = self._known.get(instance)
        if known is None:
            return None
        if known.fresh >= max(1, len(known.calls) // 2):
            known.law, known.fresh = fit(list(known.calls)), 0
        return known.law

    def prefill_s(self, step: Step, tokens: float) -> float | None:
        """What ``tokens`` fewer to compute would save the step, as ``shorter_s``."""
        return self.shorter_s(self._by(step), call_of(step), tokens)

    def shorter_s(self, instance: str, call: Call | None, tokens: float) -> float | None:
        """What ``tokens`` fewer to compute would save the call, at most its prefill; None where no law tells.

        Where all prompts have one length nothing tells what prefill takes without tokens: see WITHOUT_TOKENS.
        """
        law = self.of(instance)
        if law is None or call is None:
            return None
        if law.a1 <= 0:
            known = self._known.get(instance)
            lengths = [each.uncached for each in known.calls] if known is not None else []
            if call.prefill_s is None or call.uncached <= 0 or max(lengths) > ONE_LENGTH * min(lengths):
                return None
            return call.prefill_s * (1 - WITHOUT_TOKENS) * min(tokens / call.uncached, 1.0)
        return min(law.a1 * tokens, call.service_s if call.prefill_s is None else call.prefill_s)

    def decode_s(self, step: Step) -> float | None:
        """What the step took to write its output: recorded, or else by the law."""
        call = call_of(step)
        if call is None or call.prefill_s is not None:
            return None if call is None else call.decode_s
        law = self.of(self._by(step))
        return None if law is None or law.b1 <= 0 else min(law.decode_s(call.output, call.active), call.service_s)
