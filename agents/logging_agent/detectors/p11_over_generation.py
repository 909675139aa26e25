"""P11, over-generation: a model writes much more than is used of it.

What it is. A typed reply has fields that nobody reads, or a handler returns the first line of a long text. All of it
was written token by token.

Evidence. `antiphon.fields_read` of the consumer against `antiphon.result.fields` of the reply, in bytes. For a text
that is the last thing a handler asked for: `antiphon.result.causes` of that handler, and `antiphon.result.size` of
both. The model call is the only one of which the reply has its content. Grade B, and it needs an evaluation.

Guards. At least 20 replies, and in 95 % of them no more than half is used. A reply of which nothing is read is another
pattern. A text that is also passed on, or shown while it is written, counts as used. What is kept is the 95th
percentile of the tokens used, so nearly every reply keeps all that was read of it.

Remedy. Ask for the fields that are read, or for less text, or set `max_tokens` or a stop sequence.

What stays unseen. Reasoning before an answer may be what makes the answer good: only an evaluation can tell. Fields
whose texts have fewer than 12 characters count as read. Calls that end at their limit are counted, but how much a
complete answer would have needed is on no record.
"""

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from antiphon.agents.logging_agent.cases import REQUIRED_RUNS, Case, Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.laws import Laws
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.shorter import gain_of
from antiphon.agents.logging_agent.sized import sizes
from antiphon.agents.logging_agent.steps import causes_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.estimate import p95
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, QualityRisk, Remedy
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p11"
REQUIRED_REPLIES = 20
MAX_SHARE = 0.5

_SITES = 256
_REPLIES = 256  # of each site


@dataclass(frozen=True, slots=True)
class _Written:
    """What a model call wrote for a consumer; ``share`` of it was used, None where this run does not say."""

    site: tuple[str, str]  # consumer and what it asked for
    model: Step
    tokens: int
    share: float | None


class _Site:
    """What was used of the replies of one kind to one consumer."""

    __slots__ = ("cut", "shares", "tokens")

    def __init__(self) -> None:
        self.shares: deque[float] = deque(maxlen=_REPLIES)
        self.tokens: deque[float] = deque(maxlen=_REPLIES)
        self.cut: deque[bool] = deque(maxlen=_REPLIES)  # whether a call ended at its limit

    def note(self, written: _Written) -> None:
        """One more reply."""
        self.cut.append("length" in (facts.texts(written.model.span, attr.GENAI_FINISH_REASONS) or ()))
        if written.share is not None:
            self.shares.append(written.share)
            self.tokens.append(written.share * written.tokens)

    @property
    def kept_tokens(self) -> float | None:
        """Enough for 95 % of the replies; None where more than half of a reply is used."""
        return p95(self.tokens) if self.shares and p95(self.shares) <= MAX_SHARE else None


