"""How calls of one model slow one another (``g`` of the time law), and replay that goes by it.

A batch decodes more slowly than a single request, so that durations depend on the load, which the change in question
changes. Replay alone would keep them as recorded.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from antiphon.runtime.whatif.edits import scale
from antiphon.runtime.whatif.ensemble import Ensemble
from antiphon.runtime.whatif.simulator import Program, Timeline, replay
from antiphon.runtime.whatif.time_law import Call, call_of, fit

ROUNDS = 4  # of replay and of durations by its load: each changes about a tenth of what the one before did


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A call whose decoding, a ``share`` of its time, was recorded while ``active`` calls were at work on average."""

    share: float
    active: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interference:
    """``slowed`` is g by pool; ``calls`` by task."""

    slowed: Mapping[str, float]
    calls: Mapping[int, Loaded]

    def replay(self, program: Program) -> Timeline | None:
        """The program with durations that agree with its own load; None if it stalls."""
        timeline = replay(program)
        for _ in range(ROUNDS if any(self.slowed.values()) else 0):
            if timeline is None:
                return None
            active = _active(program, timeline, self.calls)
            factors = {}
            for task, now in active.items():
                g = self.slowed.get(program.tasks[task].pool or "", 0.0)
                was = self.calls[task]
                slower = (1 + g * (now - 1)) / (1 + g * (was.active - 1))
                factors[task] = 1 + was.share * (slower - 1)
            timeline = replay(scale(program, factors))
        return timeline


def measure(ensemble: Ensemble) -> Interference:
    """As the runs show it. A pool with too few calls that say their tokens shows none."""
    calls: dict[int, Call] = {}
    for played in ensemble.played:
        for step in played.trace.steps:
            call = call_of(step)
            if call is not None and not step.children:
                calls[played.call(step)[0]] = call
    program, recorded = ensemble.hopeful
    active = _active(program, recorded, calls)
    pools: dict[str, list[Call]] = {}
    for task, now in active.items():
        pools.setdefault(program.tasks[task].pool or "", []).append(replace(calls[task], active=now))
    laws = {pool: fit(found) for pool, found in pools.items()}
    return Interference(
        slowed={pool: law.g for pool, law in laws.items() if law is not None},
        calls={
            task: Loaded(share=min(calls[task].decode_s / calls[task].service_s, 1.0), active=now)
            for task, now in active.items()
        },
    )


def _active(program: Program, timeline: Timeline, wanted: Iterable[int]) -> dict[int, float]:
    """Mean number of calls at work in the pool of each wanted task while it was at work, itself included."""
    of_pool: dict[str, list[int]] = {}
    for task in wanted:
        pool = program.tasks[task].pool
        if pool is not None and timeline.end_ns[task] > timeline.begin_ns[task]:
            of_pool.setdefault(pool, []).append(task)
    found: dict[int, float] = {}
    for tasks in of_pool.values():
        edges = sorted(edge for task in tasks for edge in ((timeline.begin_ns[task], 1), (timeline.end_ns[task], -1)))
        times, worked, levels = [edges[0][0]], [0], [0]  # at a time: work done so far, calls at work from then on
        for at_ns, change in edges:
            if at_ns > times[-1]:
                worked.append(worked[-1] + levels[-1] * (at_ns - times[-1]))
                times.append(at_ns)
                levels.append(levels[-1])
            levels[-1] += change

        def done(at_ns: int, times: list[int] = times, worked: list[int] = worked, levels: list[int] = levels) -> int:
            place = bisect_right(times, at_ns) - 1
            return worked[place] + levels[place] * (at_ns - times[place])

        for task in tasks:
            begin, end = timeline.begin_ns[task], timeline.end_ns[task]
            found[task] = (done(end) - done(begin)) / (end - begin)
    return found
