"""An agent's slots follow its policy while it runs."""

import asyncio

from tests.runtime.policies.desk import Desk, Steps, policy_of

from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.policy import Arms, Concurrency, Level


async def length_s(desk: Desk, runs: int) -> float:
    """How long so many runs of one second take together."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    await desk.together(*[["peek a"]] * runs)
    return loop.time() - began_s


@virtual_time()
async def test_slots_grow_and_shrink_live_and_nothing_is_dropped() -> None:
    """Asks and durable work alike; what waits is served as soon as there is room, what runs is left alone."""
    async with Desk(slots=1).open() as desk:
        waiting = asyncio.gather(*[asyncio.create_task(desk.run("peek a")) for _ in range(20)])
        await asyncio.sleep(2.5)
        before = desk.runs["peek"]
        await desk.book.set(policy_of(Concurrency(slots=5), "desk"))
        await asyncio.sleep(0.6)
        assert (before, desk.runs["peek"]) == (3, 8)
        await desk.book.set(policy_of(Concurrency(slots=2), "desk"))
        await asyncio.sleep(0.6)
        assert await waiting == [("a",)] * 20
        assert 3 < await length_s(desk, 8) < 5
        await desk.book.remove("p")
        await asyncio.sleep(0.5)
        assert 3 < await length_s(desk, 4) < 5
    assert {span.attributes.get(names.POOL_CAPACITY) for span in desk.spans if span.kind == names.CONSUMER} == {1, 5, 2}


@virtual_time()
async def test_every_node_has_them() -> None:
    """Two nodes with three slots each do six at a time."""
    async with Desk(slots=1).open(policy_of(Concurrency(slots=3), "desk"), nodes=2) as desk:
        tasks = [await desk.client.submit(desk.do, _peek()) for _ in range(6)]
        await asyncio.sleep(0.9)
        assert desk.runs["peek"] == 6
        for task in tasks:
            await task.result(timeout_s=60)


@virtual_time()
async def test_canary_switches_by_time() -> None:
    """All runs share the slots, so arms are slices of time; both come up, and slots change when a slice ends."""
    policy = policy_of(Concurrency(slots=8), "desk", level=Level.CANARY, arms=Arms.TIME, slice_s=10)
    seen: list[int] = []
    async with Desk(slots=1).open(policy) as desk:
        for _ in range(12):
            before = desk.runs["peek"]
            tasks = [asyncio.create_task(desk.run("peek a")) for _ in range(8)]
            await asyncio.sleep(0.9)
            seen.append(desk.runs["peek"] - before)
            await asyncio.gather(*tasks)
            await asyncio.sleep(10 - asyncio.get_running_loop().time() % 10 + 0.1)
    assert {*seen} == {1, 8}


def _peek() -> Steps:
    return Steps(steps=("peek a",))
