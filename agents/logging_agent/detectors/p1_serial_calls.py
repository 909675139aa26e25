"""P1, serial independent calls: siblings run one after the other though none uses another's result.

What it is. A handler makes calls one after the other, though none uses the result of another. Started together with
`ctx.gather` they would take as long as the longest of them.

Evidence. Sibling spans of calls, asks, tools and model calls, and `antiphon.msg.causes`: the runtime compares the
text of every request with the results so far, in runs of 12 characters. Recorded causes make the finding grade A.
Without them, both orders must have been seen in five executions each, and the finding is grade B.

Guards. Each call took at least 30 ms. The gap before the next is below 10 % of the shorter call, because a longer one
is thinking. Nothing at or below the calls writes. The two calls occur together in 95 % of the executions, because
otherwise something decides between them. A model call next to a tool or a peer is never independent by causes alone.
Calls that would block one another when they start together are no remedy.

Remedy. Start the calls together with `ctx.gather`. Steps that are declared independent with `ctx.each` are run together
by a `parallelise` policy.

What stays unseen. A decision: a branch on an earlier yes or no leaves no trace in the data. Numbers and short values,
because only text of 12 characters counts. Handlers that pass on a text of more than 32,768 characters, because their
causes are then not recorded. Work in threads or libraries that does not pass through `ctx`.
"""

import random
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.steps import causes_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.effects import Effects, effects_of
from antiphon.runtime.whatif.program import BOUNDS
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Parallelise, Proposal
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p1"
MIN_CALL_NS = 30_000_000
MAX_GAP_SHARE = 0.10  # of the shorter neighbour; a longer gap is thinking
MIN_EACH_ORDER = 5  # traces with A before B, and as many with B before A
MIN_TOGETHER = 0.95  # of the handler's executions with A that have B too; else something decides in between

MOST = 64  # steps that a policy runs at a time
GATHER = "start them together with ctx.gather."

_CALLS = frozenset({*facts.WAITED, facts.MODEL, facts.TOOL})
_HANDLERS = 512
_SITES = 16  # per handler

Group = list[Step]


class _Chain(NamedTuple):
    """The longest chain of a handler; ``declared``: how long it is, where every chain is of steps of one ctx.each."""

    text: str
    proven: bool
    declared: int


class _Handler:
    """What one handler was seen to do, over all its executions that did not fail."""

    __slots__ = ("has", "orders", "together", "writes")

    def __init__(self) -> None:
        self.has: Counter[str] = Counter()
        self.together: Counter[tuple[str, str]] = Counter()
        self.orders: Counter[tuple[str, str]] = Counter()
        self.writes: set[str] = set()

    def note(self, calls: Sequence[Step], effects: Effects) -> None:
        """One execution, its calls by start."""
        first: dict[str, Step] = {}
        for call in calls:
            site = _site(call)
            if site in first or (site not in self.has and len(self.has) + len(first) >= _SITES):
                continue
            first[site] = call
        self.has.update(first.keys())
        for a, before in first.items():
            for b, after in first.items():
                if a != b:
                    self.together[a, b] += 1
                    self.orders[a, b] += before.end_ns <= after.start_ns
        for call in calls:
            site = _site(call)
            if site in self.has and call.index in effects.writes:
                self.writes.add(site)

    def may_move(self, site: str) -> bool:
        """Whether the call is known and was never seen to write."""
        return site in self.has and site not in self.writes

    def always_together(self, a: str, b: str) -> bool:
        """Whether nothing decides between the two: whoever makes one makes the other."""
        return a == b or self.together[a, b] >= MIN_TOGETHER * self.has[a]

    def either_order(self, a: str, b: str) -> bool:
        """Whether both orders are common, so that neither needs the other."""
        return a != b and min(self.orders[a, b], self.orders[b, a]) >= MIN_EACH_ORDER


