"""Pulls durable messages for one agent: only into free slots, with heartbeats for every one it holds."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from antiphon.runtime.bus.base import Bus, Consumer, ConsumerSpec, Lease
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.errors import BusError

FETCH_S = 5.0  # how long one pull waits at the server; shutting down does not wait for it
RETRY_S = 0.5  # after the bus failed

log = structlog.get_logger()
Process = Callable[[Lease], Awaitable[None]]


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
                leases = await consumer.fetch(self._slots.free, FETCH_S)
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
        await self._slots.acquire(held=True)
        try:
            await self._process(lease)
        except BusError as error:
            # Not settled: the lease lapses and the message comes again.
            log.warning("work_not_settled", subject=lease.message.subject, error=error.message)
        except Exception:
            log.exception("work_failed", subject=lease.message.subject)
        finally:
            del self._held[id(lease)]
            self._slots.release()

    async def _heartbeat(self) -> None:
        while True:
            await asyncio.sleep(self._spec.ack_wait_s / 4)
            for lease in list(self._held.values()):
                try:
                    await lease.extend()
                except BusError as error:
                    log.warning("lease_not_extended", subject=lease.message.subject, error=error.message)
