"""The handlers that run on this node: stopped at their deadline, on cancel, and when the node drains."""

import asyncio
from dataclasses import dataclass
from typing import Any

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import AntiphonError, DeadlineExceeded, TaskCancelled

REMEMBERED = 4096  # ended tasks: one of them may be on its way to its handler, held up by a server that was away
INSIST_S = 5.0  # a handler that is told to stop may tidy up for so long before it is told again
SWEEP_S = 0.05  # one timer for all handlers: a deadline is noticed this late at most


@dataclass(slots=True, eq=False)
class Run:
    """One running handler. ``reason`` is set when the node stopped it, and is what its caller is told."""

    asyncio_task: "asyncio.Task[Any]"
    task: str
    parent: str
    deadline_unix_ms: int | None
    reason: AntiphonError | None = None
    ended: bool = False

    def stop(self, reason: AntiphonError) -> None:
        """Cancel the handler; only the first reason counts."""
        if self.reason is None and not self.ended:
            self.reason = reason
            self._insist()

    def _insist(self) -> None:
        """Cancel until it ends: ``asyncio.wait_for`` in Python 3.11, and other people's code, may swallow one."""
        if not self.ended:
            self.asyncio_task.cancel()
            asyncio.get_running_loop().call_later(INSIST_S, self._insist)


class Running:
    """All runs of one node."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._runs: dict[Run, None] = {}  # in order: a set of objects has another order in every run
        self._timed = asyncio.Event()  # some run has, or had, a deadline
        self._left: asyncio.Future[None] | None = None  # done when the next handler has ended
        self._stopping: AntiphonError | None = None
        self._ended: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self._runs)

    def enter(self, task: str, parent: str, deadline_unix_ms: int | None) -> Run:
        """Note that the current asyncio task runs a handler, on behalf of ``task`` and of the ``parent`` that waits."""
        current = asyncio.current_task()
        if current is None:
            raise RuntimeError("a handler runs outside an asyncio task")
        run = Run(current, task, parent, deadline_unix_ms)
        self._runs[run] = None
        if deadline_unix_ms is not None:
            self._timed.set()
        if self._stopping is not None:
            run.stop(self._stopping)
        elif self._ended:
            self._stop_ended(run)
        return run

    def leave(self, run: Run) -> None:
        """The handler has ended."""
        run.ended = True
        self._runs.pop(run, None)
        if self._left is not None and not self._left.done():
            self._left.set_result(None)

    def cancel(self, task: str) -> list[str]:
        """Stop the handlers of a durable task that has ended, and of its children; the tasks that were stopped.

        ``task`` may also be the run of an ask that was given up. Those that are about to start are stopped then.
        """
        self._ended[task] = None
        while len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        return [run.task or run.parent for run in list(self._runs) if self._stop_ended(run)]

    def expect(self, task: str, parent: str) -> None:
        """Somebody is about to look whether these have ended: what was heard before counts no more."""
        self._ended.pop(task, None)
        self._ended.pop(parent, None)

    def _stop_ended(self, run: Run) -> bool:
        if run.task in self._ended:
            run.stop(TaskCancelled(f"task {run.task} was cancelled", task=run.task))
        elif run.parent in self._ended and not run.task:
            run.stop(TaskCancelled("whoever asked has given up", run=run.parent))
        elif run.parent in self._ended:
            run.stop(TaskCancelled(f"task {run.task} was cancelled with its parent {run.parent}", task=run.task))
        else:
            return False
        return True

    def stop_all(self, reason: AntiphonError) -> None:
        """Stop every handler, and those that still start."""
        self._stopping = reason
        for run in list(self._runs):
            run.stop(reason)

    async def sweep(self) -> None:
        """Stop handlers whose deadline has passed, until cancelled."""
        while True:
            await self._timed.wait()
            await asyncio.sleep(SWEEP_S)
            self._timed.clear()
            now_ms = self._clock.unix_ns() // 1_000_000
            for run in list(self._runs):
                if run.deadline_unix_ms is None:
                    continue
                self._timed.set()
                if now_ms >= run.deadline_unix_ms:
                    run.stop(DeadlineExceeded("the deadline passed while the handler ran; allow more time"))

    async def wait_idle(self, timeout_s: float, *, durable: bool = False) -> bool:
        """Whether all handlers, or all of ``durable`` work, ended by themselves within ``timeout_s``."""
        try:
            async with asyncio.timeout(timeout_s):
                while any(run.task or not durable for run in self._runs):
                    self._left = asyncio.get_running_loop().create_future()
                    await self._left
        except TimeoutError:
            return False
        return True
