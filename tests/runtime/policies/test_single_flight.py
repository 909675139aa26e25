"""Equal work that is under way is waited for: one does it, and its fate is its own."""

import asyncio

import pytest
from tests.runtime.policies.desk import MODEL, Desk, Steps, policy_of

from antiphon import tool
from antiphon.runtime.clock import LoopClock
from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope
from antiphon.runtime.policies.single_flight import SingleFlight as Remedy
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import virtual_time
from antiphon.runtime.tool import ToolRun
from antiphon.schemas.policy import Level, SingleFlight
from antiphon.schemas.task import Effect

SEARCH = policy_of(SingleFlight(), "tool search")


@virtual_time(seeds=range(3))
async def test_one_does_it_for_all_who_come_meanwhile() -> None:
    """In one run and in several; whoever comes later does it again."""
    async with Desk().open(SEARCH) as desk:
        said = await desk.together(["search a | search a | search b"], ["search a"])
        assert [len({*each}) for each in said] == [2, 1]
        assert desk.runs["search"] == 2
        await desk.run("search a")
    assert desk.runs["search"] == 3
    assert desk.attribute("tool", names.ANSWERED_BY) == ["p", "p"]


@virtual_time()
async def test_a_leader_that_fails_fails_alone() -> None:
    """One of those who followed it leads; the others follow that one."""
    async with Desk().open(SEARCH) as desk:
        desk.broken = 1
        said = await desk.together(*[["search a"]] * 4)
    assert sorted(said) == [("a 2",), ("a 2",), ("a 2",), ("failed: search failed",)]
    assert desk.runs["search"] == 2


@virtual_time()
async def test_who_followed_two_that_failed_goes_alone() -> None:
    """Else the last of many would wait for all of them, one after the other."""
    loop = asyncio.get_running_loop()
    async with Desk().open(SEARCH) as desk:
        desk.broken = 100
        began_s = loop.time()
        said = await desk.together(*[["search a"]] * 10)
        assert loop.time() - began_s < 3.5
    assert said == [("failed: search failed",)] * 10


@virtual_time()
async def test_a_leader_that_is_stopped_stops_alone() -> None:
    """Its caller went away; the follower does the work itself."""
    async with Desk().open(SEARCH) as desk:
        leader = await desk.client.submit(desk.do, Steps(steps=("search a",)))
        await desk.begun.wait()
        follower = asyncio.create_task(desk.run("search a"))
        await asyncio.sleep(0.5)
        assert desk.runs["search"] == 1
        await leader.cancel()
        assert await follower == ("a 2",)


@virtual_time()
async def test_a_follower_waits_no_longer_than_its_own_deadline() -> None:
    """And its end is not the leader's."""
    async with Desk(work_s=5.0).open(SEARCH) as desk:
        leader = asyncio.create_task(desk.run("search a"))
        await desk.begun.wait()
        with pytest.raises(DeadlineExceeded):
            await desk.client.ask(desk.do, Steps(steps=("search a",)), timeout_s=1.0)
        assert await leader == ("a 1",)


@virtual_time()
async def test_a_run_that_wrote_does_not_follow_an_older_read() -> None:
    """What it wrote may not be in it."""
    async with Desk(work_s=1.0).open(SEARCH) as desk:
        desk.work_s = 4.0
        slow = asyncio.create_task(desk.run("search a"))
        await desk.begun.wait()
        desk.work_s = 1.0
        assert await desk.run("note x", "search a") == ("x", "a 2")
        assert not slow.done()
        assert await slow == ("a 2",)


@virtual_time()
async def test_reads_without_a_ttl_and_writes_are_each_done() -> None:
    """Nobody declared that they may be shared."""
    async with Desk().open(policy_of(SingleFlight(), f"model {MODEL}")) as desk:
        await desk.together(["peek a | peek a | note a | note a"], ["drawn a | drawn a"])
    assert (desk.runs["peek"], desk.runs["note"], desk.runs["small"]) == (2, 2, 2)


@virtual_time()
async def test_shadow_compares_those_under_way_together() -> None:
    """Each does its own work; the first to end is the measure."""
    policies = [
        policy_of(SingleFlight(), "tool search", level=Level.SHADOW),
        policy_of(SingleFlight(), "tool count", id="q", level=Level.SHADOW),
    ]
    async with Desk().open(*policies) as desk:
        await desk.run("count a | count a | count a", "count a")
        await desk.run("search a | search a")
    assert (desk.runs["count"], desk.runs["search"]) == (4, 2)
    said = desk.attribute("tool", names.SHADOW_EQUAL)
    assert said[:2] == [True, True] and len(said) == 3  # the counter's text depends on who reads it first


@virtual_time()
async def test_nothing_is_kept_of_work_that_has_ended() -> None:
    """The tables are as long as what is under way, failures included."""
    clock, calls = LoopClock(), 0

    async def next(operation: Operation) -> Outcome:
        nonlocal calls
        calls += 1
        await asyncio.sleep(1)
        if calls % 3 == 0:
            raise ValueError("no")
        return Outcome({"a": 1}, b'{"a":1}')

    remedy = Remedy(clock, Written())
    operations = [_operation(words) for words in ("a", "b", "a", "a", "b", "a")]
    for way in (remedy, remedy.shadow):
        await asyncio.gather(*(way(each, SEARCH, next) for each in operations), return_exceptions=True)
    assert calls > len(operations)
    assert not remedy._flights and not remedy._crowds


def _operation(words: str) -> Operation:
    return Operation(
        kind=OperationKind.TOOL,
        path="1",
        target="look",
        scope=Scope("default", "r", agent="a"),
        body=b"",
        effect=Effect.PURE,
        request=ToolRun(look, {"words": words}),
        restore=look.restore,
    )


@tool(effect="pure")
async def look(words: str) -> dict[str, int]:
    """Look."""
    return {}
