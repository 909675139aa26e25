"""Pulls durable messages for one agent: only into free slots, with heartbeats for every one it holds."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from antiphon.runtime.bus.base import Bus, Consumer, ConsumerSpec, Lease
from antiphon.runtime.delivery.slots import Slot, Slots
from antiphon.runtime.errors import BusError, LeaseLost

FETCH_S = 5.0  # how long one pull waits at the server; shutting down does not wait for it
RETRY_S = 0.5  # after the bus failed

log = structlog.get_logger()
Process = Callable[[Lease, Slot], Awaitable[None]]


class Worker:
    """One pull loop. ``process`` settles its lease itself; one that escapes with an error is handed back."""

    def __init__(self, bus: Bus, spec: ConsumerSpec, slots: Slots, process: Process) -> None:
        self._bus = bus
        self._spec = spec
        self._slots = slots
        self._process = process
        self._consumer: Consumer | None = None
        self._loop: asyncio.Task[None] | None = None
        self._pulse: asyncio.Task[None] | None = None
        self._held: dict[int, Lease] = {}  # by id(): those that wait for a slot and those that run
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Bind to the durable and begin to pull. Raises BusError."""
        self._consumer = await self._bus.streams.consume(self._spec)
        self._loop = asyncio.create_task(self._pull(self._consumer))
        self._pulse = asyncio.create_task(self._heartbeat())

    async def stop_pulling(self) -> None:
        """Take no more; what is held runs on under its heartbeats."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
            self._loop = None

    async def stop(self) -> None:
        """Wait for what is held (whoever drains has stopped it), then let go of the durable."""
        await self.stop_pulling()
        while self._tasks:
            await asyncio.wait(list(self._tasks))
        if self._pulse is not None:
            self._pulse.cancel()
            await asyncio.wait([self._pulse])
        if self._consumer is not None:
            await self._consumer.stop()

    async def _pull(self, consumer: Consumer) -> None:
        while True:
            await self._slots.wait_free()
            try:
                limit = min(self._slots.free, self._spec.max_in_flight)  # more would wait for what cannot come
                leases = await consumer.fetch(limit, FETCH_S)
            except BusError as error:
                log.warning("fetch_failed", consumer=self._spec.name, error=error.message)
                await asyncio.sleep(RETRY_S)
                continue
            for lease in leases:
                # Asks may have taken the slots meanwhile: then the lease waits, kept alive like the others.
                self._held[id(lease)] = lease
                task = asyncio.create_task(self._run(lease))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            await asyncio.sleep(0)  # each takes its slot, or its turn, before the free ones are counted again

    async def _run(self, lease: Lease) -> None:
        slot = Slot(self._slots)
        await slot.take()
        try:
            await self._process(lease, slot)
        except (BusError, LeaseLost) as error:
            log.warning("work_not_settled", subject=lease.message.subject, error=error.message)
            if isinstance(error, BusError):  # else it is another worker's
                await self._hand_back(lease)
        except Exception:
            log.exception("work_failed", subject=lease.message.subject)
        finally:
            del self._held[id(lease)]
            slot.close()

    async def _hand_back(self, lease: Lease) -> None:
        """Have the message come again soon: a bus that was restarted is back long before the lease lapses."""
        wait_s = min(RETRY_S * 2 ** min(lease.deliveries - 1, 10), self._spec.ack_wait_s)  # one that stays full is not
        try:
            await lease.nak(wait_s)
        except BusError as error:
            log.info("lease_left_to_lapse", subject=lease.message.subject, error=error.message)

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self._spec.ack_wait_s / 4)
            for lease in list(self._held.values()):
                try:
                    await lease.extend()
                except BusError as error:
                    log.warning("lease_not_extended", subject=lease.message.subject, error=error.message)
