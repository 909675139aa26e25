"""Waiting for news, with a deadline."""

import asyncio


class Bell:
    """Wakes everybody who waits. ``asyncio.wait_for`` on an Event costs a task each time, this a timer."""

    def __init__(self) -> None:
        self._waiters: dict[asyncio.Future[bool], None] = {}

    def ring(self) -> None:
        """There may be something: look again."""
        for waiter in self._waiters:
            _answer(waiter, True)

    async def wait(self, timeout_s: float) -> bool:
        """Until the bell rings (True) or ``timeout_s`` has passed (False)."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        timer = loop.call_later(timeout_s, _answer, waiter, False)
        self._waiters[waiter] = None
        try:
            return await waiter
        finally:
            timer.cancel()
            del self._waiters[waiter]


def _answer(waiter: asyncio.Future[bool], rung: bool) -> None:
    if not waiter.done():
        waiter.set_result(rung)
