"""What a reader of a task sees: chunks in order, a restart, and the stored outcome at the end."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from antiphon.runtime.bus.base import Bus, Delivery
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.outcome import await_result
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import MessageError
from antiphon.schemas import subjects
from antiphon.schemas.task import Progress, Restarted, StreamBatch, StreamEnd, TaskResult, Token

END_S = 0.25  # the end of the chunks and the record come over different ways; work that never began has no end
QUEUE = 1024  # batches a slow reader may leave waiting; the oldest go first, the result always comes

log = structlog.get_logger()
Event = Token | Progress | Restarted | TaskResult


class Ordering:
    """Turns batches as they arrive into items for a reader. Pure.

    A batch of an earlier attempt is stale; the first one of a later attempt is preceded by ``Restarted``.
    """

    def __init__(self) -> None:
        self.attempt = 0
        self.next = 0
        self.missed = 0
        self.ended = False  # nothing follows in this attempt

    def take(self, batch: StreamBatch) -> list[Token | Progress | Restarted]:
        """What the reader is shown for this batch; ``missed`` counts items that never arrived."""
        if batch.attempt < self.attempt:
            return []
        out: list[Token | Progress | Restarted] = []
        if batch.attempt > self.attempt:
            if self.attempt > 0 and self.next > 0:
                out.append(Restarted(attempt=batch.attempt))
            self.attempt, self.next, self.ended = batch.attempt, 0, False
        skip = max(0, self.next - batch.n)
        self.missed += max(0, batch.n - self.next)
        self.next = max(self.next, batch.n + len(batch.items))
        for item in batch.items[skip:]:
            if isinstance(item, StreamEnd):
                self.ended = True
            else:
                out.append(item)
        return out


@asynccontextmanager
async def follow(bus: Bus, clock: Clock, tenant: str, task: str) -> AsyncGenerator[AsyncGenerator[Event, None], None]:
    """Subscribed before the body runs, so that nothing is missed; the events end with the TaskResult."""
    batches: asyncio.Queue[StreamBatch] = asyncio.Queue(QUEUE)

    async def receive(delivery: Delivery) -> None:
        try:
            batch = decode(StreamBatch, delivery.body)
        except MessageError as error:
            log.warning("stream_batch_unreadable", task=task, error=error.message)
            return
        if batches.full():
            batches.get_nowait()
        batches.put_nowait(batch)

    subscription = await bus.subscribe(subjects.stream(tenant, task), receive)
    try:
        yield _events(bus, clock, tenant, task, batches)
    finally:
        await subscription.stop()


async def _events(
    bus: Bus, clock: Clock, tenant: str, task: str, batches: "asyncio.Queue[StreamBatch]"
) -> AsyncGenerator[Event, None]:
    ordering = Ordering()
    ending = asyncio.create_task(await_result(bus, clock, tenant, task, deadline_unix_ms=None))
    try:
        while True:
            arriving = asyncio.create_task(batches.get())
            await asyncio.wait({arriving, ending}, return_when=asyncio.FIRST_COMPLETED)
            if not arriving.done():
                arriving.cancel()
                break
            for item in ordering.take(arriving.result()):
                yield item
        result = await ending
        end_s = clock.monotonic_s() + END_S
        while not ordering.ended:
            try:
                batch = await asyncio.wait_for(batches.get(), end_s - clock.monotonic_s())
            except TimeoutError:
                break
            for item in ordering.take(batch):
                yield item
        if ordering.missed:
            log.warning("stream_items_missed", task=task, missed=ordering.missed)
        yield result
    finally:
        ending.cancel()
        await asyncio.wait([ending])
