"""Callers who hang up: what they wanted is not done for nobody."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.types import Receive

T = TypeVar("T")


class Gone(Exception):
    """The caller has hung up: nobody is left to answer."""


async def hung_up(receive: Receive) -> None:
    """Return when the caller has hung up; the body must have been read."""
    while (await receive())["type"] != "http.disconnect":
        continue


async def while_there(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of ``work``, which is cancelled when the caller hangs up.

    Raises:
        Gone: that happened.
        Exception: whatever ``work`` raised.
    """
    doing = asyncio.create_task(work)
    leaving = asyncio.create_task(hung_up(request.receive))
    try:
        await asyncio.wait((doing, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Gone
        return doing.result()
    finally:
        doing.cancel()
        leaving.cancel()
        await asyncio.gather(doing, leaving, return_exceptions=True)
