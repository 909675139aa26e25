"""What the logging agent's core says about a recording, and what a remedy really did."""

import random
from collections.abc import Mapping, Sequence

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.runtime.telemetry import attributes as attr
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.telemetry import TelemetryBatch
from plants.plant import Measure
from plants.stage import Recording

S = 1_000_000_000


def look(batches: Sequence[TelemetryBatch], seed: int = 17) -> list[Finding]:
    """The open findings after all batches, as a logging agent on the bus would have them."""
    core = LoggingCore(rng=random.Random(seed))
    found: dict[str, Finding] = {}
    now_ns = next_ns = 0
    for batch in batches:
        now_ns = max([now_ns, *(span.end_ns for span in batch.spans)])
        next_ns = next_ns or now_ns + S
        core.feed(batch, now_ns)
        if now_ns >= next_ns:
            next_ns = now_ns + S
            found.update((finding.id, finding) for finding in core.tick(now_ns))
    for later_s in (*range(3, 40), 700):
        found.update((finding.id, finding) for finding in core.tick(now_ns + later_s * S))
    return [finding for finding in found.values() if finding.state is FindingState.OPEN]


def saved(before: Recording, after: Recording, measure: Measure) -> float:
    """What a remedy saved a run in the mean, paired by the number of the run."""
    was, becomes = spent(before, measure), spent(after, measure)
    both = was.keys() & becomes.keys()
    return sum(was[n] - becomes[n] for n in both) / max(len(both), 1)


def spent(recording: Recording, measure: Measure) -> Mapping[int, float]:
    """What each run took: latency as its caller saw it, anything else from its model spans."""
    if measure == "latency_s":
        return {number: arrival.latency_s for number, arrival in recording.runs.items()}
    sums: dict[bytes, float] = {}
    numbers: dict[bytes, int] = {}
    for batch in recording.batches:
        for span in batch.spans:
            label = span.attributes.get(f"{attr.LABEL}n")
            if isinstance(label, str):
                numbers[span.trace_id] = int(label)
            if span.end_ns and span.attributes.get(attr.OPERATION) == "model":
                sums[span.trace_id] = sums.get(span.trace_id, 0.0) + _spent(span.attributes, span, measure)
    return {number: sums.get(trace, 0.0) for trace, number in numbers.items()}


def _spent(attributes: Mapping[str, object], span: object, measure: Measure) -> float:
    def value(key: str) -> float:
        found = attributes.get(key)
        return float(found) if isinstance(found, int | float) else 0.0

    if measure == "tokens":
        return value(attr.GENAI_INPUT_TOKENS) + value(attr.GENAI_OUTPUT_TOKENS)
    if measure == "usd":
        return value(attr.COST_USD)
    return value(attr.MODEL_PREFILL_S) + value(attr.MODEL_DECODE_S)


def predicted(finding: Finding, measure: Measure) -> tuple[float, float, float] | None:
    """Point, low and high of what the remedy would save a run of the cohort, runs without the pattern included."""
    saving = None if finding.saving is None else getattr(finding.saving, measure)
    share = 1.0 if finding.prevalence is None else finding.prevalence
    return None if saving is None else (saving.point * share, saving.low * share, saving.high * share)
