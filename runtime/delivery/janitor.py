"""Housekeeping of one node: lost streams come back, finished work is purged, blobs that nobody needs go.

Results and journals expire on the server, by their own TTL; what is purged here is the TASKS stream, which has none:
acked messages stay under limits retention until somebody removes them.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

import structlog

from antiphon.runtime.bus.base import Bus, ConsumerState
from antiphon.runtime.bus.matching import overlap
from antiphon.runtime.bus.topology import TASKS, ensure_streams
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.collector import PERIOD_S, collect, take_turn
from antiphon.runtime.delivery.journal_sweep import JournalSweep
from antiphon.runtime.delivery.leftovers import clear_leftovers
from antiphon.runtime.errors import BusUnavailable

TICK_S = 5.0
SAMPLES = 64  # a durable; the window is kept to 1/64 of itself

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Purge:
    """Messages on ``subject`` with a sequence below this are finished, and were so for the whole window."""

    subject: str
    below: int


class Floors:
    """How far each durable was, and when: what may be purged follows from that alone."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._samples: dict[str, deque[tuple[float, int]]] = {}

    def observe(self, now_s: float, states: list[ConsumerState]) -> list[Purge]:
        """Note the floors and say what may go.

        A message goes when every durable whose subjects overlap its own settled it ``window_s`` ago, and has it
        settled now (a durable made anew starts at 0). Subjects that no durable covers are never named.
        """
        self._samples = {state.name: self._samples.get(state.name, deque()) for state in states}
        aged = {state.name: self._aged(now_s, state) for state in states}
        found: list[Purge] = []
        for state in states:
            for subject in state.subjects:
                floor = min(
                    aged[other.name] for other in states if any(overlap(subject, theirs) for theirs in other.subjects)
                )
                if floor:
                    found.append(Purge(subject=subject, below=floor + 1))
        return found

    def _aged(self, now_s: float, state: ConsumerState) -> int:
        """The newest floor that is old enough; 0: none."""
        samples = self._samples[state.name]
        if not samples or now_s - samples[-1][0] >= self._window_s / SAMPLES:
            samples.append((now_s, state.floor))
        while len(samples) > 1 and samples[1][0] <= now_s - self._window_s:
            samples.popleft()
        when_s, floor = samples[0]
        return min(floor, state.floor) if when_s <= now_s - self._window_s else 0


class Janitor:
    """One per node. Several do the same work without harm: every step may be repeated."""

    def __init__(self, bus: Bus, clock: Clock, node: str, *, result_ttl_s: float, replay_window_s: float) -> None:
        self._bus = bus
        self._clock = clock
        self._node = node
        self._result_ttl_s = result_ttl_s
        self._floors = Floors(replay_window_s)
        self._sweep = JournalSweep(bus, clock)
        self._purged: dict[str, int] = {}
        self._next_collection_s = clock.monotonic_s() + PERIOD_S

    async def run(self) -> None:
        """Until cancelled. What fails is logged and tried again."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.tend()
            except BusUnavailable as error:
                log.warning("housekeeping_delayed", node=self._node, error=error.message)
            except Exception as error:
                log.exception("housekeeping_failed", node=self._node, error=str(error))

    async def tend(self) -> None:
        """One round.

        Raises:
            ConfigurationError: a stream is there with limits that forget.
            BusError: the server did not do it.
        """
        await ensure_streams(self._bus)
        await self._purge()
        if self._clock.monotonic_s() >= self._next_collection_s:
            self._next_collection_s = self._clock.monotonic_s() + PERIOD_S
            if await take_turn(self._bus, self._node):
                await self._sweep.sweep()
                await clear_leftovers(self._bus)
                await collect(self._bus, self._clock, result_ttl_s=self._result_ttl_s)

    async def _purge(self) -> None:
        states = await self._bus.inspector.consumers(TASKS.name)
        due = self._floors.observe(self._clock.monotonic_s(), states)
        for purge in due:
            if self._purged.get(purge.subject) != purge.below:
                gone = await self._bus.streams.purge(TASKS.name, subject=purge.subject, below=purge.below)
                if gone:
                    log.info("tasks_purged", subject=purge.subject, messages=gone)
        self._purged = {purge.subject: purge.below for purge in due}
