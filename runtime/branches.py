"""Structured concurrency inside one handler, with numbering that does not depend on scheduling.

A path is counter, branch, counter: ``3`` is the third operation, ``3.b`` the second branch of a gather that is
the third operation, ``3.b.1`` the first operation made inside that branch.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from antiphon.runtime.errors import ForeignTask

if TYPE_CHECKING:
    from antiphon.runtime.agent import Handler
    from antiphon.runtime.context import Context
    from antiphon.schemas.message import Message

T = TypeVar("T")
In = TypeVar("In", bound="Message")


class _Branch:
    __slots__ = ("count", "prefix")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.count = 0


class Branches:
    """Which asyncio tasks belong to a handler run, and the counter of each."""

    __slots__ = ("_main", "_main_task", "_tasks")

    def __init__(self) -> None:
        self._main = _Branch("")
        self._main_task = asyncio.current_task()
        self._tasks: dict[asyncio.Task[Any], _Branch] | None = None  # made when the first branch starts

    def owner(self) -> _Branch:
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

    def next_path(self) -> str:
        """The path of the operation that is being made. Raises ForeignTask."""
        branch = self.owner()
        branch.count += 1
        return f"{branch.prefix}{branch.count}"

    def start(self, path: str, index: int, work: Awaitable[T]) -> "asyncio.Task[T]":
        """Run ``work`` as branch ``index`` of the operation at ``path``."""
        task = asyncio.ensure_future(_as_coroutine(work))
        if self._tasks is None:
            self._tasks = {}
        self._tasks[task] = _Branch(f"{path}.{letters(index)}.")
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        if self._tasks is not None:
            self._tasks.pop(task, None)


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
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled():
                task.exception()  # taken note of: its owner raises the first one


def gather(branches: Branches, work: Sequence[Awaitable[T]]) -> Coroutine[Any, Any, list[T]]:
    """Number now, run together when awaited; the first failure cancels the rest and is raised."""
    path = branches.next_path()

    async def run() -> list[T]:
        branches.owner()
        tasks = [branches.start(path, index, each) for index, each in enumerate(work)]
        if not tasks:
            return []
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            failed = [task for task in tasks if task in done and not task.cancelled() and task.exception()]
            if failed:
                failed[0].result()
            return [task.result() for task in tasks]
        finally:
            await settle(tasks)

    return run()


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """How one member of a group ended: a value, an error, or neither if it was cancelled."""

    path: str
    value: Any = None
    error: BaseException | None = None
    cancelled: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether it returned."""
        return self.error is None and not self.cancelled


class Group:
    """Calls that run together until enough have succeeded. Outcomes are in the order of the calls."""

    def __init__(self, ctx: "Context", branches: Branches, *, quorum: int | None, timeout_s: float | None) -> None:
        if quorum is not None and quorum < 1:
            raise ValueError(f"quorum is {quorum}, expected 1 or more")
        self._ctx = ctx
        self._branches = branches
        self._quorum = quorum
        self._timeout_s = timeout_s
        self._path = branches.next_path()
        self._tasks: list[asyncio.Task[Any]] = []
        self.outcomes: list[GroupOutcome] = []

    def call(self, handler: "Handler[In, Any]", message: In) -> None:
        """Add a durable child."""
        self.start(self._ctx.call(handler, message))

    def ask(self, handler: "Handler[In, Any]", message: In) -> None:
        """Add a low-latency request."""
        self.start(self._ctx.ask(handler, message))

    def start(self, work: Awaitable[Any]) -> None:
        """Add anything else that ``ctx`` offers."""
        self._tasks.append(self._branches.start(self._path, len(self._tasks), work))

    @property
    def values(self) -> list[Any]:
        """What the successful members returned, in the order of the calls."""
        return [outcome.value for outcome in self.outcomes if outcome.succeeded]

    async def __aenter__(self) -> "Group":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self._wait()
        finally:
            await settle([task for task in self._tasks if not task.done()])
            self.outcomes = [self._outcome(index, task) for index, task in enumerate(self._tasks)]

    async def _wait(self) -> None:
        loop = asyncio.get_running_loop()
        end = None if self._timeout_s is None else loop.time() + self._timeout_s
        waiting = set(self._tasks)
        succeeded = 0
        while waiting and (self._quorum is None or succeeded < self._quorum):
            left = None if end is None else max(0.0, end - loop.time())
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                return
            succeeded += sum(1 for task in done if not task.cancelled() and task.exception() is None)

    def _outcome(self, index: int, task: "asyncio.Task[Any]") -> GroupOutcome:
        path = f"{self._path}.{letters(index)}"
        if task.cancelled():
            return GroupOutcome(path, cancelled=True)
        error = task.exception()
        return GroupOutcome(path, error=error) if error else GroupOutcome(path, value=task.result())