class SerialCalls:
    """Finds chains of calls in a handler that could be gathered.

    Proof is the recorded causes (grade A); without them only both orders, each in five traces (grade B). A model call
    next to a call or tool is never independent by causes: a decision or a short value leaves none.
    """

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._handlers: OrderedDict[str, _Handler] = OrderedDict()
        self._cases = Cases()
        self._chains: OrderedDict[tuple[str, str], _Chain] = OrderedDict()

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: independence shows only in a whole handler."""

    def trace(self, observed: Observed) -> None:
        """Look at every handler of a closed trace."""
        trace = observed.trace
        effects = effects_of(trace)
        found: dict[str, list[Group]] = {}
        for step in trace.steps:
            if step.operation != facts.PROCESS or step.excluded or not step.children:
                continue
            siblings = [trace.steps[i] for i in step.children]
            handler = self._handler(step.label)
            handler.note([s for s in siblings if s.operation in _CALLS and not s.excluded], effects)
            groups = _chains(siblings, handler, effects)
            if groups:
                found.setdefault(step.label, []).extend(groups)
        for subject, groups in found.items():
            self._note(observed, subject, groups)

    def findings(self, now_ns: int) -> list[Finding]:
        """Chains whose gathering would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _handler(self, label: str) -> _Handler:
        handler = self._handlers.setdefault(label, _Handler())
        self._handlers.move_to_end(label)
        if len(self._handlers) > _HANDLERS:
            self._handlers.popitem(last=False)
        return handler

    def _note(self, observed: Observed, subject: str, groups: list[Group]) -> None:
        run = observed.run
        if run is None:
            return

        def gathered(program: Program) -> Program:
            for group in groups:
                program = edits.redep(program, [(run.first[s.index], run.last[s.index]) for s in group])
            return program

        saved = observed.saved_s(gathered(run.cautious), gathered(run.program))
        if saved is None:  # together they would block one another: not a remedy
            return
        proven = all(causes_of(step) is not None for group in groups for step in group[1:])
        if not proven:
            saved = saved.doubted()  # the observed order may be a dependency after all
        case = self._cases.touch(observed.cohort, subject)
        case.support += case.gain(observed.trace.run, Gain(latency_s=saved))
        spans = [s.id for group in groups for s in group]
        case.witness(observed.trace.id, spans, observed.trace.steps[0].end_ns)
        key = (observed.cohort.key, subject)
        longest = max(groups, key=len)
        declared = len(longest) if all(_declared(group) for group in groups) else 0
        self._chains[key] = _Chain(_describe(longest), proven, declared)
        self._chains.move_to_end(key)
        if len(self._chains) > _HANDLERS:
            self._chains.popitem(last=False)

    def _finding(self, case: Case) -> Finding | None:
        chain, proven, declared = self._chains.get((case.cohort.key, case.subject), _Chain("calls", False, 0))
        evidence = "none uses another's recorded result" if proven else "both orders are common"
        return case.finding(
            PATTERN,
            title=f"Serial independent calls in {case.subject}",
            grade=Grade.A if proven else Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=f"{chain} ran one after the other in {case.prevalence:.0%} of runs; {evidence}: "
                + ("they are declared independent, so run them together." if declared else GATHER),
                proposal=Proposal(action=Parallelise(most=min(declared, MOST)), target=case.subject)
                if declared
                else None,
            ),
            assumptions=(
                "No result decides whether a later call is made.",
                BOUNDS,
                "Calls stay on the nodes that served them; other runs load the pools as before.",
                *(() if proven else ("Without recorded causes the low end takes the observed order as needed.",)),
            ),
        )


def _site(step: Step) -> str:
    """Which call of the handler it is. Model calls differ by system prompt, output and length: a router is not the
    step that it routes to, while a loop over items is one site."""
    if step.operation != facts.MODEL:
        return step.label
    segments = facts.texts(step.span, attr.PROMPT_SEGMENTS) or ()
    system = segments[0] if segments and segments[0].startswith("system:") else ""
    limit = facts.whole(step.span, attr.GENAI_MAX_TOKENS)
    return f"{step.label} {facts.text(step.span, attr.GENAI_OUTPUT_TYPE)} {limit} {system}"


def _chains(siblings: Sequence[Step], handler: _Handler, effects: Effects) -> list[Group]:
    """Maximal runs of at least two mutually independent calls, each starting soon after the one before ended."""
    ids = {s.id for s in siblings}
    overlapping: set[int] = set()
    latest: Step | None = None
    for step in siblings:
        if latest is not None and step.start_ns < latest.end_ns:
            overlapping |= {latest.index, step.index}
        if latest is None or step.end_ns > latest.end_ns:
            latest = step
    groups: list[Group] = []
    current: Group = []
    before: Step | None = None
    for step in siblings:
        fits = (
            step.operation in _CALLS
            and not step.excluded
            and step.index not in overlapping
            and step.duration_ns >= MIN_CALL_NS
            and handler.may_move(_site(step))
            and step.index in effects.read_only
        )
        joins = fits and bool(current) and before is current[-1] and _follows(before, step)
        if joins and all(_independent(a, step, ids, handler) for a in current):
            current.append(step)
        else:
            groups.append(current)
            current = [step] if fits else []
        before = step
    groups.append(current)
    return [group for group in groups if len(group) > 1]


def _follows(a: Step, b: Step) -> bool:
    return b.start_ns - a.end_ns < MAX_GAP_SHARE * min(a.duration_ns, b.duration_ns)


def _independent(a: Step, b: Step, siblings: set[str], handler: _Handler) -> bool:
    """Whether ``b`` needs nothing of ``a``. A cause that is not a known sibling may be anything, so it counts."""
    causes = causes_of(b)
    if causes and (a.id in causes or not siblings.issuperset(causes)):
        return False
    if causes is None or (a.operation == facts.MODEL) != (b.operation == facts.MODEL):
        return handler.either_order(_site(a), _site(b))
    return handler.always_together(_site(a), _site(b))


def _declared(group: Group) -> bool:
    """Whether the code declares that these are steps which need nothing of one another, and they ran one at a time."""
    joint = {facts.text(step.span, attr.GROUP) for step in group}
    return joint != {""} and len(joint) == 1 and all(facts.whole(s.span, attr.GROUP_WIDTH) == 1 for s in group)


def _describe(group: Group) -> str:
    names = Counter(step.label for step in group)
    parts = [f"{label} x{count}" if count > 1 else label for label, count in names.items()]
    return ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]


DETECTOR = SerialCalls
