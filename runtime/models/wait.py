"""What bounds a wait inside a model instance: the request's deadline, and the instance being closed."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import ModelUnavailable


class Waits:
    """Every wait of an instance's requests, so that closing the instance ends them all.

    ``label`` names the instance in errors.
    """

    def __init__(self, label: str, clock: Clock) -> None:
        self._label = label
        self._clock = clock
        self._open: dict[asyncio.Timeout, None] = {}  # in order: a set of objects has another order in every run
        self._closed = False

    def left_s(self, deadline_unix_ms: int | None) -> float | None:
        """Seconds until the deadline, at least 0; None where there is none."""
        if deadline_unix_ms is None:
            return None
        return max(0.0, deadline_unix_ms / 1e3 - self._clock.unix_ns() / 1e9)

    @asynccontextmanager
    async def at_most(self, timeout_s: float | None) -> AsyncGenerator[None, None]:
        """Bound the body by ``timeout_s`` (None: only by ``close``).

        Raises:
            TimeoutError: the time is up.
            ModelUnavailable: the instance was closed, before or meanwhile.
        """
        self.check()
        try:
            async with asyncio.timeout(timeout_s) as bound:
                self._open[bound] = None
                try:
                    yield
                finally:
                    self._open.pop(bound, None)
        except TimeoutError:
            self.check()
            raise

    def check(self) -> None:
        """Raises ModelUnavailable if the instance is closed."""
        if self._closed:
            raise ModelUnavailable(f"{self._label} was closed; open it anew")

    def close(self) -> None:
        """End every wait with ModelUnavailable, now and later. Idempotent."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for bound in self._open:
            if not bound.expired():
                bound.reschedule(now)
