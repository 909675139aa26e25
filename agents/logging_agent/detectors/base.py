"""The seam of a detector, and what it is shown."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Protocol
from weakref import WeakSet

from antiphon.agents.logging_agent.cohorts import Cohort
from antiphon.runtime.whatif.program import FIDELITY, Run, compile_run
from antiphon.runtime.whatif.simulator import Program, replay
from antiphon.runtime.whatif.trace import Trace
from antiphon.schemas.finding import Finding
from antiphon.schemas.telemetry import SpanRecord


class Edit:
    """A run's edited programs (cautious, hopeful); None when the run has left the window, since they are large."""

    __slots__ = ("__weakref__", "programs")

    def __init__(self, programs: tuple[Program, Program]) -> None:
        self.programs: tuple[Program, Program] | None = programs


class Saved(tuple[float, float]):
    """Seconds that an edit saves a run, the smaller bound first, and the edit.

    With it the edits of many runs can be replayed together: what one run no longer occupies, others need not wait
    for. ``trace`` is the id of the run's trace: a run may have several.
    """

    edit: Edit
    trace: str
    is_doubted: bool = False

    def __new__(cls, low: float, high: float, edit: Edit, trace: str) -> "Saved":
        made = super().__new__(cls, (low, high))
        made.edit, made.trace = edit, trace
        return made

    def doubted(self) -> "Saved":
        """The same where the edit may not be possible at all: the lower bound is no saving."""
        doubted = Saved(min(0.0, self[0]), self[1], self.edit, self.trace)
        doubted.is_doubted = True
        return doubted


@dataclass(frozen=True)
class Observed:
    """A closed trace with its cohort. Its program is compiled when a detector first asks for it."""

    trace: Trace
    cohort: Cohort
    _edits: WeakSet[Edit] = field(default_factory=WeakSet, init=False, repr=False, compare=False)

    @cached_property
    def run(self) -> Run | None:
        """The trace for the simulator; None if its record contradicts itself."""
        return compile_run(self.trace)

    def saved_s(self, cautious: Program, hopeful: Program) -> Saved | None:
        """Seconds that two edits of this run's programs save; None where an edit stalls or the unedited replay does
        not reproduce the record."""
        if self.run is None:
            return None
        saved = []
        recorded = self.trace.latency_ns
        for was, after in zip(self.run.unedited, (cautious, hopeful), strict=True):
            before = self.run.latency_ns(was)
            becomes = replay(after)
            if becomes is None or abs(before - recorded) > FIDELITY * recorded:
                return None
            saved.append((before - self.run.latency_ns(becomes)) / 1e9)
        edit = Edit((cautious, hopeful))
        self._edits.add(edit)
        return Saved(min(saved), max(saved), edit, self.trace.id)

    def leave(self) -> None:
        """The run is in no window any more: what was edited of it is of no further use, whoever holds it."""
        for edit in self._edits:
            edit.programs = None


class Detector(Protocol):
    """One pattern. Bounded memory; a cap may cause misses, never false alarms.

    ``streams``: the operations (``facts.operation``) whose ended spans it sees as they arrive; most need none.
    """

    streams: ClassVar[frozenset[str]]

    def observe(self, span: SpanRecord, node: str) -> None:
        """An ended span of one of its ``streams``, as it arrives, whether or not its trace is analysed: about 1 us."""
        ...

    def trace(self, observed: Observed) -> None:
        """A closed trace."""
        ...

    def findings(self, now_ns: int) -> list[Finding]:
        """What can be said of the cases that changed since the last call."""
        ...
