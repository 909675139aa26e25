"""What the logging agent's core says about a recording, and how far its predictions are from what a remedy did."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.schemas.finding import Finding, FindingState
from antiphon.schemas.telemetry import TelemetryBatch
from plants.stage import Recording

S = 1_000_000_000


def look(batches: Sequence[TelemetryBatch], seed: int = 17) -> list[Finding]:
    """The open findings after all batches, as a logging agent on the bus would have them: one tick a second."""
    core = LoggingCore(rng=random.Random(seed))
    found: dict[str, Finding] = {}
    now_ns = next_ns = 0
    for batch in batches:
        ended = [span.end_ns for span in batch.spans if span.end_ns]
        now_ns = max([now_ns, *ended])
        next_ns = next_ns or now_ns + S
        core.feed(batch, now_ns)
        if now_ns >= next_ns:
            next_ns = now_ns + S
            found.update((finding.id, finding) for finding in core.tick(now_ns))
    for later_s in (3, 6, 40, 700):
        found.update((finding.id, finding) for finding in core.tick(now_ns + later_s * S))
    return [finding for finding in found.values() if finding.state is FindingState.OPEN]


@dataclass(frozen=True, slots=True, kw_only=True)
class Realised:
    """Mean over the runs of what they took before less what they took after, paired by number; seconds."""

    latency_s: float
    before_s: float
    failures: int  # more than before


def realised(before: Recording, after: Recording) -> Realised:
    """What a remedy did."""
    both = [n for n in before.runs if n in after.runs]
    saved = sum(before.runs[n].latency_s - after.runs[n].latency_s for n in both) / max(len(both), 1)
    return Realised(latency_s=saved, before_s=before.mean_s(), failures=after.failures - before.failures)