class OverGeneration:
    """Finds model calls of whose text little is used. Grade B; what is not used may be what it takes to answer."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._laws = Laws()
        self._sites: Recent[tuple[str, str], _Site] = Recent(_SITES)
        self._shown: Recent[tuple[str, str], tuple[str, _Site]] = Recent(_SITES)
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: who reads a reply shows only in the trace."""

    def trace(self, observed: Observed) -> None:
        """Learn what is used of replies, and what the model calls behind them would have saved."""
        trace = observed.trace
        for step in trace.steps:
            self._laws.note(step)
        found: dict[str, list[tuple[_Written, float]]] = {}
        for written in _written(trace):
            site = self._sites.make(written.site, _Site)
            site.note(written)
            owner = trace.owner(written.model.index)
            if owner is None:
                continue
            kept = site.kept_tokens
            if kept is not None and kept < written.tokens:
                found.setdefault(owner.label, []).append((written, kept))
            elif kept is None and self._shown.get((observed.cohort.key, owner.label)) is not None:
                self._cases.touch(
                    observed.cohort, owner.label, learning=True
                ).support = 0  # what was said no longer holds
        for subject, calls in found.items():
            self._note(observed, subject, calls)

    def findings(self, now_ns: int) -> list[Finding]:
        """Texts whose unused part matters."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _note(self, observed: Observed, subject: str, calls: list[tuple[_Written, float]]) -> None:
        trace = observed.trace
        shorter = [(written.model, self._unread_s(written, kept)) for written, kept in calls]
        tokens = sum(written.tokens - kept for written, kept in calls)
        worst = max(calls, key=lambda call: call[0].tokens - call[1])[0]
        site = self._sites.make(worst.site, _Site)
        case = self._cases.touch(observed.cohort, subject, learning=True)
        case.gain(trace.run, gain_of(observed, shorter, tokens))
        case.support = len(site.shares) if case.runs >= REQUIRED_RUNS else 0
        case.witness(trace.id, (written.model.id for written, _ in calls), trace.steps[0].end_ns)
        self._shown.put((observed.cohort.key, subject), (worst.site[0], site))

    def _unread_s(self, written: _Written, kept: float) -> float | None:
        """Time to write what is not read."""
        decode_s = self._laws.decode_s(written.model)
        return None if decode_s is None else decode_s * (1 - kept / written.tokens)

    def _finding(self, case: Case) -> Finding | None:
        shown = self._shown.get((case.cohort.key, case.subject))
        if shown is None:
            return None
        consumer, site = shown
        kept, share = p95(site.tokens), p95(site.shares)
        cut = sum(site.cut) / max(len(site.cut), 1)
        return case.finding(
            PATTERN,
            title=f"Over-generation in {case.subject}",
            grade=Grade.B,
            rng=self._rng,
            required=REQUIRED_REPLIES,
            unit="replies",
            quality_risk=QualityRisk.NEEDS_EVALUATION,
            remedy=Remedy(
                text=f"{consumer} uses at most {share:.0%} of what the model writes in {case.subject}, {kept:.0f} "
                "tokens in 95 % of replies: ask for that part only, or set max_tokens or a stop sequence."
                + (f" {cut:.0%} of the calls end at their limit." if cut else "")
            ),
            assumptions=(
                f"{kept:.0f} tokens are enough for what is read.",
                "What is not read is not needed to find what is: evaluate before use.",
                BOUNDS,
            ),
        )


def _written(trace: Trace) -> Iterator[_Written]:
    """The model calls of a trace whose text is somebody's input or result, with what is used of it."""
    cited = {cause for step in trace.steps for cause in causes_of(step) or ()}
    for handler in trace.steps:
        if handler.operation != facts.PROCESS or handler.excluded or not handler.children:
            continue
        read = _read(handler.span)
        for call in (trace.steps[i] for i in handler.children):
            source = _reply_of(trace, call)
            model = call if call.operation == facts.MODEL else None if source is None else _author(trace, source)
            tokens = 0 if model is None else facts.whole(model.span, attr.GENAI_OUTPUT_TOKENS) or 0
            if model is None or model.excluded or not tokens:
                continue
            fields = {} if source is None else sizes(source.span, attr.RESULT_FIELDS)
            if fields:
                used = sum(fields.get(name, 0) for name in read.get(call.id, ()))
                share = used / sum(fields.values()) if used else None
                yield _Written((handler.label, call.label), model, tokens, share)
            elif model is call and call.id not in cited and _is_last(trace, handler, call):
                size, whole = (facts.whole(step.span, attr.RESULT_SIZE) for step in (handler, call))
                share = min(size / whole, 1.0) if size is not None and whole else None
                yield _Written((handler.label, call.label), model, tokens, share)


def _reply_of(trace: Trace, call: Step) -> Step | None:
    """The step that bears the size of the reply: of a peer its handler."""
    if call.operation not in facts.WAITED:
        return call if call.operation == facts.MODEL else None
    return next((trace.steps[i] for i in call.children if trace.steps[i].operation == facts.PROCESS), None)


def _author(trace: Trace, handler: Step) -> Step | None:
    """The model call that wrote the handler's result, where only one did."""
    calls = [trace.steps[i] for i in handler.children if trace.steps[i].operation == facts.MODEL]
    causes = facts.texts(handler.span, attr.RESULT_CAUSES)
    authors = calls if causes is None else [step for step in calls if step.id in causes]
    return authors[0] if len(authors) == 1 else None


def _is_last(trace: Trace, handler: Step, call: Step) -> bool:
    """Whether the text is in the handler's result and was of no use for anything else."""
    causes = facts.texts(handler.span, attr.RESULT_CAUSES) or ()
    shown = facts.whole(handler.span, attr.EMIT_COUNT)
    return call.id in causes and not shown and all(trace.steps[i].start_ns <= call.end_ns for i in handler.children)


def _read(span: SpanRecord) -> dict[str, tuple[str, ...]]:
    """The fields that a handler read, by the id of the operation whose reply they are of."""
    found = {}
    for item in facts.texts(span, attr.FIELDS_READ) or ():
        operation, _, names = item.partition(":")
        found[operation] = tuple(name for name in names.split(",") if name)
    return found


DETECTOR = OverGeneration
