"""P2, N+1 loop: five or more calls of one kind in a loop, each with another argument, that could be one.

What it is. A handler calls one tool or peer five times or more, one call after the other, each time with another
input: one call a row instead of one for all rows.

Evidence. Siblings of one label with different `antiphon.input.sha256`. Grade A where the tool declares that it
takes many calls at once (`antiphon.tool.batch`), nothing below the calls writes, and the recorded causes show that
no call uses what came after the first of them began. Otherwise grade B: advice.

Guards. The calls take 300 ms together, or 5 % of the run. A model call between two of them decides what comes next,
so a loop ends there, and so it does where a call uses a later result. Calls that overlap are a map that somebody
wrote on purpose. Calls that failed or were tried again do not count.

Remedy. Issue the calls together with `ctx.gather`; a `batch` policy then makes them one call of a tool that
declares `batch`. For others: give the tool or the peer an argument that takes a list.

What stays unseen. Which argument varies, because spans carry hashes and not arguments. Pages that are fetched until
one is empty: a decision leaves no cause. What a batch really costs, as long as none was seen.
"""

import random
from collections.abc import Sequence
from typing import ClassVar

from antiphon.agents.logging_agent.batch_cost import BatchCost
from antiphon.agents.logging_agent.cases import KEEP_CASES, Case, Cases, Gain
from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.agents.logging_agent.steps import causes_of, tasks_of
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.whatif import edits, facts
from antiphon.runtime.whatif.effects import read_only
from antiphon.runtime.whatif.program import BOUNDS, Run
from antiphon.runtime.whatif.simulator import Program
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.finding import Finding, Grade, Remedy
from antiphon.schemas.policy import Batch, Proposal
from antiphon.schemas.telemetry import SpanRecord

PATTERN = "p2"
MIN_CALLS = 5
MOST_CALLS = 64  # in one batch, as the policy has it
MIN_TOTAL_NS = 300_000_000
MIN_TOTAL_SHARE = 0.05  # of the run
PER_ITEM = 0.10  # of a call: what each further item of a batch may cost, where no batch was seen
WINDOW_S = 0.005  # calls of one gather are issued within far less than a millisecond

_CALLS = frozenset({*facts.WAITED, facts.TOOL})
_CALLEES = 512
_LOOPS = 4  # of one callee in one run: each is an edit of the whole program

Loop = list[Step]


