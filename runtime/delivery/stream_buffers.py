"""What a node shows of its tasks: sent at once to whoever listens, kept for those who come later or missed some."""

import asyncio

import structlog

from antiphon.runtime.bus.base import Bus, Delivery, Subscription
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.delivery.rings import KEEP_S, Rings
from antiphon.runtime.errors import BusError, MessageError
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.task import Position, ResumeStream, StreamBatch

ASKERS = 1024  # requests that may wait here; a reader whose request was dropped asks again
SWEEP_S = KEEP_S / 4

log = structlog.get_logger()


class StreamBuffers:
    """One per node. Nothing here waits for a reader: batches go out on core NATS, and lie in rings meanwhile."""

    def __init__(self, bus: Bus, clock: Clock, tenant: str) -> None:
        self._bus = bus
        self._clock = clock
        self._tenant = tenant
        self._rings = Rings()
        self._requests: Subscription | None = None
        self._sweeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Answer readers from now on. Raises BusUnavailable."""
        asked = subjects.every(subjects.Kind.CONTROL, self._tenant).replace(">", "stream.*")
        self._requests = await self._bus.subscribe(asked, self._answer, limit=ASKERS)
        self._sweeping = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Answer nobody any more; what was kept is gone. Idempotent."""
        requests, self._requests = self._requests, None
        if requests is not None:
            await requests.stop()
        sweeping, self._sweeping = self._sweeping, None
        if sweeping is not None:
            sweeping.cancel()
            await asyncio.wait([sweeping])

    async def show(self, batch: StreamBatch, run: str) -> None:
        """Keep the batch and send it. One that the bus refuses is logged; readers ask for it when they see the gap."""
        body = encode(batch)
        self._rings.add(batch.task, Position(batch.attempt, batch.n + len(batch.items)), body)
        headers = Envelope(type=StreamBatch.message_name, run=run, task=batch.task).headers()
        try:
            await self._bus.publish(subjects.stream(self._tenant, batch.task), body, headers)
        except BusError as error:
            log.warning("stream_batch_not_sent", task=batch.task, n=batch.n, error=error.message)

    def leave(self, task: str) -> None:
        """This node has done with the task; what it showed is kept for KEEP_S more."""
        self._rings.leave(task, self._clock.monotonic_s())

    async def _answer(self, delivery: Delivery) -> None:
        _, task = subjects.parse_control(delivery.subject)
        try:
            asked = decode(ResumeStream, delivery.body)
        except MessageError as error:
            log.warning("stream_request_unreadable", task=task, error=error.message)
            return
        if not delivery.reply:
            log.warning("stream_request_without_reply", task=task)
            return
        headers = Envelope(type=StreamBatch.message_name, task=task).headers()
        try:
            for body in self._rings.behind(task, Position(asked.attempt, asked.n)):
                await self._bus.publish(delivery.reply, body, headers)
        except BusError as error:
            log.warning("stream_request_not_answered", task=task, error=error.message)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            self._rings.sweep(self._clock.monotonic_s())
