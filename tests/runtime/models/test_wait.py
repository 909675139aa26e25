"""Bounded waits: by time, by close, and by neither."""

import asyncio

import pytest

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import ModelUnavailable
from antiphon.runtime.models.wait import Waits


async def test_time_up_is_a_timeout() -> None:
    """What takes too long is a TimeoutError, as asyncio's own."""
    waits = Waits("model", SystemClock())
    with pytest.raises(TimeoutError):
        async with waits.at_most(0.01):
            await asyncio.Event().wait()
    async with waits.at_most(5):
        pass


async def test_close_ends_waits_now_and_later() -> None:
    """Every wait ends with ModelUnavailable, one whose time was up anyway too."""
    waits = Waits("model 'm'", SystemClock())

    async def wait(timeout_s: float | None) -> None:
        async with waits.at_most(timeout_s):
            await asyncio.Event().wait()

    waiting = [asyncio.create_task(wait(timeout_s)) for timeout_s in (None, 60.0)]
    await asyncio.sleep(0)
    waits.close()
    waits.close()
    for task in waiting:
        with pytest.raises(ModelUnavailable, match="model 'm' was closed"):
            await asyncio.wait_for(task, 60)
    with pytest.raises(ModelUnavailable):
        await wait(None)


async def test_cancellation_stays_cancellation() -> None:
    """A cancelled task is not told about time or closing."""
    waits = Waits("model", SystemClock())

    async def wait() -> None:
        async with waits.at_most(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_what_is_left_of_a_deadline() -> None:
    """Never negative; None without one."""
    waits = Waits("model", SystemClock())
    assert waits.left_s(None) is None
    assert waits.left_s(1) == 0.0
    left_s = waits.left_s(SystemClock().unix_ns() // 1_000_000 + 10_000)
    assert left_s is not None
    assert 9 < left_s <= 10
