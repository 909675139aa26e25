"""Operations wait as long as a policy says."""

import asyncio

import pytest
from tests.runtime.policies.desk import Desk, Steps, policy_of

from antiphon import Agent, Context, System
from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_system, virtual_time
from antiphon.schemas.policy import Timeout


@virtual_time()
async def test_a_tool_is_stopped_when_its_time_is_up() -> None:
    """The error says which policy it was, and the span what was allowed; a shorter run is left alone."""
    async with Desk(work_s=5.0).open(policy_of(Timeout(timeout_s=2), "tool search")) as desk:
        with pytest.raises(DeadlineExceeded, match="policy 'p' allows 2 s"):
            await desk.run("search a")
        desk.work_s = 1.0
        assert await desk.run("search a") == ("a 2",)
    assert desk.attribute("tool", names.TIMEOUT_S) == [2.0, 2.0]


@virtual_time()
async def test_an_ask_ends_at_its_caller_and_at_its_peer() -> None:
    """The peer is told the nearer deadline."""
    loop = asyncio.get_running_loop()
    async with Desk(work_s=5.0).open(policy_of(Timeout(timeout_s=2), "ask clerk.do")) as desk:
        began_s = loop.time()
        with pytest.raises(DeadlineExceeded):
            await desk.run("ask search a")
        assert loop.time() - began_s == pytest.approx(2.0, abs=0.2)


@virtual_time()
async def test_a_deadline_that_is_nearer_stays() -> None:
    """A policy gives nobody more time than the run has."""
    loop = asyncio.get_running_loop()
    async with Desk(work_s=50.0).open(policy_of(Timeout(timeout_s=30), "ask clerk.do")) as desk:
        began_s = loop.time()
        with pytest.raises(DeadlineExceeded):
            await desk.client.ask(desk.do, Steps(steps=("ask search a",)), timeout_s=3)
        assert loop.time() - began_s < 4


@virtual_time()
async def test_an_ask_may_be_waited_for_longer_than_its_code_says() -> None:
    """The code allows 30 s, the policy 60, and so the span says; the peer is not stopped either."""
    async with Desk(work_s=50.0).open(policy_of(Timeout(timeout_s=60), "ask clerk.do")) as desk:
        assert await desk.run("ask search a") == ("said=('a 1',)",)
    assert desk.attribute("ask", names.TIMEOUT_S)[1] == pytest.approx(60.0, abs=0.01)


@virtual_time()
async def test_a_durable_call_keeps_the_shorter_time() -> None:
    """A task that woke up behind the end that its code says would find that one passed."""
    caller, slow = Agent("caller"), Agent("slow")

    @slow.handles
    async def work(message: Steps, ctx: Context) -> Steps:
        await asyncio.sleep(50)
        return message

    @caller.handles
    async def wait(message: Steps, ctx: Context) -> Steps:
        return await ctx.call(work, message, timeout_s=5)

    policy = policy_of(Timeout(timeout_s=120), "call slow.work")
    async with memory_system(System("s", agents=[caller, slow], policies=[policy])) as client:
        with pytest.raises(DeadlineExceeded):
            await (await client.submit(wait, Steps(steps=()))).result(timeout_s=100)


@virtual_time()
async def test_a_call_that_parks_ends_when_it_would_have() -> None:
    """The child never begins, so nothing but the caller's own clock ends it; waking up does not wind that up anew."""
    caller, busy = Agent("caller"), Agent("busy", slots=1)

    @busy.handles
    async def work(message: Steps, ctx: Context) -> Steps:
        await asyncio.sleep(3600)
        return message

    @caller.handles
    async def wait(message: Steps, ctx: Context) -> Steps:
        return await ctx.call(work, message)

    policy = policy_of(Timeout(timeout_s=120), "call busy.work")
    loop = asyncio.get_running_loop()
    async with memory_system(System("s", agents=[caller, busy], policies=[policy])) as client:
        await client.submit(work, Steps(steps=()))
        began_s = loop.time()
        task = await client.submit(wait, Steps(steps=()))
        with pytest.raises(DeadlineExceeded):
            await task.result(timeout_s=1000)
        assert loop.time() - began_s == pytest.approx(120, abs=5)
