"""P20, missed batching: calls that come within milliseconds are served one by one, though one batch could do them all.

What it is. Many small calls of one embedding model, or of one tool that takes many at once, arrive at nearly the same
time, often from different runs, and are served one after the other.

Evidence. When calls arrive and how long each is served; the capacity and use of the pool that serves them; tokens or
result bytes as the size of each; `antiphon.tool.batch`. Grade B; C where it can only be advice.

Guards. Calls of a model were alone in the pool (`antiphon.pool.active` is 1) in 95 % of the cases: an engine that
serves several at once does the batching already. Twenty calls or more, from one node and tenant. Calls of one run
count together only where they overlap, because a later one may need an earlier one. What comes of waiting for a batch
is part of the replay, and all calls together must gain.

Remedy. A `batch` policy with the window, of 1 to 20 ms, that saved most in the replay. For chat models the advice to
serve several at once.

What stays unseen. How much a batch really shares: its time is read off how calls of different size differ, and where
they do not, it lies between the longest call alone and all of them in a row. Calls without the pool's use on record.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.batching import (
    MOST,
    Call,
    Law,
    batchable,
    collected,
    fit,
    merged,
    served_by,
    takes_batches,
)
from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.window import Joint, Placed, Suspects
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Batch, Proposal
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p20"
WINDOWS_NS = (1_000_000, 2_000_000, 5_000_000, 10_000_000, 20_000_000)
MIN_CALLS = 20
MIN_ALONE = 0.95  # share of calls that were alone at work
BATCHES = 64  # of a replay, the newest: each costs a pass over all tasks

_PLACES = 512


@dataclass(frozen=True, slots=True)
class _Swept:
    """What a window would have done: its batches, and what the runs in them save."""

    window_ns: int
    batches: tuple[tuple[Call, ...], ...]
    runs: tuple[Placed, ...]
    saved: tuple[tuple[float, float], ...]

    @property
    def total_s(self) -> float:
        return sum(low + high for low, high in self.saved) / 2


class MissedBatching:
    """Replays the newest runs with calls collected into batches, for each of five windows."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._last_ns: Recent[tuple[str, str], int] = Recent(_PLACES)  # newest arrival, by call and node
        self._suspects: Suspects[str] = Suspects()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: arrivals are compared run by run."""

    def trace(self, observed: Observed) -> None:
        """Note calls that came soon after another."""
        trace = observed.trace
        if trace.steps[trace.finish].excluded:
            return
        close: set[str] = set()
        for step in trace.steps:
            if batchable(step) and (step.operation != facts.MODEL or _was_alone(served_by(trace, step))):
                last_ns = self._last_ns.get((step.label, step.node))
                if last_ns is not None and abs(step.start_ns - last_ns) <= WINDOWS_NS[-1]:
                    close.add(step.label)
                self._last_ns.put((step.label, step.node), step.start_ns)
        for label in close:
            self._suspects.note(label, observed.cohort.window)

    def findings(self, now_ns: int) -> list[Finding]:
        """What a joint replay says of calls that came together."""
        looked_at = ((window.joint, label) for label, window in self._suspects.due())
        return [found for joint, label in looked_at if joint is not None for found in self._examine(joint, label)]

    def _examine(self, joint: Joint, label: str) -> Iterator[Finding]:
        calls = [
            Call(placed, step, served_by(placed.observed.trace, step))
            for placed in joint.placed
            for step in placed.observed.trace.steps
            if step.label == label and batchable(step)
        ]
        law = fit(calls) if len(calls) >= MIN_CALLS and _alone(calls) else None
        swept = () if law is None else (each for each in _sweep(joint, calls, law) if each.total_s > 0)
        best = max(swept, key=lambda each: each.total_s, default=None)
        for cohort in {p.observed.cohort.key: p.observed.cohort for p in joint.placed}.values():
            judged = [p.observed.trace.run for p in joint.placed if p.observed.cohort.key == cohort.key]
            gains = {} if law is None or best is None else dict(_gains(best, law, cohort.key))
            if law is None or best is None or not gains:
                self._cases.clear(cohort, label, judged)
                continue
            case = self._cases.touch(cohort, label)
            case.renew(gains, judged)
            for call in (call for batch in best.batches for call in batch):
                if call.placed.observed.cohort.key == cohort.key:
                    trace = call.placed.observed.trace
                    case.witness(trace.id, [call.step.id], trace.steps[0].end_ns)
            finding = self._finding(case, best, law, len(calls))
            if finding is not None:
                yield finding

    def _finding(self, case: Case, best: _Swept, law: Law, calls: int) -> Finding | None:
        together_ = sum(map(len, best.batches))
        first = best.batches[0][0].step
        window_s = best.window_ns / 1e9
        served = f"{together_} of {calls} calls of {case.subject} came within {window_s * 1e3:g} ms of others and were "
        served += "served one by one: "
        if takes_batches(first):
            remedy = Remedy(
                text=f"{served}collect them for {window_s * 1e3:g} ms.",
                proposal=Proposal(action=Batch(window_s=window_s, most=MOST), target=case.subject),
            )
        else:
            remedy = Remedy(text=f"{served}let the model's server work on several at once.")
        return case.finding(
            PATTERN,
            title=f"Missed batching of {case.subject}",
            grade=Grade.B if takes_batches(first) else Grade.C,
            rng=self._rng,
            remedy=remedy,
            assumptions=(
                "A batch takes what one call of its size would."
                if law.line is not None
                else "Low end: a batch takes as long as its calls in a row. High end: as long as the longest of them.",
                BOUNDS,
            ),
        )


def _alone(calls: Sequence[Call]) -> bool:
    """Whether nearly all were alone at work; false for models that do not say."""
    models = [call.served for call in calls if call.step.operation == facts.MODEL]
    return sum(map(_was_alone, models)) >= MIN_ALONE * len(models)


def _was_alone(served: Step) -> bool:
    return facts.whole(served.span, attr.POOL_ACTIVE) == 1


def _sweep(joint: Joint, calls: Sequence[Call], law: Law) -> Iterator[_Swept]:
    """What each window would save; one that makes no other batches than a shorter one would only wait longer."""
    before: list[tuple[Call, ...]] = []
    for window_ns in WINDOWS_NS:
        batches = [batch for batch in collected(calls, window_ns) if len(batch) > 1][-BATCHES:]
        if not batches or batches == before:
            continue
        before = batches
        runs = tuple({call.placed.start: call.placed for batch in batches for call in batch}.values())
        takes = [law.batch_ns(batch) for batch in batches]
        saved = joint.saved_s(
            runs,
            merged(joint.cautious, batches, [cautious for cautious, _ in takes], window_ns),
            merged(joint.hopeful, batches, [hopeful for _, hopeful in takes], window_ns),
        )
        if saved is not None:
            yield _Swept(window_ns, tuple(batches), runs, tuple(saved))


def _gains(best: _Swept, law: Law, cohort: str) -> Iterator[tuple[str, Gain]]:
    """What each run of the cohort saves: latency, and its calls' share of the time that models work less."""
    model_s: dict[int, float] = {}
    for batch in best.batches:
        each_s = sum(law.batch_ns(batch)) / 2e9 / len(batch)
        for call in batch:
            saved_s = call.service_ns / 1e9 - each_s if call.step.operation == facts.MODEL else 0.0
            model_s[call.placed.start] = model_s.get(call.placed.start, 0.0) + saved_s
    for placed, saved in zip(best.runs, best.saved, strict=True):
        if placed.observed.cohort.key == cohort:
            yield placed.observed.trace.run, Gain(latency_s=saved, model_s=model_s[placed.start])


DETECTOR = MissedBatching
