"""P10, dead context: prompts carry tools that are never called, or results that leave no trace in what comes of them.

What it is. A model is offered tools that it does not call, or reads a document of which nothing is in the result.
Every call pays for reading them.

Evidence. `antiphon.prompt.tools` (name and size of each tool offered) against the tools that the same handler called:
grade B. The causes of a model call, which name the results in its prompt, against `antiphon.result.causes` of the
handler, with `antiphon.result.size`: grade C, because no citation is no proof.

Guards. At least 20 traces, with the tool offered or the result read in 95 % of the handler's prompts. The finding says
how often the tool may be called all the same: at most 3 in n runs (rule of three, 95 % confidence). A tool that was
ever called counts as dead only 1,000 traces later. Failed calls are calls. Where models ask for tools more often than
the handler is seen to call any, its calls are not on record and nothing is said. A result counts as dead only beside
another that is quoted: a model that says everything in its own words quotes none. Cached tokens count a tenth, and the
time is that of the share of the prompt that was computed, by the law of the instance.

Remedy. Offer a tool, or load a document, when it is needed.

What stays unseen. Texts that a person wrote into the system prompt, because nothing tells whether they work. A
document that decides something without a word of it in the result. A tool that helps by being there.
"""

import random
from collections.abc import Iterator, Sequence
from typing import ClassVar

from antiphon.agents.logging_agent.cases import KEEP_CASES, REQUIRED_RUNS, Case, Cases
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.laws import Laws
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.shorter import gain_of
from antiphon.agents.logging_agent.sized import sizes
from antiphon.agents.logging_agent.steps import causes_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, QualityRisk, Remedy
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p10"
REQUIRED_TRACES = 20
REVIVED_TRACES = 1_000  # without a call, after which a tool that was called once counts as dead
MIN_OFFERED = 0.95
MAX_UNSEEN = 0.10  # of the traces: spans are lost now and then
CACHED_PRICE = 0.1  # of a cached token, as hosted models charge it
TOKENS_PER_BYTE = 0.25  # where a prompt's own ratio is unknown

_HANDLERS = 256
_TOOLS = 256  # per handler


class _Carried:
    """What the prompts of one handler carry, by name, and for how many traces each part has been dead."""

    __slots__ = ("carried", "dead", "prompts", "revived", "traces", "unseen")

    def __init__(self) -> None:
        self.prompts = self.traces = self.unseen = 0
        self.carried: Recent[str, int] = Recent(_TOOLS)  # prompts with it
        self.dead: Recent[str, int] = Recent(_TOOLS)  # traces since it was last of use, or first carried
        self.revived: Recent[str, bool] = Recent(_TOOLS)

    def note(self, prompts: Sequence[set[str]], used: set[str], unseen: bool) -> None:
        """One trace, with all executions of the handler in it. ``unseen``: they used more than is on record."""
        self.prompts += len(prompts)
        self.traces += 1
        self.unseen += unseen
        for prompt in prompts:
            for name in prompt:
                self.carried.put(name, (self.carried.get(name) or 0) + 1)
        for name in set().union(*prompts):
            if name in used:
                self.dead.put(name, 0)
                self.revived.put(name, True)
            else:
                self.dead.put(name, (self.dead.get(name) or 0) + 1)

    def is_dead(self, name: str) -> bool:
        """Whether it is in nearly every prompt and was of no use, as far as is known yet."""
        if self.unseen > MAX_UNSEEN * self.traces:
            return False
        needed = REVIVED_TRACES if self.revived.get(name) else 1
        return (self.dead.get(name) or 0) >= needed and (self.carried.get(name) or 0) >= MIN_OFFERED * self.prompts


