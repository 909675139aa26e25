"""What happens to telemetry on its way: clocks that differ, spans that are lost, order that is lost, sampling."""

import copy
import random
from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.schemas.telemetry import TelemetryBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """``skew_s``: each node's clock is off by at most so much. ``lost``: share of spans. ``sampled``: share of traces
    kept."""

    skew_s: float = 0.0
    lost: float = 0.0
    sampled: float = 1.0

    def over(self, batches: Iterable[TelemetryBatch], rng: random.Random) -> list[TelemetryBatch]:
        """Copies of the batches as they would have arrived."""
        skews: dict[str, int] = {}
        kept: dict[bytes, bool] = {}
        found = []
        for batch in batches:
            if batch.node not in skews:
                skews[batch.node] = int(rng.uniform(-self.skew_s, self.skew_s) * 1e9)
            skew = skews[batch.node]
            spans = []
            for original in batch.spans:
                if original.trace_id not in kept:
                    kept[original.trace_id] = rng.random() < self.sampled
                if not kept[original.trace_id] or rng.random() < self.lost:
                    continue
                span = copy.copy(original)
                span.start_ns += skew
                span.end_ns += skew if span.end_ns else 0
                span.attributes = {
                    key: value + skew if key.endswith("_ns") and isinstance(value, int) and value > 10**15 else value
                    for key, value in original.attributes.items()
                }
                spans.append(span)
            found.append(TelemetryBatch(node=batch.node, sequence=batch.sequence, dropped=batch.dropped, spans=spans))
        return found
