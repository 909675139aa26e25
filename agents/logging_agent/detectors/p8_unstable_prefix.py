"""P8, unstable prompt prefix: prompts share long content but differ early, so the prefix cache misses.

What it is. The prompts of a handler share long content but differ early, in a date or in the order of a list. A
prefix cache then misses what comes after the difference.

Evidence. `antiphon.prompt.segments` (name, size and hash of each part of the prompt), `antiphon.prompt.block_hashes`
(one for 256 tokens) and the cached tokens that the instance reports. Each prompt is compared with the best of the
last eight of the same handler at the same instance. Grade B, because another order changes what a model says.

Guards. Twenty calls in five runs or more, of at least 1,024 tokens. Only content that is shared behind the difference
counts, in whole blocks, and no more than what the cache did not serve. A restart or a new version is one miss and no
pattern. The time follows from the time law of the instance: seconds of prefill for each uncached token, fitted to eight
calls or more.

Remedy. Put what changes into the last user message, and keep lists such as tools in one order.

What stays unseen. Shared content in the middle of one segment, where only chained block hashes exist. Whether the
answers stay as good, which needs an evaluation. Instances that say nothing of their cache are taken to have missed.
"""

import random
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.cases import KEEP_CASES, REQUIRED_RUNS, Case, Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.laws import Laws, served_by
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.shorter import gain_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, QualityRisk, Remedy
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p8"
BLOCK_TOKENS = 256
MIN_TOKENS = 1_024
REQUIRED_CALLS = 20

_SITES = 256
_RECENT = 8  # prompts compared with: several templates of one handler may alternate


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
    tokens_per_byte: float


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
        self._laws = Laws()
        self._drifts: Recent[tuple[str, str], tuple[int, _Drift]] = Recent(KEEP_CASES)  # calls, and how the last did
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
            self._laws.note(step)
            drift = self._compare(served_by(step), owner.label, step.span, prompt)
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
        before = list(recent)
        recent.append(prompt)
        if not before or prompt.tokens < MIN_TOKENS:
            return None
        best = _drift(prompt, max(before, key=lambda earlier: _together(prompt, earlier)[0]))
        cached = facts.whole(span, attr.GENAI_CACHED_TOKENS)
        limit = prompt.tokens - (best.at_token if cached is None else cached)
        shared = min(best.shared_tokens, max(limit, 0)) // BLOCK_TOKENS * BLOCK_TOKENS
        return _Drift(best.segment, best.at_token, shared) if shared else None

    def _note(self, observed: Observed, subject: str, drifts: list[tuple[Step, _Drift]]) -> None:
        case = self._cases.touch(observed.cohort, subject)
        key = observed.cohort.key, subject
        count = (self._drifts.get(key) or (0,))[0] + len(drifts)
        self._drifts.put(key, (count, drifts[-1][1]))
        calls = [(step, self._laws.prefill_s(step, drift.shared_tokens)) for step, drift in drifts]
        tokens = float(sum(drift.shared_tokens for _, drift in drifts))
        case.gain(observed.trace.run, gain_of(observed, calls, tokens))
        case.support = count if case.runs >= REQUIRED_RUNS else min(case.runs, count)
        case.witness(observed.trace.id, [step.id for step, _ in drifts], observed.trace.steps[0].end_ns)

    def _finding(self, case: Case) -> Finding | None:
        known = self._drifts.get((case.cohort.key, case.subject))
        if known is None:
            return None
        _, drift = known
        return case.finding(
            PATTERN,
            title=f"Unstable prompt prefix in {case.subject}",
            grade=Grade.B,
            rng=self._rng,
            required=REQUIRED_CALLS,
            unit="calls",
            quality_risk=QualityRisk.NEEDS_EVALUATION,
            remedy=Remedy(
                text=f"Segment {drift.segment!r} changes at about token {drift.at_token} and keeps "
                f"{drift.shared_tokens} tokens behind it, the same as before, out of the prefix cache: move what "
                "changes into the last user message, and keep lists such as tools in one order."
            ),
            assumptions=(
                "The instance caches prefixes and still holds the earlier prompt.",
                "Where all prompts are of one length, 88 % of their prefill is taken to follow the tokens.",
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
    if not blocks and not segments:
        return None
    return _Prompt(tokens, blocks, tuple(segments), tokens / max(sum(s.size for s in segments), 1))


def _drift(prompt: _Prompt, earlier: _Prompt) -> _Drift:
    """Where ``prompt`` leaves ``earlier``, and how much of what follows the two share.

    Shared content shows as equal segments, or as equal later blocks where hashes are per block; hashes that chain
    over all before them all differ and say nothing.
    """
    at_token, same, blocks = _together(prompt, earlier)
    later = {(s.name, s.digest) for s in earlier.segments[same:]}
    shared = int(sum(s.size for s in prompt.segments[same:] if (s.name, s.digest) in later) * prompt.tokens_per_byte)
    again = set(earlier.blocks[blocks:])
    shared = max(shared, BLOCK_TOKENS * sum(block in again for block in prompt.blocks[blocks:]))
    changed = prompt.segments[same].name if same < len(prompt.segments) else "prompt"
    return _Drift(changed, at_token, shared)


def _together(prompt: _Prompt, earlier: _Prompt) -> tuple[int, int, int]:
    """Until where two prompts are the same: token, segments, blocks."""
    same, blocks = _common(prompt.segments, earlier.segments), _common(prompt.blocks, earlier.blocks)
    before = int(sum(s.size for s in prompt.segments[:same]) * prompt.tokens_per_byte) if same else 0
    return max(before, BLOCK_TOKENS * blocks), same, blocks


def _common(a: tuple[object, ...], b: tuple[object, ...]) -> int:
    same = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        same += 1
    return same


DETECTOR = UnstablePrefix
