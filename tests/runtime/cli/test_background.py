"""A loop in a thread of its own."""

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from antiphon.runtime.cli.background import background


def test_work_runs_elsewhere_while_something_is_held_open() -> None:
    """Entered and left in the same task of that thread, whatever the main thread raises."""
    seen: list[object] = []

    @asynccontextmanager
    async def held() -> AsyncGenerator[str, None]:
        seen.append(asyncio.current_task())
        yield "it"
        seen.append(asyncio.current_task())

    async def where() -> str:
        return threading.current_thread().name

    with pytest.raises(KeyboardInterrupt), background(held) as there:
        assert there.held == "it"
        assert there.start(where()).result(5) == "antiphon-background"
        raise KeyboardInterrupt
    assert len(seen) == 2
    assert seen[0] is seen[1]


def test_what_cannot_be_opened_is_raised_here() -> None:
    """And the thread ends."""

    @asynccontextmanager
    async def held() -> AsyncGenerator[None, None]:
        raise OSError("not today")
        yield

    with pytest.raises(OSError, match="not today"), background(held):
        pass
    assert all(thread.name != "antiphon-background" for thread in threading.enumerate())
