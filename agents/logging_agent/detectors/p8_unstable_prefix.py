"""P8, unstable prompt prefix: prompts share long content but differ early, so the prefix cache misses.

What it is. The prompts of a handler share long content but differ early, in a date or in the order of a list. A
prefix cache then misses what comes after the difference.

Evidence. `antiphon.prompt.segments` (name, size and hash of each part of the prompt), `antiphon.prompt.block_hashes`
(one for 256 tokens) and the cached tokens that the instance reports. Each prompt is compared with the best of the
last eight of the same handler at the same instance. Grade B, because another order changes what a model says.

Guards. At least 1,024 tokens. Only content that is shared behind the difference counts, in whole blocks, and no more
than what the cache did not serve. A restart or a new version is one miss and no pattern. The time is estimated from
the slope of prefill time over uncached tokens, and only with eight or more points.

Remedy. Put what changes into the last user message, and keep lists such as tools in one order.

What stays unseen. Shared content in the middle of one segment, where only chained block hashes exist. Whether the
answers stay as good, which needs an evaluation. Instances that say nothing of their cache are taken to have missed.
"""

import random
import statistics
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.program import pool_of
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p8"
BLOCK_TOKENS = 256
MIN_TOKENS = 1_024
REQUIRED_CALLS = 20

_SITES = 256
_RECENT = 8  # prompts compared with: several templates of one handler may alternate
_POINTS = 64  # of the prefill law, per model instance
_MIN_POINTS = 8


@dataclass(frozen=True, slots=True)
class _Segment:
    name: str
    size: int  # bytes
    digest: str


@dataclass(frozen=True, slots=True)
class _Prompt:
    tokens: int
    blocks: tuple[str, ...]
    segments: tuple[_Segment, ...]

    @property
    def tokens_per_byte(self) -> float:
        return self.tokens / max(sum(s.size for s in self.segments), 1)


@dataclass(frozen=True, slots=True)
class _Drift:
    """Where a prompt left the best earlier one, and what of it they share behind that place."""

    segment: str
    at_token: int
    shared_tokens: int


