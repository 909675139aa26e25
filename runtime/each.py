"""``ctx.each``: steps that need nothing of one another, one after the other until a policy runs them together."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from antiphon.runtime.branches import Branches, Joint, settle

T = TypeVar("T")


def each(branches: Branches, work: Sequence[Awaitable[T]], width: Callable[[], int]) -> Coroutine[Any, Any, list[T]]:
    """Number now; when awaited, run ``width()`` at a time in their order, each as a branch of its own.

    However many run at a time, operations have the same numbers, and the outcome is that of one after the other: the
    results in order, or the error of the first in order that fails. Later ones that had begun are then cancelled.
    """
    path = branches.next_path()

    async def run() -> list[T]:
        branches.owner()
        at_once = width()
        steps = _Steps(branches, Joint(path, len(work), width=at_once), work)
        try:
            async with branches.idle():
                await steps.go(at_once)
            return [task.result() for task in steps.tasks]
        finally:
            await steps.leave()

    return run()


class _Steps:
    """The steps of one ``each``; ``end`` is the index of the first that failed, else how many there are."""

    def __init__(self, branches: Branches, joint: Joint, work: Sequence[Awaitable[Any]]) -> None:
        self._branches = branches
        self._joint = joint
        self._work = work
        self._end = len(work)
        self.tasks: list[asyncio.Task[Any]] = []

    async def go(self, width: int) -> None:
        """Until all before the end have ended; raises the error of the one at the end."""
        while True:
            running = {task for task in self.tasks[: self._end] if not task.done()}
            while len(running) < width and len(self.tasks) < self._end:
                index = len(self.tasks)
                task = self._branches.start(self._joint, index, self._work[index])
                self.tasks.append(task)
                running.add(task)
            if not running:
                break
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            failed = next((index for index, task in enumerate(self.tasks) if _failed(task)), self._end)
            if failed < self._end:
                self._end = failed
                await settle(self.tasks[failed + 1 :])
        if self._end < len(self._work):
            self.tasks[self._end].result()

    async def leave(self) -> None:
        """Stop what runs and let go of what has not begun."""
        self._joint.left = True
        await settle(self.tasks)
        for never in self._work[len(self.tasks) :]:
            if inspect.iscoroutine(never):
                never.close()


def _failed(task: "asyncio.Task[Any]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)
