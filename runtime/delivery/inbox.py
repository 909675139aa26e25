"""Batches that have arrived and were not read yet: bounded, because a reader may be slow."""

import asyncio
from collections import deque

from antiphon.runtime.bus.base import Delivery

INBOX_BYTES = 4 << 20  # room for a whole ring and what is shown meanwhile
OVERHEAD_BYTES = 256  # of the objects around a batch


class Inbox:
    """When it is full, what comes is left to the nodes, which keep it for a while; ``refused`` says so."""

    def __init__(self) -> None:
        self._bodies: deque[bytes] = deque()
        self._bytes = 0
        self._bell = asyncio.Event()
        self.refused = False

    async def receive(self, delivery: Delivery) -> None:
        """A batch has come."""
        size = len(delivery.body) + OVERHEAD_BYTES
        if self._bytes + size > INBOX_BYTES:
            self.refused = True
            return
        self._bytes += size
        self._bodies.append(delivery.body)
        self._bell.set()

    def ring(self) -> None:
        """Something else has happened that the reader waits for."""
        self._bell.set()

    def take(self) -> bytes | None:
        """The next batch, or None."""
        if not self._bodies:
            return None
        body = self._bodies.popleft()
        self._bytes -= len(body) + OVERHEAD_BYTES
        return body

    async def wait(self, timeout_s: float) -> None:
        """Until something comes, ``ring`` is called or the time is up."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._bell.wait()
        except TimeoutError:
            return
        finally:
            self._bell.clear()
