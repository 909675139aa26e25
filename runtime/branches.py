"""Structured concurrency inside one handler, with numbering that does not depend on scheduling.

A path is counter, branch, counter: ``3`` is the third operation, ``3.b`` the second branch of a gather that is
the third operation, ``3.b.1`` the first operation made inside that branch.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon.runtime.errors import ForeignTask

if TYPE_CHECKING:
    from antiphon.schemas.message import Message
    from antiphon.schemas.parking import Wait

T = TypeVar("T")
INSIST_S = 5.0  # one that was cancelled may tidy up for so long; then it is cancelled again, it may have swallowed it
In = TypeVar("In", bound="Message")


class Joint:
    """Where branches come together: the path of their gather or group, and what becomes of it.

    ``needed``: successes after which it goes on; ``at_least``: those that would do, where the code says so. ``width``:
    how many of its branches run at a time, where the code leaves that open. ``left``: it has gone on, and nobody waits
    for what comes now.
    """

    __slots__ = ("at_least", "left", "needed", "path", "width")

    def __init__(self, path: str, needed: int, at_least: int | None = None, width: int | None = None) -> None:
        self.path = path
        self.needed = needed
        self.at_least = at_least
        self.width = width
        self.left = False


class Branch:
    """One line of a handler run: its counter, its random numbers, and whether it waits."""

    __slots__ = ("blocked", "count", "joint", "prefix", "random")

    def __init__(self, prefix: str, joint: Joint | None = None) -> None:
        self.prefix = prefix
        self.joint = joint
        self.count = 0
        self.blocked = False
        self.random: random.Random | None = None


class Branches:
    """Which asyncio tasks belong to a handler run, and the branch of each.

    A durable run sets ``pause``, what a branch waits in, and ``on_ended``, called when a branch has ended.
    """

    __slots__ = ("_main", "_main_task", "_tasks", "on_ended", "pause")

    def __init__(self) -> None:
        self._main = Branch("")
        self.pause: Callable[[Wait | None], AbstractAsyncContextManager[None]] | None = None
        self.on_ended: Callable[[], None] | None = None
        self._main_task = asyncio.current_task()
        self._tasks: dict[asyncio.Task[Any], Branch] | None = None  # made when the first branch starts

    def owner(self) -> Branch:
        """The running task's branch.

        Raises:
            ForeignTask: the task was started by something other than ``ctx``.
        """
        task = asyncio.current_task()
        if task is self._main_task:
            return self._main
        branch = self._tasks.get(task) if self._tasks and task is not None else None
        if branch is None:
            raise ForeignTask(
                "ctx was used from an asyncio task it did not start: use ctx.gather or ctx.group instead of "
                "asyncio.gather or create_task, so that operations keep their numbers and parents"
            )
        return branch

    @property
    def made(self) -> int:
        """How many operations the handler has numbered outside its branches."""
        return self._main.count

    def next_path(self) -> str:
        """The path of the operation that is being made. Raises ForeignTask."""
        branch = self.owner()
        branch.count += 1
        return f"{branch.prefix}{branch.count}"

    def all_blocked(self) -> bool:
        """Whether every branch waits for something that the handler itself cannot bring about."""
        return self._main.blocked and all(branch.blocked for branch in (self._tasks or {}).values())

    def idle(self, wait: "Wait | None" = None) -> AbstractAsyncContextManager[None]:
        """For the body of the ``with``, the running branch waits for ``wait``, or (None) for its own branches."""
        return nullcontext() if self.pause is None else self.pause(wait)

    def joint(self) -> Joint | None:
        """What the running asyncio task is a branch of; None for the handler's main line and for foreign tasks."""
        task = asyncio.current_task() if self._tasks else None
        branch = self._tasks.get(task) if self._tasks and task is not None else None
        return None if branch is None else branch.joint

    def start(self, joint: Joint, index: int, work: Awaitable[T]) -> "asyncio.Task[T]":
        """Run ``work`` as branch ``index`` of ``joint``."""
        # A coroutine as it is: one that is wrapped and cancelled before it begins is "never awaited".
        task: asyncio.Task[T] = asyncio.create_task(work if asyncio.iscoroutine(work) else _as_coroutine(work))
        if self._tasks is None:
            self._tasks = {}
        self._tasks[task] = Branch(f"{joint.path}.{letters(index)}.", joint)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        if self._tasks is not None:
            self._tasks.pop(task, None)
        if self.on_ended is not None:
            self.on_ended()


def letters(index: int) -> str:
    """0 → a, 25 → z, 26 → aa: how branches are numbered."""
    out = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        out = chr(ord("a") + rest) + out
    return out


async def _as_coroutine(work: Awaitable[T]) -> T:
    return await work


async def settle(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Cancel what still runs and wait until all have ended."""
    going = list(tasks)
    while going:
        for task in going:
            task.cancel()
        going = list((await asyncio.wait(going, timeout=INSIST_S))[1])
    if tasks:
        for task in tasks:
            if not task.cancelled():
                task.exception()  # taken note of: its owner raises the first one


def gather(branches: Branches, work: Sequence[Awaitable[T]]) -> Coroutine[Any, Any, list[T]]:
    """Number now, run together when awaited; the first failure cancels the rest and is raised."""
    path = branches.next_path()

    async def run() -> list[T]:
        branches.owner()
        joint = Joint(path, len(work))
        tasks = [branches.start(joint, index, each) for index, each in enumerate(work)]
        if not tasks:
            return []
        try:
            async with branches.idle():
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failed = [task for task in tasks if task in done and not task.cancelled() and task.exception()]
            if failed:
                failed[0].result()
            return [task.result() for task in tasks]
        finally:
            joint.left = True
            await settle(tasks)

    return run()
