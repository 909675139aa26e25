"""Scores of runs on the bus, in the order in which the stream took them: for whoever judges a change by them."""

import structlog

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.topology import EVENTS
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import InvalidMessage
from antiphon.schemas import subjects
from antiphon.schemas.score import TOPIC, Score

AGAIN = 100_000  # newest events, scores among them, that are read at first: some seconds of work

log = structlog.get_logger()


class ScoreLog:
    """The scores of one tenant; a later one of the same task and name replaces an earlier one."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self._bus = bus
        self._subject = subjects.event(tenant, TOPIC)
        self._after: int | None = None

    async def news(self) -> list[Score]:
        """What was said since the last call, the first time the newest that is kept.

        Messages that are no scores are logged and left out. Raises BusError.
        """
        after = self._after
        if after is None:
            after = max((await self._bus.inspector.usage(EVENTS.name)).last - AGAIN, 0)
        found = []
        async for message in self._bus.streams.read(EVENTS.name, self._subject, after=after):
            after = message.sequence
            try:
                found.append(decode(Score, message.body))
            except InvalidMessage as error:
                log.warning("score_unreadable", sequence=message.sequence, error=error.message)
        self._after = after
        return found
