"""Work beside what is served: bounded, and gone with the process."""

import asyncio

import structlog

from antiphon.runtime.policies.aside import Aside


async def test_what_there_is_no_room_for_is_dropped() -> None:
    """And there is room again when something has ended; a failure is logged."""
    aside, gate, done = Aside(at_once=2), asyncio.Event(), 0

    async def work() -> None:
        nonlocal done
        await gate.wait()
        done += 1
        raise ValueError("beside")

    with structlog.testing.capture_logs() as said:
        assert [aside.start(work) for _ in range(3)] == [True, True, False]
        gate.set()
        for _ in range(4):
            await asyncio.sleep(0)
        assert done == 2 and aside.start(work)
        await aside.close()
    assert [line["error"] for line in said] == ["beside"] * 2


async def test_close_cancels_and_takes_no_more() -> None:
    """A drain waits for nobody's experiment. Twice is as once."""
    aside, ended = Aside(), 0

    async def work() -> None:
        nonlocal ended
        try:
            await asyncio.sleep(3600)
        finally:
            ended += 1

    assert aside.start(work)
    await asyncio.sleep(0)
    await aside.close()
    await aside.close()
    assert ended == 1
    assert not aside.start(work)
