"""Programs: what each run has had of the engine, which goes first, and how long its pages are kept between calls.

Least attained service first, over a whole program rather than a call, as in Autellix (arXiv 2502.13965); keeping pages
while a tool runs weighs the pages' idle time against everybody's waiting for a recomputation, as in InferCept (arXiv
2402.01869).
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

AGING: Final = 0.02  # seconds of service that a second of age makes up for
FORGET_S: Final = 600.0
_MOST: Final = 4096  # runs, and agents, remembered


@dataclass(eq=False, slots=True)
class Program:
    """One run. ``key`` orders programs, least first.

    The key is service minus credit for age, with what is equal for all left out. A program that has had S seconds of
    service is overtaken only by programs that come within S / AGING seconds of its own first call: however many newer
    ones arrive, it waits no longer than that and what those bring.
    """

    first_s: float
    attained_s: float = 0.0
    calls: int = 0  # under way
    ended_s: float | None = None  # when the last call ended, while none is under way
    gap_s: float | None = None  # between its calls, the latest weighing most
    agent: str | None = None

    @property
    def key(self) -> float:
        """Seconds; programs with less go first."""
        return self.attained_s + AGING * self.first_s


class Programs:
    """All runs of late: at most 4,096, each forgotten when it was idle for ten minutes."""

    def __init__(self) -> None:
        self._runs: OrderedDict[str, Program] = OrderedDict()  # the longest untouched first
        self._gaps: OrderedDict[str, float] = OrderedDict()  # of each agent's runs

    def __len__(self) -> int:
        return len(self._runs)

    def begin(self, run: str | None, agent: str | None, now_s: float) -> Program:
        """A call arrives. Without a run it is a program of its own."""
        if run is None:
            return Program(first_s=now_s, calls=1, agent=agent)
        self._forget(now_s)
        program = self._runs.setdefault(run, Program(first_s=now_s))
        self._runs.move_to_end(run)
        if program.ended_s is not None:
            gap_s = now_s - program.ended_s
            program.gap_s = _mixed(program.gap_s, gap_s)
            program.ended_s = None
            if program.agent is not None:
                self._gaps[program.agent] = _mixed(self._gaps.get(program.agent), gap_s)
                self._gaps.move_to_end(program.agent)
                if len(self._gaps) > _MOST:
                    self._gaps.popitem(last=False)
        program.agent = agent
        program.calls += 1
        return program

    def end(self, run: str | None, now_s: float) -> None:
        """A call is over."""
        program = self._runs.get(run) if run is not None else None
        if run is None or program is None:
            return
        self._runs.move_to_end(run)
        program.calls -= 1
        if not program.calls:
            program.ended_s = now_s

    def hold_s(self, program: Program, *, recompute_s: float, pages: int, pool: int) -> float:
        """How long to keep the ``pages`` of a call that ended, of ``pool`` in all; 0: no longer than any other.

        Kept, they stand idle; dropped, for want of pages, the whole pool waits while they are computed again. So they
        break even after ``recompute_s * pool / pages``. A program not known yet is given that long, which costs at most
        twice what knowing would; one that is usually away for longer gets nothing, others twice their usual gap.
        """
        even_s = recompute_s * pool / max(pages, 1)
        gap_s = program.gap_s
        if gap_s is None and program.agent is not None:
            gap_s = self._gaps.get(program.agent)
        if gap_s is None:
            return even_s
        return 0.0 if gap_s > even_s else min(even_s, 2 * gap_s)

    def _forget(self, now_s: float) -> None:
        while self._runs:
            run, program = next(iter(self._runs.items()))
            if program.calls and len(self._runs) <= 2 * _MOST:
                self._runs.move_to_end(run)  # under way; its turn comes again
                return
            idle_s = now_s - (program.ended_s or 0.0)
            if idle_s <= FORGET_S and len(self._runs) <= _MOST:
                return
            del self._runs[run]


def _mixed(mean_s: float | None, new_s: float) -> float:
    return new_s if mean_s is None else (mean_s + new_s) / 2
