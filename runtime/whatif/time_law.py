"""How long a model takes for how many tokens: a law per model and node, fitted to recorded calls.

::

    TTFT   = a0 + a1 * uncached_input_tokens + queue
    decode = b0 + b1 * output_tokens * (1 + g * (active - 1))
    busy   = a1 * uncached_input_tokens + b1 * output_tokens

Fitted by robust regression on relative errors, so that calls that met something unusual do not bend the law.
``error`` is measured on calls that the fit has not seen.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.regression import fit_line
from antiphon.runtime.whatif.trace import Step

MIN_CALLS = 8  # fewer say too little about three constants
FOLDS = 5
WORTH = 0.9  # of the error without g: what is to be gained for taking it
PLAUSIBLE = 1e9  # tokens or seconds; spans come from anywhere, and squares of more would be no numbers
KEEP = 400  # calls that one law rests on: the newest


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A model call as the law sees it. ``prefill_s`` None: only the sum of both parts is known, as ``decode_s``."""

    uncached: float
    output: float
    active: float = 1.0
    prefill_s: float | None
    decode_s: float

    @property
    def service_s(self) -> float:
        """All of it, queue not counted."""
        return self.decode_s + (self.prefill_s or 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLaw:
    """The constants: seconds, seconds a token, and how much each further request at work slows decoding.

    ``error``: median of |predicted - recorded| / recorded over held-out calls. ``calls``: how many it rests on.
    """

    a0: float
    a1: float
    b0: float
    b1: float
    g: float
    error: float
    calls: int

    def prefill_s(self, uncached: float) -> float:
        """Until the first token, queue not counted."""
        return self.a0 + self.a1 * uncached

    def decode_s(self, output: float, active: float = 1.0) -> float:
        """From the first token to the last, with ``active`` requests at work, this one included."""
        return self.b0 + self.b1 * output * (1 + self.g * (active - 1))

    def service_s(self, uncached: float, output: float, active: float = 1.0) -> float:
        """The whole call, queue not counted."""
        return self.prefill_s(uncached) + self.decode_s(output, active)

    def busy_s(self, uncached: float, output: float) -> float:
        """Accelerator seconds that the tokens take."""
        return self.a1 * uncached + self.b1 * output


def call_of(step: Step) -> Call | None:
    """The step as a call of known size; None for other work, and where tokens or time are missing or absurd."""
    span = step.span
    read, written = (facts.number(span, key) for key in (attr.GENAI_INPUT_TOKENS, attr.GENAI_OUTPUT_TOKENS))
    service_s = (step.end_ns - step.begin_ns) / 1e9
    if step.operation != facts.MODEL or step.excluded or read is None or service_s <= 0:
        return None
    cached = facts.number(span, attr.GENAI_CACHED_TOKENS) or 0.0
    prefill_s, decode_s = (facts.number(span, key) for key in (attr.MODEL_PREFILL_S, attr.MODEL_DECODE_S))
    if prefill_s is None or decode_s is None:
        first_s = facts.number(span, attr.GENAI_FIRST_CHUNK)
        queue_s = (step.begin_ns - step.start_ns) / 1e9
        prefill_s = None if first_s is None or not queue_s < first_s < queue_s + service_s else first_s - queue_s
        decode_s = service_s - (prefill_s or 0.0)
    active = facts.number(span, attr.POOL_ACTIVE) or 1.0
    if max(read, written or 0.0, active, prefill_s or 0.0, decode_s) > PLAUSIBLE:
        return None
    return Call(
        uncached=max(read - cached, 0.0),
        output=written or 0.0,
        active=max(active, 1.0),
        prefill_s=prefill_s,
        decode_s=decode_s,
    )


def fit(calls: Sequence[Call]) -> TimeLaw | None:
    """The law behind the newest of ``calls``; None where fewer than MIN_CALLS tell.

    ``g`` is 0 unless it makes the law better on held-out calls: a slope that noise alone gave would be taken for an
    effect of load.
    """
    calls = calls[-KEEP:]
    if len(calls) < MIN_CALLS:
        return None
    plain, loaded = (_held_out(calls, loaded=loaded) for loaded in (False, True))
    slowed = loaded < WORTH * plain
    return replace(_constants(calls, loaded=slowed), error=loaded if slowed else plain)


def fit_all(steps: Iterable[Step]) -> Mapping[tuple[str, str], TimeLaw]:
    """By (model, node), where there are calls enough; the node "" stands for all nodes of the model together.

    A model on one node has that law only.
    """
    groups: dict[tuple[str, str], list[Call]] = {}
    nodes: dict[str, set[str]] = {}
    for step in steps:
        call = call_of(step)
        if call is not None:
            model = facts.text(step.span, attr.GENAI_REQUEST_MODEL)
            nodes.setdefault(model, set()).add(step.node)
            for node in dict.fromkeys((step.node, "")):
                groups.setdefault((model, node), []).append(call)
    fitted = ((key, fit(calls)) for key, calls in groups.items() if not key[1] or len(nodes[key[0]]) > 1)
    return {key: law for key, law in fitted if law is not None}


def _held_out(calls: Sequence[Call], *, loaded: bool) -> float:
    """Median relative miss on calls, each predicted by the others' law."""
    misses: list[float] = []
    for fold in range(FOLDS):
        law = _constants([call for i, call in enumerate(calls) if i % FOLDS != fold], loaded=loaded)
        for call in calls[fold::FOLDS]:
            predicted_s = law.service_s(call.uncached, call.output, call.active)
            misses.append(abs(predicted_s - call.service_s) / call.service_s)
    return sorted(misses)[len(misses) // 2]


def _constants(calls: Sequence[Call], *, loaded: bool) -> TimeLaw:
    def decoding(call: Call) -> tuple[float, ...]:
        return (call.output, call.output * (call.active - 1)) if loaded else (call.output,)

    split = [(c, c.prefill_s) for c in calls if c.prefill_s is not None]
    if len(split) == len(calls):
        a0, a1 = fit_line([(1.0, c.uncached) for c, _ in split], [prefill_s for _, prefill_s in split])
        b0, b1, *slowed = fit_line([(1.0, *decoding(c)) for c in calls], [c.decode_s for c in calls])
    else:
        b0 = 0.0
        a0, a1, b1, *slowed = fit_line([(1.0, c.uncached, *decoding(c)) for c in calls], [c.service_s for c in calls])
    g = slowed[0] / b1 if slowed and b1 > 0 else 0.0
    return TimeLaw(a0=a0, a1=a1, b0=b0, b1=b1, g=g, error=0.0, calls=len(calls))
