"""Waiting for code that may swallow a cancellation, or suffer from one."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def beside(work: Coroutine[Any, Any, None], timeout_s: float) -> None:
    """Wait for ``work``, which goes on in a task of its own if we are cancelled or the time is up.

    nats-py waits by ``asyncio.wait_for``, which in Python 3.11 drops a cancellation that comes while the result is on
    its way (bpo-37658): a handler that was told to stop there went on for ever (seen, 18 of 2,500). And a flush that
    is cancelled leaves a future behind that ends nats-py's read loop.

    Raises:
        TimeoutError: after ``timeout_s``. And whatever ``work`` raises.
    """
    task = asyncio.ensure_future(work)
    task.add_done_callback(_look)
    async with asyncio.timeout(timeout_s):
        await asyncio.shield(task)


def _look(task: "asyncio.Task[None]") -> None:
    if not task.cancelled():
        task.exception()  # nobody may be there any more to be told