class NPlusOne:
    """Finds loops of equal calls that one call with a list could replace."""

    streams: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._cases = Cases()
        self._costs: Recent[str, BatchCost] = Recent(_CALLEES)
        self._shown: Recent[tuple[str, str], tuple[int, bool]] = Recent(KEEP_CASES)  # calls, and whether it is proven

    def observe(self, span: SpanRecord, node: str) -> None:
        """Nothing: a loop shows only in a whole handler."""

    def trace(self, observed: Observed) -> None:
        """Look at what each step of a closed trace called."""
        trace = observed.trace
        found: dict[str, list[Loop]] = {}
        for step in trace.steps:
            if step.operation in _CALLS and not step.excluded:
                size = facts.whole(step.span, attr.BATCH_SIZE) or 1
                self._costs.make(step.label, BatchCost).note(min(size, MOST_CALLS), step.duration_ns)
            if step.excluded or len(step.children) < MIN_CALLS:
                continue
            for loop in _loops([trace.steps[i] for i in step.children]):
                total_ns = sum(call.duration_ns for call in loop)
                if total_ns >= min(MIN_TOTAL_NS, MIN_TOTAL_SHARE * trace.latency_ns):
                    found.setdefault(loop[0].label, []).append(loop)
        for subject, loops in found.items():
            self._note(observed, subject, loops[:_LOOPS])

    def findings(self, now_ns: int) -> list[Finding]:
        """Loops whose batching would matter."""
        found = (self._finding(case) for case in self._cases.changed())
        return [finding for finding in found if finding is not None]

    def _note(self, observed: Observed, subject: str, loops: list[Loop]) -> None:
        run, trace = observed.run, observed.trace
        if run is None:
            return
        costs = [self._cost_ns(loop) for loop in loops]
        saved = observed.saved_s(
            _batched(run.cautious, run, trace, loops, [most for most, _ in costs]),
            _batched(run.program, run, trace, loops, [least for _, least in costs]),
        )
        if saved is None:
            return
        proven = all(_proven(trace, call) for loop in loops for call in loop)
        latency_s = saved if proven else saved.doubted()  # the observed order may be needed after all
        case = self._cases.touch(observed.cohort, subject)
        case.support += case.gain(trace.run, Gain(latency_s=latency_s))
        case.witness(trace.id, (call.id for loop in loops for call in loop), trace.steps[0].end_ns)
        key = (case.cohort.key, subject)
        before = self._shown.get(key)
        calls = max(len(loop) for loop in loops)
        self._shown.put(key, (calls, proven and (before is None or before[1])))

    def _cost_ns(self, loop: Loop) -> tuple[int, int]:
        """What one batch of the loop's calls takes, at most and at least."""
        seen = self._costs.make(loop[0].label, BatchCost).took_ns(len(loop))
        if seen is not None:
            return seen
        took_ns = [call.duration_ns for call in loop]
        longest, shortest = max(took_ns), min(took_ns)
        own_ns = sum(ns - shortest for ns in took_ns)
        return max(shortest + own_ns, round(longest * (1 + PER_ITEM * (len(loop) - 1)))), longest

    def _finding(self, case: Case) -> Finding | None:
        calls, proven = self._shown.get((case.cohort.key, case.subject)) or (MIN_CALLS, False)
        loop = f"{case.subject} is called {calls} times in a row, each time with another input, in "
        share = f"{case.prevalence:.0%} of runs: "
        advice = (
            "issue the calls together with ctx.gather, and a batch policy makes them one."
            if proven
            else "give it an argument that takes a list."
        )
        return case.finding(
            PATTERN,
            title=f"N+1 loop over {case.subject}",
            grade=Grade.A if proven else Grade.B,
            rng=self._rng,
            remedy=Remedy(
                text=loop + share + advice,
                proposal=Proposal(action=Batch(window_s=WINDOW_S, most=MOST_CALLS), target=case.subject)
                if proven
                else None,
            ),
            assumptions=(
                "A batch takes what batches of its size were seen to take. Where none were seen: at best as long as "
                "its longest call; at worst what calls take beyond the shortest of them adds up, and each further item "
                f"costs at least {PER_ITEM:.0%} of a call.",
                "No result decides whether a later call is made.",
                BOUNDS,
                *(() if proven else ("The low end takes the observed order as needed.",)),
            ),
        )


def _loops(siblings: Sequence[Step]) -> list[Loop]:
    """Calls of one label, one after the other, with other inputs and no decision between; ``siblings`` by start."""
    by_id = {step.id: step for step in siblings}
    loops: list[Loop] = []
    current: dict[str, Loop] = {}
    inputs: dict[str, set[str]] = {}
    maps: set[str] = set()
    for step in siblings:
        if step.operation == facts.MODEL:
            current = {}
            continue
        content = facts.text(step.span, attr.INPUT_HASH)
        if step.operation not in _CALLS or step.excluded or not content:
            continue
        loop = current.get(step.label)
        if loop and step.start_ns < loop[-1].end_ns:
            maps.add(step.label)
        if not loop or len(loop) == MOST_CALLS or _uses_later(step, loop[0], by_id):
            current[step.label] = [step]
            inputs[step.label] = {content}
            loops.append(current[step.label])
        elif content not in inputs[step.label]:
            loop.append(step)
            inputs[step.label].add(content)
    return [loop for loop in loops if len(loop) >= MIN_CALLS and loop[0].label not in maps]


def _uses_later(call: Step, first: Step, siblings: dict[str, Step]) -> bool:
    """Whether the call needs something that was not there when the loop began. An unknown cause may be anything."""
    causes = (siblings.get(cause) for cause in causes_of(call) or ())
    return any(cause is None or cause.end_ns > first.start_ns for cause in causes)


def _proven(trace: Trace, call: Step) -> bool:
    return facts.flag(call.span, attr.TOOL_BATCH) and causes_of(call) is not None and read_only(trace, call)


def _batched(program: Program, run: Run, trace: Trace, loops: list[Loop], costs_ns: list[int]) -> Program:
    for loop, cost_ns in zip(loops, costs_ns, strict=True):
        calls = [(run.first[call.index], run.last[call.index]) for call in loop]
        below = (step for call in loop for step in trace.below(call.index) if step.index != call.index)
        program = edits.remove(edits.redep(program, calls), tasks_of(run, below))
        program = edits.merge(program, calls, cost_ns)
    return program


DETECTOR = NPlusOne
