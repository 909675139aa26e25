"""Recorded runs joined into one program that shares their pools."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.whatif.program import FIDELITY, Run, capacities, compile_run, join
from antiphon.runtime.whatif.recorded import trace_of
from antiphon.runtime.whatif.simulator import Program, Timeline
from antiphon.runtime.whatif.trace import Step, Trace
from antiphon.schemas.telemetry import SpanRecord

MAX_RUN_SPANS = 5_000
MAX_SPANS = 100_000  # of all runs together: about 300 MB, and two seconds a replay


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """A run and where its tasks begin in the joined program."""

    trace: Trace
    run: Run
    base: int

    def call(self, step: Step) -> tuple[int, int]:
        """First and last task of a step in the joined program."""
        first, last = self.run.call(step)
        return first + self.base, last + self.base

    def tasks(self, steps: Iterable[Step]) -> frozenset[int]:
        """All tasks of steps in the joined program."""
        return frozenset(task + self.base for task in self.run.tasks(steps))

    def latency_s(self, timeline: Timeline) -> float:
        """What the run took in a replay of the joined program."""
        return (timeline.end_ns[self.run.finish + self.base] - timeline.begin_ns[self.run.root + self.base]) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Ensemble:
    """Runs that are answered for (``played``) in the programs of all that were replayed; each with its own replay.

    ``left_out``: how many runs are not answered for, by reason.
    """

    played: tuple[Played, ...]
    cautious: tuple[Program, Timeline]
    hopeful: tuple[Program, Timeline]
    left_out: Mapping[str, int]
    error: float  # median over runs of |unedited replay - record| / record


def assemble(runs: Iterable[Sequence[SpanRecord]], left_out: Mapping[str, int] | None = None) -> Ensemble:
    """Runs, each as the spans on record, made ready for questions. ``left_out``: runs that are known not to be there.

    Raises:
        Unanswerable: no run can be replayed; says why.
    """
    missing = Counter(left_out or {})
    usable: list[tuple[Trace, Run]] = []
    spans = 0
    for recorded in runs:
        if len(recorded) > MAX_RUN_SPANS:
            missing[f"more than {MAX_RUN_SPANS:,} spans"] += 1
            continue
        if spans + len(recorded) > MAX_SPANS:
            missing[f"more than {MAX_SPANS:,} spans with the runs before"] += 1
            continue
        trace = trace_of(recorded)
        if trace is None:
            missing["no span is the first"] += 1
            continue
        if any(step.span.end_ns == 0 for step in trace.steps):
            missing["spans that never ended"] += 1
            continue
        run = compile_run(trace)
        if run is None or any(_off(run.latency_ns(was) / 1e9, trace) for was in run.unedited):
            missing["damaged: the record contradicts itself"] += 1
            continue
        spans += len(recorded)
        usable.append((trace, run))
    if not usable:
        raise Unanswerable(f"no run can be replayed ({reasons(missing) or 'none was found'}): choose others")
    return _joined(usable, missing)


def reasons(left_out: Mapping[str, int]) -> str:
    """``3 failed, 1 with …``."""
    return "; ".join(f"{count:,}: {reason}" for reason, count in left_out.items())


def _joined(usable: Sequence[tuple[Trace, Run]], missing: Counter[str]) -> Ensemble:
    reported, active = capacities(step for trace, _ in usable for step in trace.steps)
    at_least = {pool: min(seen, reported.get(pool, seen)) for pool, seen in active.items()}
    cautious, starts = join((run.cautious for _, run in usable), at_least)
    hopeful, _ = join((run.program for _, run in usable), at_least)
    if cautious is None or hopeful is None:
        raise Unanswerable("the runs block one another in the replay: ask about fewer of them at once")
    played = [Played(trace=trace, run=run, base=base) for (trace, run), base in zip(usable, starts, strict=True)]
    misses = sorted(_miss(p.latency_s(cautious[1]), p.trace) for p in played)
    kept = [p for p in played if not any(_off(p.latency_s(was), p.trace) for was in (cautious[1], hopeful[1]))]
    if len(kept) < len(played):
        missing[f"replayed together more than {FIDELITY:.0%} off the record"] += len(played) - len(kept)
    if not kept:
        raise Unanswerable(f"no run can be replayed ({reasons(missing)}): ask about fewer of them at once")
    return Ensemble(
        played=tuple(kept), cautious=cautious, hopeful=hopeful, left_out=dict(missing), error=misses[len(misses) // 2]
    )


def _miss(replayed_s: float, trace: Trace) -> float:
    recorded_s = trace.latency_ns / 1e9
    return abs(replayed_s - recorded_s) / recorded_s if recorded_s > 0 else abs(replayed_s)


def _off(replayed_s: float, trace: Trace) -> bool:
    return _miss(replayed_s, trace) > FIDELITY
