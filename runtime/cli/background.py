"""An event loop in a thread of its own, for commands whose main thread waits for a person's next line.

Only the main thread gets Ctrl-C, and only there does the line editor leave the terminal as it was.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Any, Generic, TypeVar

H = TypeVar("H")
T = TypeVar("T")


class Background(Generic[H]):
    """``held`` is what the loop's own task holds open; ``start`` runs something beside it."""

    def __init__(self, held: H, loop: asyncio.AbstractEventLoop) -> None:
        self.held = held
        self._loop = loop

    def start(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        """Run ``work`` there; cancelling the future cancels it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)


@contextmanager
def background(make: Callable[[], AbstractAsyncContextManager[H]]) -> Generator[Background[H], None, None]:
    """Enter ``make()`` in a loop of its own, and leave it at the end. Raises what entering raises."""
    ready: Future[Background[H]] = Future()
    leave = threading.Event()

    async def stay() -> None:
        try:
            async with make() as held:
                ready.set_result(Background(held, asyncio.get_running_loop()))
                await asyncio.to_thread(leave.wait)
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(stay()), name="antiphon-background")
    thread.start()
    try:
        yield ready.result()
    finally:
        leave.set()
        thread.join()
