"""From a subscription to its receiver: bounded, in order where asked, never silent.

nats-py awaits each callback before the next (nats.py#447); here a message gets its own asyncio task, at most
``concurrency`` at once, so that a slow one holds up nobody but its own slot.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable

import structlog

from antiphon.runtime.bus.base import Delivery, Receiver

_log = structlog.get_logger(__name__)

_QUIET_S = 1.0  # at most one line a second about drops of one subscription


class Dispatcher:
    """Hands deliveries to one receiver.

    A task starts in a copy of the subscriber's context, so that what a receiver puts into a ``ContextVar`` stays
    with its message.
    """

    def __init__(
        self, subject: str, receiver: Receiver, *, concurrency: int, limit: int, on_drop: Callable[[], None]
    ) -> None:
        self._subject = subject
        self._receiver = receiver
        self._concurrency = concurrency
        self._limit = limit
        self._on_drop = on_drop
        self._waiting: deque[Delivery] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._dropped = 0
        self._next_line_s = 0.0
        self._on_idle: Callable[[], None] | None = None

    def offer(self, delivery: Delivery) -> None:
        """Handle now, keep for later, or drop and count."""
        if len(self._running) < self._concurrency:
            self._start(delivery)
        elif len(self._waiting) < self._limit:
            self._waiting.append(delivery)
        else:
            self._drop()

    def finish(self, on_idle: Callable[[], None]) -> None:
        """Call ``on_idle`` once everything that has arrived is handled; that may be at once."""
        self._on_idle = on_idle
        self._settle()

    def cancel(self) -> list[asyncio.Task[None]]:
        """Forget what waits and cancel what runs (the caller's own task excepted); the tasks to wait for."""
        self._waiting.clear()
        try:
            current = asyncio.current_task()
        except RuntimeError:
            current = None
        tasks = [task for task in self._running if task is not current]
        for task in tasks:
            task.cancel()
        return tasks

    def _start(self, delivery: Delivery) -> None:
        task = self._loop.create_task(self._handle(delivery), context=self._context.copy())
        self._running.add(task)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            await self._receiver(delivery)
        except Exception:
            _log.exception("bus_receiver_failed", subject=delivery.subject, subscription=self._subject)
        finally:
            task = asyncio.current_task()
            if task is not None:
                self._running.discard(task)
            if self._waiting:
                self._start(self._waiting.popleft())
            elif self._on_idle is not None:
                self._settle()

    def _settle(self) -> None:
        if self._on_idle is not None and not self._running and not self._waiting:
            self._on_idle()

    def _drop(self) -> None:
        self._dropped += 1
        self._on_drop()
        now = self._loop.time()
        if now >= self._next_line_s:
            self._next_line_s = now + _QUIET_S
            _log.warning("bus_message_dropped", subscription=self._subject, limit=self._limit, dropped=self._dropped)
