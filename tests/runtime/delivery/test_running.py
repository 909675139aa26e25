"""Handlers that are stopped: by their deadline, by cancel, by a draining node."""

import asyncio
from collections.abc import Callable

import pytest

from antiphon.runtime.clock import LoopClock, SystemClock
from antiphon.runtime.delivery.running import INSIST_S, Run, Running
from antiphon.runtime.errors import AntiphonError, DeadlineExceeded, NodeStopping, TaskCancelled
from antiphon.runtime.virtual_time import virtual_time


class Manual(SystemClock):
    """Unix time by hand."""

    now_ms = 1_000

    def unix_ns(self) -> int:
        return self.now_ms * 1_000_000


async def hold(running: Running, task: str, deadline_unix_ms: int | None = None) -> AntiphonError | None:
    """A handler that never ends by itself; why it was stopped."""
    run = running.enter(task, "", deadline_unix_ms)
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        return run.reason
    finally:
        running.leave(run)
    return None


async def started(running: Running, *names: str) -> list["asyncio.Task[AntiphonError | None]"]:
    """Handlers that run."""
    tasks = [asyncio.create_task(hold(running, name)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_cancel_stops_one_task_and_says_why() -> None:
    """Others run on; a task that does not run here is not found."""
    running = Running(SystemClock())
    one, two = await started(running, "one", "two")
    assert running.cancel("one")
    assert isinstance(await one, TaskCancelled)
    assert not running.cancel("one")
    assert not two.done()
    running.stop_all(NodeStopping("bye"))
    assert isinstance(await two, NodeStopping)
    assert len(running) == 0


async def test_the_sweep_stops_what_is_late_and_only_that() -> None:
    """A deadline is a moment of the given clock; no deadline is never late."""
    clock = Manual()
    running = Running(clock)
    late = asyncio.create_task(hold(running, "late", 2_000))
    later = asyncio.create_task(hold(running, "later", 2_001))
    (never,) = await started(running, "never")
    sweep = asyncio.create_task(running.sweep())
    clock.now_ms = 2_000
    assert isinstance(await asyncio.wait_for(late, 60), DeadlineExceeded)
    assert not later.done()
    clock.now_ms = 2_001
    assert isinstance(await asyncio.wait_for(later, 60), DeadlineExceeded)
    assert not never.done()
    sweep.cancel()
    running.stop_all(NodeStopping("bye"))
    await never


async def test_the_first_reason_counts() -> None:
    """A handler that is cancelled and then drained is told of the cancel, once."""
    running = Running(SystemClock())
    (one,) = await started(running, "one")
    running.cancel("one")
    running.stop_all(NodeStopping("bye"))
    assert isinstance(await one, TaskCancelled)


async def test_a_handler_that_starts_while_the_node_stops_is_stopped_too() -> None:
    """Nothing slips in after the drain."""
    running = Running(SystemClock())
    running.stop_all(NodeStopping("bye"))
    assert isinstance(await asyncio.create_task(hold(running, "late")), NodeStopping)


@pytest.mark.parametrize(("leave", "expected"), [(True, True), (False, False)])
async def test_wait_idle_says_whether_all_ended_by_themselves(leave: bool, expected: bool) -> None:
    """True once the last one left, False when time is up."""
    running = Running(SystemClock())
    assert await running.wait_idle(0.01)
    run: Run = running.enter("one", "", None)
    leaving: Callable[[], object] = (lambda: running.leave(run)) if leave else (lambda: None)
    asyncio.get_running_loop().call_soon(leaving)
    assert await running.wait_idle(1.0 if leave else 0.01) is expected


def test_outside_a_task_is_a_mistake_of_ours() -> None:
    """There would be nothing to cancel."""
    with pytest.raises(RuntimeError):
        Running(SystemClock()).enter("one", "", None)


@virtual_time()
async def test_a_handler_that_swallows_its_cancellation_is_cancelled_again() -> None:
    """As ``asyncio.wait_for`` does in Python 3.11 now and then, and other people's code."""
    running = Running(LoopClock())
    swallowed: list[int] = []

    async def stubborn() -> None:
        run = running.enter("one", "", None)
        try:
            while True:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    swallowed.append(len(swallowed))
                    if len(swallowed) == 3:
                        raise
        finally:
            running.leave(run)

    handler = asyncio.create_task(stubborn())
    await asyncio.sleep(0.1)
    assert running.cancel("one") == ["one"]
    await asyncio.wait([handler])
    assert handler.cancelled() and swallowed == [0, 1, 2]
    assert asyncio.get_running_loop().time() >= 2 * INSIST_S


async def test_a_signal_that_comes_before_the_handler_counts() -> None:
    """A task that ended on its way to its handler is stopped when it gets there, unless somebody looked since."""
    running = Running(SystemClock())

    async def enter(task: str, parent: str) -> AntiphonError | None:
        run = running.enter(task, parent, None)
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return run.reason
        finally:
            running.leave(run)
        return None

    assert running.cancel("parent") == []
    assert isinstance(await asyncio.create_task(enter("child", "parent")), TaskCancelled)
    running.expect("child", "parent")
    assert await asyncio.create_task(enter("child", "parent")) is None
