"""The sending end of one reply on the bus: numbered batches, signs of life, one end."""

import asyncio
from typing import Final

from antiphon.runtime.bus.base import Bus, Delivery
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import MessageTooLarge, ModelError, ModelUnavailable
from antiphon.runtime.models.exchange import Pace
from antiphon.schemas.inference import Chunk, ChunkBatch, Finish, ReaderSignal

_WAITING: Final = 256  # chunks between the instance and the bus; the instance then waits


class ReplyStream:
    """Chunks are put in by whoever generates and sent by ``pump``, which ends with the reply or its reader."""

    def __init__(self, bus: Bus, subject: str, clock: Clock, pace: Pace) -> None:
        self._bus = bus
        self._subject = subject
        self._clock = clock
        self._pace = pace
        self._items: asyncio.Queue[Chunk | ModelError] = asyncio.Queue(_WAITING)
        self._number = 0
        self._heard_s = clock.monotonic_s()
        self._gone = False

    async def put(self, item: Chunk | ModelError) -> None:
        """Send this next; a Finish or an error is the end. Waits while the bus is behind."""
        await self._items.put(item)

    async def signal(self, delivery: Delivery) -> None:
        """A ReaderSignal came: the reader is alive, or it has gone and ``pump`` ends."""
        if decode(ReaderSignal, delivery.body).gone:
            self._gone = True
            if not self._items.full():
                self._items.put_nowait(ModelUnavailable("the reader has gone"))  # wakes pump
        self._heard_s = self._clock.monotonic_s()

    async def pump(self) -> None:
        """Send what is put until the end, or until the reader has been silent for too long.

        Raises:
            BusError: the bus does not take it.
        """
        sent_at = -self._pace.coalesce_s
        while True:
            items = await self._gather(sent_at + self._pace.coalesce_s)
            if self._gone:
                return
            sent_at = asyncio.get_running_loop().time()
            last = items[-1] if items else None
            try:
                await self._send([item for item in items if not isinstance(item, ModelError)])
            except MessageTooLarge as error:
                last = ModelError(f"one chunk is too large for the bus: {error.message}; ask for less")
            if isinstance(last, ModelError):
                await self.fail(last)
            if isinstance(last, Finish | ModelError):
                return
            if self._silent_s() >= self._pace.silence_s:
                await asyncio.sleep(self._pace.stall_s)
                silent_s = self._silent_s()
                if silent_s >= self._pace.silence_s:
                    gone = ModelUnavailable(f"the reader has been silent for {silent_s:.1f} s; generation stopped")
                    await self.fail(gone)
                    return

    def _silent_s(self) -> float:
        return self._clock.monotonic_s() - self._heard_s

    async def fail(self, error: ModelError) -> None:
        """Send an error as the end."""
        await self._bus.publish(self._subject, encode(ChunkBatch(n=self._number, error=error.info())))

    async def _gather(self, until: float) -> list[Chunk | ModelError]:
        """What came until the loop time ``until``, at least one item; nothing when it is time for a sign of life."""
        items: list[Chunk | ModelError] = []
        try:
            async with asyncio.timeout(self._pace.sign_s):
                items.append(await self._items.get())
            async with asyncio.timeout_at(until):
                while len(items) < _WAITING and not isinstance(items[-1], Finish | ModelError):
                    items.append(await self._items.get())
        except TimeoutError:
            pass  # the bound is the point
        return items

    async def _send(self, chunks: list[Chunk]) -> None:
        """One batch, or halves where that is too large."""
        body = encode(ChunkBatch(n=self._number, chunks=tuple(chunks)))
        try:
            await self._bus.publish(self._subject, body)
        except MessageTooLarge:
            if len(chunks) < 2:
                raise
            middle = len(chunks) // 2
            await self._send(chunks[:middle])
            await self._send(chunks[middle:])
            return
        self._number += len(chunks)
