"""Supervision: who is restarted with whom, how often, and the same on every attempt."""

import asyncio
from collections import Counter
from functools import partial
from typing import Any, cast

import pytest
from pydantic import Field

from antiphon import Agent, Context, Handler, Message, System
from antiphon.runtime.errors import AntiphonError, ConfigurationError, RestartsExceeded
from antiphon.runtime.patterns.supervisor import Strategy, Unit, arrange, supervise
from antiphon.runtime.testing import memory_system, virtual_time


class Job(Message):
    name: str


class Report(Message):
    results: dict[str, str] = Field(default_factory=dict)
    error: str = ""
    details: dict[str, str] = Field(default_factory=dict)


class Crew:
    """An agent whose handler fails as often as ``failing`` says.

    Those in ``held`` do not end before everybody has begun as often as they have a letter in ``until``.
    """

    def __init__(self, failing: dict[str, int], held: str = "", until: str = "") -> None:
        self.agent = Agent("crew", slots=32)
        self.began: Counter[str] = Counter()
        self.stopped: Counter[str] = Counter()
        released = asyncio.Event()
        left = Counter(failing)

        @self.agent.handles
        async def work(job: Job, ctx: Context) -> Job:
            self.began[job.name] += 1
            if self.began == Counter(until):
                released.set()
            if job.name in held:
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    self.stopped[job.name] += 1
                    raise
            elif left[job.name]:
                left[job.name] -= 1
                await asyncio.sleep(0.05)
                raise ConfigurationError(f"{job.name} fell")
            return Job(name=f"{job.name} done")

        self.work = work


def boss_of(crew: Crew, names: str, strategy: Strategy, *, intensity: int = 3) -> tuple[Agent, Handler[Job, Report]]:
    """An agent that supervises one child a letter."""
    boss = Agent("boss", first_retry_s=0.01)

    @boss.handles
    async def run(job: Job, ctx: Context) -> Report:
        children = {name: partial(ctx.call, crew.work, Job(name=name)) for name in names}
        try:
            found = await supervise(ctx, children, strategy=strategy, intensity=intensity)
        except RestartsExceeded as error:
            return Report(error=error.message, details=error.details)
        if job.name == "twice" and ctx.attempt == 1:
            raise RuntimeError("dies here")
        return Report(results={name: reply.name for name, reply in found.items()})

    return boss, run


async def supervised(crew: Crew, names: str, strategy: Strategy, *, intensity: int = 3, twice: bool = False) -> Report:
    """The supervisor's report."""
    boss, run = boss_of(crew, names, strategy, intensity=intensity)
    async with memory_system(System("s", agents=[boss, crew.agent])) as client:
        return await (await client.submit(run, Job(name="twice" if twice else "once"))).result(timeout_s=60)


def done(names: str) -> dict[str, str]:
    """What children report that have ended well."""
    return {name: f"{name} done" for name in names}


@virtual_time(seeds=range(2))
async def test_one_for_one_restarts_only_the_child_that_failed() -> None:
    """The others go on, and every child has a result."""
    crew = Crew({"b": 2}, held="ac", until="abbbc")
    report = await supervised(crew, "abc", "one_for_one")
    assert report.results == done("abc")
    assert not crew.stopped


@virtual_time(seeds=range(2))
async def test_one_for_all_restarts_them_all() -> None:
    """The others are stopped first."""
    crew = Crew({"b": 1}, held="ac", until="aabbcc")
    report = await supervised(crew, "abc", "one_for_all")
    assert report.results == done("abc")
    assert crew.stopped == Counter("ac")


@virtual_time(seeds=range(2))
async def test_rest_for_one_restarts_those_that_stand_after_it() -> None:
    """The first goes on, the third is stopped and begins anew."""
    crew = Crew({"b": 1}, held="ac", until="abbcc")
    report = await supervised(crew, "abc", "rest_for_one")
    assert report.results == done("abc")
    assert crew.stopped == Counter("c")


@virtual_time(seeds=range(2))
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_more_restarts_than_allowed_end_the_supervisor(strategy: Strategy) -> None:
    """The error names the child and its error, and the others are stopped."""
    crew = Crew({"b": 9}, held="a")
    report = await supervised(crew, "ab", strategy, intensity=2)
    assert crew.began["b"] == 3
    assert "child 'b' failed with ConfigurationError: b fell; that would be restart 3 within 60 s" in report.error
    assert report.details == {"child": "b", "restarts": "3", "within_s": "60.0", "type": "ConfigurationError"}


@virtual_time(seeds=range(2))
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
async def test_another_attempt_repeats_neither_children_nor_restarts(strategy: Strategy) -> None:
    """It finds in the journal who failed when, and comes to the same results."""
    crew = Crew({"b": 1, "c": 1})
    report = await supervised(crew, "abc", strategy, twice=True)
    assert report.results == done("abc")
    assert crew.began["b"] >= 2 and crew.began["c"] >= 2
    if strategy == "one_for_one":
        assert crew.began == Counter("abbcc")


@virtual_time()
async def test_restarts_that_lie_apart_do_not_add_up() -> None:
    """Four failures ninety seconds apart are one each within sixty."""
    boss, child = Agent("boss"), Agent("child", max_attempts=1)
    failed = 0

    @child.handles
    async def work(job: Job, ctx: Context) -> Job:
        nonlocal failed
        await asyncio.sleep(90)
        if failed < 4:
            failed += 1
            raise ConfigurationError("fell")
        return job

    @boss.handles
    async def run(job: Job, ctx: Context) -> Job:
        found = await supervise(ctx, {"only": lambda: ctx.call(work, job)}, intensity=1)
        return found["only"]

    async with memory_system(System("s", agents=[boss, child])) as client:
        assert (await (await client.submit(run, Job(name="x"))).result(timeout_s=3600)).name == "x"
    assert failed == 4


@virtual_time()
async def test_a_supervisor_waits_parked() -> None:
    """Children that take long cost it no slot, and it comes back to them."""
    boss, child = Agent("boss", slots=1), Agent("child")

    @child.handles
    async def work(job: Job, ctx: Context) -> Job:
        await ctx.sleep("10m")
        return job

    @boss.handles
    async def run(job: Job, ctx: Context) -> Report:
        names = ("a", "b")
        children = {name: partial(ctx.call, work, Job(name=name)) for name in names}
        found = await supervise(ctx, children, strategy="rest_for_one")
        return Report(results={name: reply.name for name, reply in found.items()})

    async with memory_system(System("s", agents=[boss, child])) as client:
        task = await client.submit(run, Job(name=""))
        await asyncio.sleep(60)
        assert await client.host.parking.get(task.id) is not None
        assert (await task.result(timeout_s=3000)).results == {"a": "a", "b": "b"}


def test_strategies_are_units_within_units() -> None:
    """Each unit is restarted together; the units in it see to themselves."""
    a, b, c = (Unit((name,)) for name in "abc")
    assert arrange("one_for_one", "abc") == Unit((), (a, b, c))
    assert arrange("one_for_all", "abc") == Unit(("a", "b", "c"))
    assert arrange("rest_for_one", "abc") == Unit(("a",), (Unit(("b",), (c,)),))
    assert arrange("rest_for_one", "") == Unit(())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"strategy": "simple"}, "strategy is 'simple'"),
        ({"intensity": -1}, "intensity is -1"),
        ({"within_s": 0.0}, "within_s 0.0"),
    ],
)
async def test_what_cannot_be_is_refused(given: dict[str, Any], says: str) -> None:
    """Before a child begins."""
    with pytest.raises(AntiphonError, match=says):
        await supervise(cast(Context, None), {}, **given)