class UnstablePrefix:
    """Finds prompts that would hit the prefix cache if a volatile segment came last.

    Each prompt is compared with the best of the last eight at the same instance, so that a restart or a new version is
    one miss and not a pattern. Grade B: order changes what a model says.
    """

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._recent: OrderedDict[tuple[str, str], deque[_Prompt]] = OrderedDict()
        self._prefill: OrderedDict[str, deque[tuple[float, float]]] = OrderedDict()
        self._drifts: OrderedDict[tuple[str, str], _Drift] = OrderedDict()
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: whose prompt it is shows only in the trace."""

    def trace(self, observed: Observed) -> None:
        """Compare the trace's prompts, in order of start, with earlier ones of the same handler."""
        found: dict[str, list[tuple[Step, _Drift]]] = {}
        calls = [s for s in observed.trace.steps if s.operation == facts.MODEL and not s.excluded]
        for step in sorted(calls, key=lambda s: (s.start_ns, s.id)):
            owner = observed.trace.owner(step.index)
            prompt = _prompt(step.span)
            if owner is None or prompt is None:
                continue
            pool = pool_of(step) or step.label
            self._note_prefill(pool, step.span)
            drift = self._compare(pool, owner.label, step.span, prompt)
            if drift is not None:
                found.setdefault(owner.label, []).append((step, drift))
        for subject, drifts in found.items():
            self._note(observed, subject, drifts)

    def findings(self, now_ns: int) -> list[Finding]:
        """Prefixes whose order would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _compare(self, pool: str, handler: str, span: SpanRecord, prompt: _Prompt) -> _Drift | None:
        recent = self._recent.setdefault((pool, handler), deque(maxlen=_RECENT))
        self._recent.move_to_end((pool, handler))
        if len(self._recent) > _SITES:
            self._recent.popitem(last=False)
        best = max((_drift(prompt, earlier) for earlier in recent), key=lambda d: d.at_token, default=None)
        recent.append(prompt)
        if best is None or prompt.tokens < MIN_TOKENS:
            return None
        cached = facts.whole(span, attr.GENAI_CACHED_TOKENS)
        limit = prompt.tokens - (best.at_token if cached is None else cached)
        shared = min(best.shared_tokens, max(limit, 0)) // BLOCK_TOKENS * BLOCK_TOKENS
        return _Drift(best.segment, best.at_token, shared) if shared else None

    def _note(self, observed: Observed, subject: str, drifts: list[tuple[Step, _Drift]]) -> None:
        factors: dict[int, float] = {}
        model_s: float | None = 0.0
        run = observed.run
        for step, drift in drifts:
            a1 = self._seconds_per_token(pool_of(step) or step.label)
            service_s = (step.end_ns - step.begin_ns) / 1e9
            if a1 is None or service_s <= 0:
                model_s = None
                break
            prefill_s = facts.number(step.span, attr.MODEL_PREFILL_S)
            saved_s = min(a1 * drift.shared_tokens, service_s if prefill_s is None else min(prefill_s, service_s))
            model_s = (model_s or 0.0) + saved_s
            if run is not None and not step.children:
                factors[run.first[step.index]] = 1 - saved_s / service_s
        latency_s = None
        if run is not None and model_s is not None:
            latency_s = observed.saved_s(edits.scale(run.cautious, factors), edits.scale(run.program, factors))
        case = self._cases.touch(observed.cohort, subject)
        case.support += len(drifts)
        tokens = float(sum(drift.shared_tokens for _, drift in drifts))
        case.gain(observed.trace.run, Gain(latency_s=latency_s, tokens=tokens, model_s=model_s))
        case.witness(observed.trace.id, [step.id for step, _ in drifts], observed.trace.steps[0].end_ns)
        key = (observed.cohort.key, subject)
        self._drifts[key] = drifts[-1][1]
        self._drifts.move_to_end(key)
        if len(self._drifts) > _SITES:
            self._drifts.popitem(last=False)

    def _note_prefill(self, pool: str, span: SpanRecord) -> None:
        prefill_s = facts.number(span, attr.MODEL_PREFILL_S)
        tokens = facts.whole(span, attr.GENAI_INPUT_TOKENS)
        if prefill_s is None or tokens is None:
            return
        points = self._prefill.setdefault(pool, deque(maxlen=_POINTS))
        points.append((tokens - (facts.whole(span, attr.GENAI_CACHED_TOKENS) or 0), prefill_s))
        self._prefill.move_to_end(pool)
        if len(self._prefill) > _SITES:
            self._prefill.popitem(last=False)

    def _seconds_per_token(self, pool: str) -> float | None:
        """Slope a1 of prefill time over uncached tokens (Theil-Sen: the median of slopes, robust to outliers).

        None without eight points, or where the tokens vary too little to tell a slope.
        """
        points = self._prefill.get(pool, ())
        if len(points) < _MIN_POINTS:
            return None
        ordered = list(points)
        slopes = [
            (y2 - y1) / (x2 - x1)
            for i, (x1, y1) in enumerate(ordered)
            for x2, y2 in ordered[i + 1 :]
            if abs(x2 - x1) >= BLOCK_TOKENS / 4
        ]
        return max(statistics.median(slopes), 0.0) if slopes else None

    def _finding(self, case: Case) -> Finding | None:
        drift = self._drifts.get((case.cohort.key, case.subject))
        if drift is None:
            return None
        return case.finding(
            PATTERN,
            title=f"Unstable prompt prefix in {case.subject}",
            grade=Grade.B,
            rng=self._rng,
            required=REQUIRED_CALLS,
            unit="calls",
            remedy=Remedy(
                text=f"Segment {drift.segment!r} changes at about token {drift.at_token} and keeps "
                f"{drift.shared_tokens} tokens behind it, the same as before, out of the prefix cache: move what "
                "changes into the last user message, and keep lists such as tools in one order."
            ),
            assumptions=(
                "The instance caches prefixes and still holds the earlier prompt.",
                "Another order of the prompt may change what the model says: evaluate before use.",
            ),
        )


def _prompt(span: SpanRecord) -> _Prompt | None:
    tokens = facts.whole(span, attr.GENAI_INPUT_TOKENS)
    if tokens is None:
        return None
    segments = []
    for item in facts.texts(span, attr.PROMPT_SEGMENTS) or ():
        name, _, rest = item.partition(":")
        size, _, digest = rest.partition(":")
        if size.isascii() and size.isdigit() and digest:
            segments.append(_Segment(name, int(size), digest))
    blocks = facts.texts(span, attr.PROMPT_BLOCKS) or ()
    return _Prompt(tokens, blocks, tuple(segments)) if blocks or segments else None


def _drift(prompt: _Prompt, earlier: _Prompt) -> _Drift:
    """Where ``prompt`` leaves ``earlier``, and how much of what follows the two share.

    Shared content shows as equal segments, or as equal later blocks where hashes are per block; hashes that chain
    over all before them all differ and say nothing.
    """
    same = _common(prompt.segments, earlier.segments)
    before = int(sum(s.size for s in prompt.segments[:same]) * prompt.tokens_per_byte)
    later = {(s.name, s.digest) for s in earlier.segments[same:]}
    shared = int(sum(s.size for s in prompt.segments[same:] if (s.name, s.digest) in later) * prompt.tokens_per_byte)
    blocks = _common(prompt.blocks, earlier.blocks)
    again = set(earlier.blocks[blocks:])
    shared = max(shared, BLOCK_TOKENS * sum(block in again for block in prompt.blocks[blocks:]))
    changed = prompt.segments[same].name if same < len(prompt.segments) else "prompt"
    return _Drift(changed, max(before, BLOCK_TOKENS * blocks), shared)


def _common(a: tuple[object, ...], b: tuple[object, ...]) -> int:
    same = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        same += 1
    return same


DETECTOR = UnstablePrefix
