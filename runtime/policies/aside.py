"""Work beside what is served: a bounded number at once, nobody waits for it, and it ends with the process."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

import structlog

AT_ONCE: Final = 8

log = structlog.get_logger()


class Aside:
    """Runs what it has room for and drops the rest: a sample is enough for a comparison."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
        """Begin ``work()``; False: there is no room."""
        if self._closed or len(self._tasks) >= self._at_once:
            return False
        task = asyncio.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    async def close(self) -> None:
        """Cancel what runs, and take no more."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("aside_failed", error=str(task.exception()))