class DeadContext:
    """Finds what prompts carry for nothing: tools (grade B) and results of other operations (grade C)."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._laws = Laws()
        self._handlers: Recent[tuple[str, str], _Carried] = Recent(_HANDLERS)
        self._shown: Recent[tuple[str, str], tuple[str, dict[str, int]]] = Recent(KEEP_CASES)
        self._cases = Cases()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: what a prompt's parts were good for shows only in the trace."""

    def trace(self, observed: Observed) -> None:
        """Look at every handler of a closed trace that prompts a model."""
        trace = observed.trace
        for step in trace.steps:
            self._laws.note(step)
        executions: dict[str, list[tuple[Step, list[Step]]]] = {}
        for handler in trace.steps:
            if handler.operation != facts.PROCESS or handler.excluded:
                continue
            calls = [trace.steps[i] for i in handler.children if trace.steps[i].operation == facts.MODEL]
            executions.setdefault(handler.label, []).append((handler, [call for call in calls if not call.excluded]))
        for label, made in executions.items():
            self._tools(observed, label, made)
            self._results(observed, label, made)

    def findings(self, now_ns: int) -> list[Finding]:
        """Dead parts of prompts that matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _tools(self, observed: Observed, label: str, executions: Sequence[tuple[Step, Sequence[Step]]]) -> None:
        """Tools that a handler offered and did not call."""
        offers: list[tuple[Step, dict[str, int]]] = []
        used: set[str] = set()
        asked = called = 0
        for handler, calls in executions:
            offered = [(call, found) for call in calls if (found := sizes(call.span, attr.PROMPT_TOOLS))]
            if not offered:
                continue
            offers += offered
            siblings = [observed.trace.steps[i] for i in handler.children]
            used |= {name for step in siblings for name in _names(step)}
            asked += sum("tool_calls" in (facts.texts(call.span, attr.GENAI_FINISH_REASONS) or ()) for call in calls)
            called += sum(step.operation == facts.TOOL for step in siblings)
        if offers:
            known = self._handlers.make(("tools", label), _Carried)
            known.note([set(found) for _, found in offers], used, asked > called)
            self._judge(observed, label, "", offers, known)

    def _results(self, observed: Observed, handled: str, executions: Sequence[tuple[Step, Sequence[Step]]]) -> None:
        """Results in prompts that are nowhere in the handler's own, where it says what that is made of."""
        carried: list[set[str]] = []
        used: set[str] = set()
        reads: list[tuple[Step, dict[str, int]]] = []
        for handler, calls in executions:
            causes = facts.texts(handler.span, attr.RESULT_CAUSES)
            if causes is None or facts.whole(handler.span, attr.EMIT_COUNT):
                continue
            siblings = [observed.trace.steps[i] for i in handler.children]
            cited = {*causes, *(i for step in siblings if step.operation != facts.MODEL for i in causes_of(step) or ())}
            read = [(call, dict(_read(observed.trace, call))) for call in calls]
            labels = {label for _, found in read for label in found}
            quoted = {step.label for step in siblings if step.id in cited}
            if labels.isdisjoint(quoted):
                continue  # this model says everything in its own words
            carried.append(labels)
            used |= quoted
            reads += read
        if not carried:
            return
        known = self._handlers.make(("results", handled), _Carried)
        known.note(carried, used, False)
        for label in sorted(set().union(*carried)):
            parts = [(call, {label: found[label]}) for call, found in reads if label in found]
            self._judge(observed, f"{label} in {handled}", label, parts, known)

    def _judge(
        self,
        observed: Observed,
        subject: str,
        result: str,
        calls: Sequence[tuple[Step, dict[str, int]]],
        known: _Carried,
    ) -> None:
        """Note what is dead among the parts of the prompts; ``result``: whose it is, empty for tools."""
        dead = {part: size for _, parts in calls for part, size in parts.items() if known.is_dead(part)}
        key = (observed.cohort.key, subject)
        before = self._shown.get(key)
        if before is not None and not all(map(known.is_dead, before[1])):  # one was of use: what was said is void
            case = self._cases.touch(observed.cohort, subject)
            case.support = 0
            if dead:
                case.forget()
        if dead:
            self._shown.put(key, (result, dead))
            sizes_of = [(step, sum(size for part, size in parts.items() if part in dead)) for step, parts in calls]
            self._note(observed, subject, sizes_of, min(known.dead.get(part) or 0 for part in dead))

    def _note(self, observed: Observed, subject: str, calls: Sequence[tuple[Step, int]], support: int) -> None:
        trace = observed.trace
        shorter: list[tuple[Step, float | None]] = []
        tokens = 0.0
        for step, size in calls:
            read = facts.whole(step.span, attr.GENAI_INPUT_TOKENS) or 0
            cached = min((facts.whole(step.span, attr.GENAI_CACHED_TOKENS) or 0) / max(read, 1), 1.0)
            saved = min(size * _tokens_per_byte(step.span, read), read)
            tokens += saved * (1 - cached + cached * CACHED_PRICE)
            shorter.append((step, self._laws.prefill_s(step, saved * (1 - cached))))
        case = self._cases.touch(observed.cohort, subject)
        case.gain(trace.run, gain_of(observed, shorter, tokens))
        case.support = support if case.runs >= REQUIRED_RUNS else min(case.runs, support)
        case.witness(trace.id, (step.id for step, _ in calls), trace.steps[0].end_ns)

    def _finding(self, case: Case) -> Finding | None:
        result, dead = self._shown.get((case.cohort.key, case.subject)) or ("", {})
        tools = not result
        size = sum(dead.values())
        most = min(3 / max(case.support, 1), 1.0)
        if tools:
            names = ", ".join(sorted(dead)[:5]) + (f" and {len(dead) - 5} more" if len(dead) > 5 else "")
            text = (
                f"{case.subject} offers its model {names} in nearly every call, {size} bytes, and called none in "
                f"{case.support} traces (so at most {most:.1%} of runs do): offer a tool when it is needed."
            )
        else:
            text = (
                f"The result of {case.subject}, {size} bytes, is in nearly every prompt and in none of {case.support} "
                f"results (so in at most {most:.1%}): load it when it is needed, or a part of it."
            )
        return case.finding(
            PATTERN,
            title=f"Dead {'tools' if tools else 'context'}: {case.subject}",
            grade=Grade.B if tools else Grade.C,
            rng=self._rng,
            required=REQUIRED_TRACES,
            unit="traces",
            quality_risk=QualityRisk.LOW if tools else QualityRisk.NEEDS_EVALUATION,
            remedy=Remedy(text=text),
            assumptions=(
                f"Cached tokens count {CACHED_PRICE:.0%} of others, and cost no time.",
                "The dead part is cached to the same share as the whole prompt.",
                BOUNDS,
            ),
        )


