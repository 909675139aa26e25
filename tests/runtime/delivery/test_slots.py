"""Slots against a model: never more than capacity, first come first served, safe under cancellation."""

import asyncio
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.errors import Busy
from antiphon.runtime.testing import run_virtual

STEPS = st.lists(
    st.tuples(st.sampled_from(["ask", "held", "release", "cancel", "turn", "resize"]), st.integers(0, 7)),
    min_size=1,
    max_size=60,
)


@settings(max_examples=150, deadline=None)
@given(capacity=st.integers(1, 3), limit=st.integers(0, 3), steps=STEPS)
def test_slots_agree_with_a_model(capacity: int, limit: int, steps: list[tuple[str, int]]) -> None:
    """Whatever asks, leases, releases, cancellations and new capacities come: holders, queue and refusals are the same.

    Nobody who holds a slot loses it when there are fewer, and nobody who waits loses the place.
    """

    async def play() -> None:
        nonlocal capacity
        slots = Slots("a", capacity, limit)
        running: list[asyncio.Task[None]] = []  # of the model: who has a slot
        queue: deque[asyncio.Task[None]] = deque()  # and who waits, in order

        def release() -> None:
            running.pop(0)
            slots.release()
            serve()

        def serve() -> None:
            while queue and len(running) < capacity:
                running.append(queue.popleft())

        for verb, number in steps:
            if verb in ("ask", "held"):
                task = asyncio.ensure_future(slots.acquire(held=verb == "held"))
                await asyncio.sleep(0)
                if len(running) < capacity:
                    running.append(task)
                elif verb == "held" or len(queue) < limit:
                    queue.append(task)
                else:
                    with pytest.raises(Busy, match=f"{capacity} running and {len(queue)} waiting"):
                        await task
            elif verb == "release" and running:
                release()
            elif verb == "cancel" and queue:
                task = queue[number % len(queue)]
                queue.remove(task)
                task.cancel()
                await asyncio.wait([task])
            elif verb == "turn" and running and queue:
                # Cancelled in the very turn in which the slot is handed over: it goes to the next one.
                task = queue[0]
                release()
                task.cancel()
                await asyncio.wait([task])
                (running if task in running else queue).remove(task)
                serve()
            elif verb == "resize":
                capacity = 1 + number % 4
                slots.resize(capacity)
                serve()
            await asyncio.sleep(0)
            assert (slots.active, slots.waiting) == (len(running), len(queue))
            assert slots.free == max(0, capacity - len(running))
            assert all(task.done() and not task.cancelled() for task in running)
            assert not any(task.done() for task in queue)
        for task in queue:
            task.cancel()
        if queue:
            await asyncio.wait(queue)

    asyncio.run(play())


async def test_wait_free_returns_when_somebody_leaves() -> None:
    """The pull loop sleeps while all slots are taken."""
    slots = Slots("a", 1, 0)
    await slots.wait_free()
    await slots.acquire()
    waiting = asyncio.ensure_future(slots.wait_free())
    await asyncio.sleep(0)
    assert not waiting.done()
    slots.release()
    await asyncio.wait_for(waiting, 60)


async def test_wait_free_waits_for_what_runs_beyond_fewer_slots() -> None:
    """And returns at once when there are more."""
    slots = Slots("a", 3, 0)
    for _ in range(3):
        await slots.acquire()
    slots.resize(1)
    waiting = asyncio.ensure_future(slots.wait_free())
    for _ in range(2):
        slots.release()
        await asyncio.sleep(0)
        assert not waiting.done() and slots.free == 0
    slots.resize(2)
    await asyncio.wait_for(waiting, 60)


def test_a_refusal_says_when_to_come_back() -> None:
    """By how fast slots became free of late and how many wait; before that, by how long they have been taken."""

    async def play() -> list[float]:
        loop = asyncio.get_running_loop()
        slots = Slots("a", 2, 3)
        told: list[float] = []

        async def refused() -> None:
            with pytest.raises(Busy, match=r"3 waiting on this node: try again in about") as found:
                await slots.acquire()
            told.append(float(found.value.details["retry_after_s"]))

        waiting = [asyncio.ensure_future(slots.acquire()) for _ in range(5)]
        await asyncio.sleep(3.0)
        await refused()  # nothing has ended for 3 s, three wait: 4 times 3 s
        for _ in range(40):
            await asyncio.sleep(0.5)
            slots.release()
            waiting.append(asyncio.ensure_future(slots.acquire()))
        await asyncio.sleep(0)
        await refused()  # one every half second
        assert loop.time() == 23.0
        for each in waiting:
            each.cancel()
        return told

    first, later = run_virtual(play())
    assert first == 12.0
    assert later == pytest.approx(2.0, rel=0.01)
