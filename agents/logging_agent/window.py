"""The newest runs of all workflows, and what a remedy saves when they are replayed together through shared pools."""

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from antiphon.agents.logging_agent.detectors.base import Observed
from antiphon.agents.logging_agent.recent import Recent
from antiphon.runtime.whatif.program import FIDELITY, Run, join
from antiphon.runtime.whatif.simulator import Program, Timeline, replay
from antiphon.runtime.whatif.trace import Step

_Key = TypeVar("_Key", bound=Hashable)

RUNS = 50
STEPS = 5_000  # together: a joint replay takes some 20 ms then
SUBJECTS = 512


class Window:
    """The runs seen last, oldest first: at most RUNS, and of several at most STEPS steps."""

    def __init__(self) -> None:
        self._runs: deque[Observed] = deque()
        self._steps = 0
        self._joint: Joint | None = None
        self._is_joined = False

    @property
    def joint(self) -> "Joint | None":
        """The runs replayed together, without those whose record contradicts itself; None if they stall.

        Made at most once for each new run: some 20 ms.
        """
        if not self._is_joined:
            self._joint, self._is_joined = _together(self._runs), True
        return self._joint

    def __iter__(self) -> Iterator[Observed]:
        return iter(self._runs)

    def add(self, observed: Observed) -> None:
        """One more run; the oldest go where it would be too much."""
        self._joint, self._is_joined = None, False
        self._runs.append(observed)
        self._steps += len(observed.trace.steps)
        while len(self._runs) > RUNS or (self._steps > STEPS and len(self._runs) > 1):
            oldest = self._runs.popleft()
            self._steps -= len(oldest.trace.steps)
            oldest.leave()


class Suspects(Generic[_Key]):
    """What to look at in the window of the runs that gave reason to, at most SUBJECTS.

    A look replays the window, some 10 to 100 ms: one a tick, and again when a quarter as many runs have given reason to
    as had by the look before, 12 at most, or when no more come.
    """

    def __init__(self) -> None:
        self._seen: Recent[_Key, int] = Recent(SUBJECTS)  # runs at the last look
        self._fresh: dict[_Key, tuple[int, Window]] = {}  # runs since
        self._noted = False  # since ``due`` was asked last

    def note(self, key: _Key, window: Window | None) -> None:
        """Another run gives reason to look. Without a window there is nothing to look at."""
        if window is None:
            return
        self._noted = True
        fresh, _ = self._fresh.pop(key, (0, window))
        self._fresh[key] = fresh + 1, window
        if len(self._fresh) > SUBJECTS:
            del self._fresh[next(iter(self._fresh))]

    def due(self) -> list[tuple[_Key, Window]]:
        """What is to be looked at now, one or none: of what is due, that which gave reason to longest ago."""
        is_quiet, self._noted = not self._noted, False
        for key, (fresh, window) in self._fresh.items():
            seen = self._seen.get(key) or 0
            if is_quiet or fresh >= max(1, seen // 4):
                del self._fresh[key]
                self._seen.put(key, min(seen + fresh, RUNS))
                return [(key, window)]
        return []


@dataclass(frozen=True, slots=True)
class Placed:
    """A run and where its tasks begin in the joint programs."""

    observed: Observed
    run: Run
    start: int

    def call(self, step: Step) -> tuple[int, int]:
        """The first and last task of one of its steps."""
        return self.start + self.run.first[step.index], self.start + self.run.last[step.index]

    def latency_s(self, timeline: Timeline) -> float:
        """What the run took in a replay."""
        return (timeline.end_ns[self.start + self.run.finish] - timeline.begin_ns[self.start + self.run.root]) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class Joint:
    """Runs of one time as one program, by cautious and hopeful capacities (``Run``), with the replays of both."""

    placed: tuple[Placed, ...]
    cautious: Program
    hopeful: Program
    unedited: tuple[Timeline, Timeline]  # of cautious and hopeful

    def saved_s(self, of: Sequence[Placed], cautious: Program, hopeful: Program) -> list[tuple[float, float]] | None:
        """Seconds that two edits of the joint programs save each run of ``of``, the smaller first.

        None where an edit stalls or the unedited replay does not reproduce what these runs took.
        """
        recorded = sum(p.observed.trace.latency_ns for p in of) / 1e9
        saved: list[list[float]] = []
        for before, edited in zip(self.unedited, (cautious, hopeful), strict=True):
            was = [p.latency_s(before) for p in of]
            off = sum(abs(s - p.observed.trace.latency_ns / 1e9) for s, p in zip(was, of, strict=True))
            becomes = replay(edited)
            if becomes is None or off > FIDELITY * recorded:
                return None
            saved.append([s - p.latency_s(becomes) for s, p in zip(was, of, strict=True)])
        return [(min(pair), max(pair)) for pair in zip(*saved, strict=True)]

    def edited(self, edits: Mapping[str, tuple[Program, Program]]) -> tuple[Program, Program]:
        """The joint programs, cautious and hopeful, with each trace's own edit in its place, by the trace's id."""
        found = [(p, edits[p.observed.trace.id]) for p in self.placed if p.observed.trace.id in edits]
        return (
            _edited(self.cautious, [(p, p.run.cautious, cautious) for p, (cautious, _) in found]),
            _edited(self.hopeful, [(p, p.run.program, hopeful) for p, (_, hopeful) in found]),
        )


def _edited(joint: Program, edits: Iterable[tuple[Placed, Program, Program]]) -> Program:
    """Waiting that an edit left as it was is that which the joint replay does not explain, not that of a run alone."""
    tasks = list(joint.tasks)
    for placed, alone, edited in edits:
        own, new = len(alone.tasks), len(tasks) - len(alone.tasks)  # tasks that an edit adds go to the end

        def moved(index: int, start: int = placed.start, own: int = own, new: int = new) -> int:
            return index + (start if index < own else new)

        for index, task in enumerate(edited.tasks):
            if index < own and task is alone.tasks[index]:
                continue
            kept = index < own and task.delay_ns == alone.tasks[index].delay_ns
            put = replace(
                task,
                after=tuple(map(moved, task.after)),
                also=tuple(map(moved, task.also)),
                held_until=None if task.held_until is None else moved(task.held_until),
                delay_ns=tasks[moved(index)].delay_ns if kept else task.delay_ns,
                run=tasks[placed.start].run,
                cancels=tuple(map(moved, task.cancels)),
            )
            if index < own:
                tasks[moved(index)] = put
            else:
                tasks.append(put)
    return replace(joint, tasks=tuple(tasks))


def _together(runs: Iterable[Observed]) -> Joint | None:
    usable = [(observed, run) for observed in runs if (run := observed.run) is not None]
    hopeful, starts = join(run.program for _, run in usable)
    cautious, _ = join(run.cautious for _, run in usable)
    if hopeful is None or cautious is None:
        return None
    return Joint(
        placed=tuple(Placed(o, run, start) for (o, run), start in zip(usable, starts, strict=True)),
        cautious=cautious[0],
        hopeful=hopeful[0],
        unedited=(cautious[1], hopeful[1]),
    )