def _read(trace: Trace, call: Step) -> Iterator[tuple[str, int]]:
    """The results in a prompt, with their sizes: of operations of the same handler whose size is on record."""
    causes = causes_of(call) or ()
    siblings = () if call.parent is None else trace.steps[call.parent].children
    for step in (trace.steps[i] for i in siblings):
        if step.id in causes and step.operation != facts.MODEL:
            bearers = (step, *(trace.steps[i] for i in step.children))
            size = next((s for b in bearers if (s := facts.whole(b.span, attr.RESULT_SIZE)) is not None), None)
            if size:
                yield step.label, size


def _names(step: Step) -> set[str]:
    """What a model may have called the operation when it asked for it: ``tool search``, ``ask critic.review``."""
    _, _, name = step.label.partition(" ")
    return {name, *name.split("."), name.replace(".", "_")} if step.operation != facts.MODEL else set()


def _tokens_per_byte(span: SpanRecord, tokens: int) -> float:
    """Of this prompt; what it is made of and what tools add, as far as that is on record."""
    turns = [item.split(":") for item in facts.texts(span, attr.PROMPT_SEGMENTS) or ()]
    told = sum(int(turn[1]) for turn in turns if len(turn) > 1 and turn[1].isascii() and turn[1].isdigit())
    size = told + sum(sizes(span, attr.PROMPT_TOOLS).values())
    return tokens / size if told else TOKENS_PER_BYTE


DETECTOR = DeadContext
