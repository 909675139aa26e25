"""Frameworks that start asyncio tasks of their own, inside a handler.

``ctx`` belongs to the handler's task: operations made elsewhere have no number that another attempt would find again.
So a framework runs beside the handler, and what its tasks want of ``ctx`` is handed back and done in the handler's own
task, one operation after the other, in the order in which they were asked for.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from antiphon.runtime.branches import settle
from antiphon.runtime.errors import ForeignTask

T = TypeVar("T")


class Desk:
    """Where tasks of a framework hand in operations of ``ctx``. ``hosted`` makes it."""

    def __init__(self) -> None:
        # Needs no bound of its own: a task waits for its answer before it asks again, so it has at most one here.
        self._asked: asyncio.Queue[tuple[Callable[[], Awaitable[Any]], asyncio.Future[Any]] | None] = asyncio.Queue()
        self._closed = False

    async def do(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Have the handler's task do ``await operation()``, as ``desk.do(lambda: ctx.call(…))``; from any task.

        Raises:
            ForeignTask: the handler has ended. And whatever the operation raises.
        """
        if self._closed:
            raise ForeignTask("a task of a hosted framework used ctx after its handler had ended: let it end before")
        answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._asked.put_nowait((operation, answer))
        return await answer

    async def serve(self, guest: "asyncio.Task[T]") -> T:
        """In the handler's task: do what is handed in until ``guest`` has ended; its result."""
        guest.add_done_callback(lambda _: self._asked.put_nowait(None))
        while (asked := await self._asked.get()) is not None:
            operation, answer = asked
            if answer.done():
                continue  # whoever asked was cancelled
            try:
                value = await operation()
            except Exception as error:
                if not answer.done():
                    answer.set_exception(error)
            except BaseException:  # the handler is stopped, and nobody would answer any more
                answer.cancel()
                raise
            else:
                if not answer.done():
                    answer.set_result(value)
        return guest.result()

    def close(self) -> None:
        """Do nothing more; whoever still waits is cancelled."""
        self._closed = True
        while not self._asked.empty():
            asked = self._asked.get_nowait()
            if asked is not None:
                asked[1].cancel()


async def hosted(work: Callable[[Desk], Awaitable[T]]) -> T:
    """Run a framework inside a handler: ``await hosted(lambda desk: graph.ainvoke(…, context=desk))``.

    ``work`` gets a desk for its operations and may start tasks as it likes. It must make its operations in an order
    that follows from their results alone: let the framework run its steps one after the other, or another attempt may
    find them in another order and end as Diverged.

    Raises:
        Exception: what ``work`` raises.
    """
    desk = Desk()
    guest = asyncio.ensure_future(_run(work, desk))
    try:
        return await desk.serve(guest)
    finally:
        desk.close()
        await settle([guest])


async def _run(work: Callable[[Desk], Awaitable[T]], desk: Desk) -> T:
    return await work(desk)
