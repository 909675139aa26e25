"""Chunks of a running task: numbered, coalesced, with an explicit end."""

import asyncio

import structlog

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.errors import BusError
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.task import StreamBatch, StreamEnd, StreamItem, TaskState, Token

log = structlog.get_logger()

COALESCE_S = 0.03  # 20 to 50 ms: below what a reader notices, above what a broker message per token costs
MAX_ITEMS = 256  # a batch that is full goes out at once


class Emitter:
    """One attempt's way to its readers. Core NATS: a reader that is not there misses it, the result it gets."""

    def __init__(self, bus: Bus, tenant: str, task: str, run: str, attempt: int) -> None:
        self._bus = bus
        self._subject = subjects.stream(tenant, task)
        self._headers = Envelope(type=StreamBatch.message_name, run=run, task=task).headers()
        self._task = task
        self._attempt = attempt
        self._n = 0
        self._items: list[StreamItem] = []
        self._timer: asyncio.Task[None] | None = None

    async def emit(self, item: StreamItem) -> None:
        """Show ``item`` within COALESCE_S. Raises BusError if the bus refuses a full batch."""
        last = self._items[-1] if self._items else None
        if isinstance(item, Token) and isinstance(last, Token):
            self._items[-1] = Token(text=last.text + item.text)
        else:
            self._items.append(item)
        if len(self._items) >= MAX_ITEMS:
            await self._flush()
        elif self._timer is None:
            self._timer = asyncio.create_task(self._later())

    async def end(self, state: TaskState) -> None:
        """Nothing follows in this attempt; readers fetch the result."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._items.append(StreamEnd(state=state))
        await self._try_to_flush()

    async def _later(self) -> None:
        await asyncio.sleep(COALESCE_S)
        self._timer = None
        await self._try_to_flush()

    async def _try_to_flush(self) -> None:
        try:
            await self._flush()
        except BusError as error:
            # A reader that misses chunks still gets the result; the gap in numbers tells it so.
            log.warning("stream_batch_lost", task=self._task, n=self._n, error=error.message)

    async def _flush(self) -> None:
        items, self._items = tuple(self._items), []
        if not items:
            return
        first, self._n = self._n, self._n + len(items)
        batch = StreamBatch(task=self._task, attempt=self._attempt, n=first, items=items)
        await self._bus.publish(self._subject, encode(batch), self._headers)
