"""Closes the journals of finished tasks that stayed open: their closing message is sent without confirmation.

It is lost when the connection breaks at that moment, or when the stream is full. Each stored message is looked at once,
when it is old enough; what belongs to an unfinished task is looked at again.
"""

import structlog

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.topology import JOURNAL
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.outcome import read_result
from antiphon.schemas import subjects
from antiphon.schemas.envelope import FINAL
from antiphon.schemas.task import TaskState

GRACE_S = 60.0  # from a message to the result of a short task, and from a result to the closing
MAX_OPEN = 100_000  # unfinished tasks that are remembered; of more the oldest are found again by starting over

log = structlog.get_logger()


class JournalSweep:
    """Walks the JOURNAL stream of all tenants."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._position = 0
        self._open: dict[str, None] = {}  # subjects of unfinished tasks that were passed

    async def sweep(self) -> int:
        """Purge what is left of finished tasks; of how many. Raises BusError."""
        await self._walk()
        purged = 0
        for subject in list(self._open):
            tenant, task = subjects.parse(subject).tenant, subjects.parse_journal(subject)
            result = await read_result(self._bus, tenant, task)
            stored = await self._bus.streams.last(subject)
            if stored is None or FINAL in stored.headers or (result is not None and result.state is TaskState.DEAD):
                del self._open[subject]  # closed meanwhile; or it waits for whoever redrives or drops it
            elif result is not None and result.finished_unix_ms <= self._young_ms():
                # A parked task may be cancelled long after its last entry: whoever wakes tidies up by its journal.
                del self._open[subject]
                purged += await self._bus.streams.purge(JOURNAL.name, subject=subject) > 0
        if purged:
            log.info("journals_purged", journals=purged)
        return purged

    async def _walk(self) -> None:
        young_ms = self._young_ms()
        everything = subjects.every(subjects.Kind.JOURNAL)
        async for stored in self._bus.streams.read(JOURNAL.name, everything, after=self._position):
            if stored.unix_ms > young_ms:
                return
            if len(self._open) >= MAX_OPEN:
                self._position = 0
                return
            self._position = stored.sequence
            if FINAL not in stored.headers:
                self._open[stored.subject] = None

    def _young_ms(self) -> int:
        """What is stored or finished after this (unix ms) is too young to be looked at."""
        return self._clock.unix_ns() // 1_000_000 - int(GRACE_S * 1000)
