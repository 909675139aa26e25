"""Calls that come within a short time, collected and done as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from antiphon.runtime.errors import NodeStopping

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]]


@dataclass(frozen=True, slots=True)
class Share(Generic[Result]):
    """What one caller gets of a batch; ``size`` is how many had a part in it."""

    result: Result
    size: int


class Window(Generic[Item, Result]):
    """Collects items from its first one on, for ``length_s`` or until there are ``most``; then ``work`` does them all.

    Facebook's DataLoader, with time instead of a turn of the event loop: callers are tasks of different runs.
    ``on_closed`` is called when it takes no more. A caller that is cancelled leaves the others alone; when all have
    gone, the work is cancelled.
    """

    def __init__(self, work: Work[Item, Result], *, length_s: float, most: int, on_closed: Callable[[], None]) -> None:
        self._work = work
        self._most = most
        self._on_closed = on_closed
        self._calls: list[tuple[Item, asyncio.Future[Share[Result]]]] = []
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(length_s, self._close)

    async def join(self, item: Item) -> Share[Result]:
        """Add an item and wait for its result.

        Raises:
            Exception: what ``work`` raised, or gave in place of this item's result.
            NodeStopping: the process ends.
        """
        future: asyncio.Future[Share[Result]] = asyncio.get_running_loop().create_future()
        self._calls.append((item, future))
        future.add_done_callback(self._one_gone)
        if len(self._calls) >= self._most:
            self._timer.cancel()
            self._close()
        return await future

    def _close(self) -> None:
        self._on_closed()
        self._task = asyncio.create_task(self._run())

    def _one_gone(self, _: object) -> None:
        if self._task is not None and all(future.done() for _, future in self._calls):
            self._task.cancel()

    async def _run(self) -> None:
        calls = [(item, future) for item, future in self._calls if not future.done()]
        try:
            results = await self._work([item for item, _ in calls]) if calls else ()
        except Exception as error:
            results = [error] * len(calls)
        except asyncio.CancelledError:
            results = [NodeStopping("the process stopped while it did this call together with others")] * len(calls)
            raise
        finally:
            _deal([future for _, future in calls], results)


def _deal(futures: Sequence["asyncio.Future[Share[Result]]"], results: Sequence[Result | Exception]) -> None:
    for future, result in zip(futures, results, strict=True):
        if future.done():
            continue  # its caller has gone
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(Share(result, len(futures)))
