"""Dead letters as a person meets them: by number, agent by agent, until each is redriven or dropped."""

import base64
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from antiphon.runtime.bus.base import Bus, StoredMessage
from antiphon.runtime.bus.topology import DEAD
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import InvalidMessage, UnknownLetter
from antiphon.schemas import subjects
from antiphon.schemas.task import DeadLetter


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A dead letter and where it lies. ``number`` is its sequence in ANTIPHON_DEAD."""

    number: int
    agent: str
    content: DeadLetter

    async def body(self, bus: Bus) -> bytes:
        """The original bytes. Raises BusError if they were in the blob store and are there no more."""
        if self.content.body_sha256 is not None:
            return await bus.blobs.get(self.content.body_sha256)
        return base64.b64decode(self.content.body_base64)


class Letters:
    """The dead letters of one tenant."""

    def __init__(self, bus: Bus, tenant: str) -> None:
        self._bus = bus
        self._tenant = tenant

    async def each(self, agent: str | None = None) -> AsyncGenerator[Letter, None]:
        """The letters of one agent or of all, the oldest first. Raises BusError."""
        subject = (
            subjects.every(subjects.Kind.DEAD, self._tenant) if agent is None else subjects.dead(self._tenant, agent)
        )
        async with aclosing(self._bus.streams.read(DEAD.name, subject)) as messages:
            async for stored in messages:
                yield _letter(stored)

    async def get(self, number: int) -> Letter:
        """One letter.

        Raises:
            UnknownLetter: there is none of that number, or it was redriven or dropped before.
            BusError: it cannot be read.
        """
        stored = await self._bus.inspector.get(DEAD.name, number) if number > 0 else None
        if stored is not None and subjects.parse(stored.subject).tenant == self._tenant:
            return _letter(stored)
        if stored is None and 0 < number <= (await self._bus.inspector.usage(DEAD.name)).last:
            raise UnknownLetter(
                f"dead letter {number} was redriven or dropped before: `antiphon dead list` shows what is left",
                letter=number,
            )
        raise UnknownLetter(f"no dead letter {number}: `antiphon dead list` shows those there are", letter=number)

    async def remove(self, letter: Letter) -> None:
        """The letter is settled: nobody sees it again. Idempotent. Raises BusError."""
        await self._bus.streams.delete(DEAD.name, letter.number)


def _letter(stored: StoredMessage) -> Letter:
    """What is no letter, because somebody else published it, is shown with its bytes and can be dropped."""
    try:
        content = decode(DeadLetter, stored.body)
    except InvalidMessage as error:
        content = DeadLetter(
            subject=stored.subject,
            reason=error.info(),
            attempts=0,
            headers=dict(stored.headers),
            body_base64=base64.b64encode(stored.body).decode(),
            unix_ms=stored.unix_ms,
        )
    agent = subjects.parse_dead(stored.subject)
    return Letter(number=stored.sequence, agent=agent, content=content)
