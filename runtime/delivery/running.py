"""The handlers that run on this node: stopped at their deadline, on cancel, and when the node drains."""

import asyncio
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import AntiphonError, DeadlineExceeded, TaskCancelled

SWEEP_S = 0.05  # one timer for all handlers: a deadline is noticed this late at most


@dataclass(slots=True, eq=False)
class Run:
    """One running handler. ``reason`` is set when the node stopped it, and is what its caller is told."""

    asyncio_task: "asyncio.Task[Any]"
    task: str
    deadline_unix_ms: int | None
    reason: AntiphonError | None = None

    def stop(self, reason: AntiphonError) -> None:
        """Cancel the handler; only the first reason counts."""
        if self.reason is None:
            self.reason = reason
            self.asyncio_task.cancel()


class Running:
    """All runs of one node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: set[Run] = set()
        self._idle: asyncio.Future[None] | None = None
        self._stopping: AntiphonError | None = None

    def __len__(self) -> int:
        return len(self._runs)

    def enter(self, task: str, deadline_unix_ms: int | None) -> Run:
        """Note that the current asyncio task runs a handler."""
        current = asyncio.current_task()
        if current is None:
            raise RuntimeError("a handler runs outside an asyncio task")
        run = Run(current, task, deadline_unix_ms)
        self._runs.add(run)
        if self._stopping is not None:
            run.stop(self._stopping)
        return run

    def leave(self, run: Run) -> None:
        """The handler has ended."""
        self._runs.discard(run)
        if not self._runs and self._idle is not None and not self._idle.done():
            self._idle.set_result(None)

    def cancel(self, task: str) -> bool:
        """Stop the handler of a durable task; False if it does not run here."""
        found = [run for run in self._runs if run.task == task]
        for run in found:
            run.stop(TaskCancelled(f"task {task} was cancelled", task=task))
        return bool(found)

    def stop_all(self, reason: AntiphonError) -> None:
        """Stop every handler, and those that still start."""
        self._stopping = reason
        for run in list(self._runs):
            run.stop(reason)

    async def sweep(self) -> None:
        """Stop handlers whose deadline has passed, until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_S)
            now_ms = self._clock.unix_ns() // 1_000_000
            for run in list(self._runs):
                if run.deadline_unix_ms is not None and now_ms >= run.deadline_unix_ms:
                    run.stop(DeadlineExceeded("the deadline passed while the handler ran; allow more time"))

    async def wait_idle(self, timeout_s: float) -> bool:
        """Whether all handlers ended by themselves within ``timeout_s``."""
        if not self._runs:
            return True
        self._idle = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait_for(self._idle, timeout_s)
        except TimeoutError:
            return False
        return True
