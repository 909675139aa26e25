"""Nodes of a test's system: started, drained, killed, and the same in every run of a seed."""

import asyncio
import time
from collections.abc import Generator
from itertools import pairwise

import pytest
import structlog.testing

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import AntiphonError, ConfigurationError, DeadlineExceeded, RequestTimeout
from antiphon.runtime.memory_cluster import MemoryCluster, memory_cluster
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.virtual_time import VirtualClock, run_virtual, virtual_time
from antiphon.schemas.telemetry import TelemetryBatch

Event = tuple[float, str]


@pytest.fixture(autouse=True)
def quiet() -> Generator[None, None, None]:
    """No log lines: printing one exception takes longer than an hour of virtual time."""
    with structlog.testing.capture_logs():
        yield


class Count(Message):
    """A number."""

    n: int


class Diary:
    """What happened, and when."""

    def __init__(self) -> None:
        self.lines: list[Event] = []

    def note(self, what: str) -> None:
        """Now."""
        self.lines.append((round(asyncio.get_running_loop().time(), 6), what))

    @property
    def said(self) -> list[str]:
        """Without the times."""
        return [what for _, what in self.lines]


def fails_until(attempt: int, diary: Diary) -> Agent:
    """An agent ``a`` whose handler ``work`` succeeds in its ``attempt``-th attempt."""
    agent = Agent("a", max_attempts=attempt)

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        diary.note(f"attempt {ctx.attempt}")
        if ctx.attempt < attempt:
            raise OSError("not yet")
        return Count(n=ctx.attempt)

    return agent


async def retries(diary: Diary, batches: list[TelemetryBatch]) -> None:
    """One task through eight attempts on two nodes, with a bus that takes its time."""
    agent = fails_until(8, diary)
    system = System("s", agents=[agent])
    async with memory_cluster(system, nodes=2, spans=batches.append, lag_s=0.002) as cluster:
        task = await cluster.client.submit(agent.handlers["work"], Count(n=0))
        diary.note(f"task {task.id}")
        assert (await task.result()).n == 8
        diary.note("done")


def repeated(seed: int) -> tuple[list[Event], list[tuple[str, bytes, int, int]]]:
    """The events and the spans of one run."""
    diary, batches = Diary(), list[TelemetryBatch]()
    run_virtual(retries(diary, batches), seed=seed)
    spans = [(span.name, span.span_id, span.start_ns, span.end_ns) for batch in batches for span in batch.spans]
    return diary.lines, spans


def test_a_minute_of_retries_takes_milliseconds() -> None:
    """The whole curve, at the moments it promises: 0.5 s doubling to 30 s, half of it random."""
    diary = Diary()

    async def main() -> None:
        agent = fails_until(8, diary)
        async with memory_cluster(System("s", agents=[agent])) as cluster:
            await (await cluster.client.submit(agent.handlers["work"], Count(n=0))).result()

    best_s = 1.0
    for _ in range(5):
        diary.lines.clear()
        began = time.process_time()
        run_virtual(main())
        best_s = min(best_s, time.process_time() - began)
    moments = [when for when, _ in diary.lines]
    waits = [later - earlier for earlier, later in pairwise(moments)]
    ceilings = [0.5, 1, 2, 4, 8, 16, 30]
    assert all(ceiling / 2 <= wait <= ceiling for wait, ceiling in zip(waits, ceilings, strict=True))
    assert moments[-1] > 30
    assert best_s < 0.05


def test_a_seed_repeats_everything() -> None:
    """Events, their times, ids and spans; another seed gives others."""
    first, second, other = repeated(3), repeated(3), repeated(4)
    assert first == second
    assert first[0] != other[0]
    assert [what for _, what in first[0] if what.startswith("attempt")] == [f"attempt {n}" for n in range(1, 9)]
    assert len(first[1]) > 8


def mortal(diary: Diary) -> Agent:
    """An agent whose handler ``work`` takes a second."""
    agent = Agent("a", lease_s=2.0)

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        diary.note(f"begin {ctx.attempt}")
        await asyncio.sleep(1)
        diary.note(f"end {ctx.attempt}")
        return Count(n=ctx.attempt)

    return agent


async def directory(cluster: MemoryCluster) -> list[str]:
    """The nodes that the others take for alive."""
    return sorted(card.node for card in await cluster.client.host.directory.nodes())


@virtual_time(seeds=range(5))
async def test_a_killed_node_s_work_goes_on_when_its_lease_lapses() -> None:
    """Nothing is handed back, nothing withdrawn: the lease and the directory entry run out, as after a SIGKILL."""
    diary = Diary()
    agent = mortal(diary)
    async with memory_cluster(System("s", agents=[agent]), lag_s=0.001) as cluster:
        task = await cluster.client.submit(agent.handlers["work"], Count(n=0))
        await asyncio.sleep(0.5)
        assert diary.said == ["begin 1"]
        await cluster.kill("node-0")
        killed = asyncio.get_running_loop().time()
        assert cluster.nodes == ()
        await cluster.start("node-1")
        assert await directory(cluster) == ["node-0", "node-1"]
        assert (await task.result()).n == 2
        assert diary.said == ["begin 1", "begin 2", "end 2"]
        assert 1 < diary.lines[1][0] - killed <= 2.1
        await asyncio.sleep(10)
        assert await directory(cluster) == ["node-1"]
        await cluster.start("node-0")
        assert await directory(cluster) == ["node-0", "node-1"]


@virtual_time(seeds=range(5))
async def test_a_handler_can_kill_its_own_node() -> None:
    """It is cancelled in the call; nothing it does afterwards reaches the bus, its spans included."""
    diary, batches, spoken = Diary(), list[TelemetryBatch](), list[str]()
    agent = Agent("a", lease_s=2.0)

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        diary.note(f"begin {ctx.attempt} on {cluster.here}")
        try:
            if ctx.attempt == 1:
                await cluster.kill(cluster.here)
            return Count(n=ctx.attempt)
        finally:
            if ctx.attempt == 1:
                with pytest.raises(AntiphonError):
                    await ctx.publish("last.words", Count(n=0))

    @agent.on("last.words")
    async def hear(message: Count, ctx: Context) -> None:
        spoken.append("heard")

    async with memory_cluster(System("s", agents=[agent]), nodes=2, spans=batches.append) as cluster:
        assert cluster.here == ""
        task = await cluster.client.submit(work, Count(n=0))
        assert (await task.result()).n == 2
        await asyncio.sleep(1)
    first, second = (what.rpartition(" ")[2] for what in diary.said)
    assert {first, second} == {"node-0", "node-1"}
    assert not spoken
    ended = [(batch.node, span.name) for batch in batches for span in batch.spans if span.end_ns]
    assert [node for node, name in ended if name.startswith("process") and "task" in name] == [second]


@virtual_time()
async def test_a_stopped_node_drains() -> None:
    """What runs ends; what asks for it afterwards finds nobody; the directory forgets it at once."""
    diary = Diary()
    agent = mortal(diary)
    async with memory_cluster(System("s", agents=[agent]), drain_s=5.0) as cluster:
        task = await cluster.client.submit(agent.handlers["work"], Count(n=0))
        await asyncio.sleep(0.5)
        await cluster.stop("node-0")
        assert diary.said == ["begin 1", "end 1"]
        assert await directory(cluster) == []
        assert (await task.result()).n == 1


@virtual_time()
async def test_an_ask_to_a_node_that_is_killed_times_out() -> None:
    """The caller hears nothing, as from a machine that is gone."""
    diary = Diary()
    agent = mortal(diary)
    async with memory_cluster(System("s", agents=[agent])) as cluster:
        asked = asyncio.create_task(cluster.client.ask(agent.handlers["work"], Count(n=0), timeout_s=3))
        await asyncio.sleep(0.5)
        await cluster.kill("node-0")
        with pytest.raises((RequestTimeout, DeadlineExceeded)):
            await asked
        assert diary.said == ["begin 1"]
        assert asyncio.get_running_loop().time() == pytest.approx(3, abs=0.1)


async def test_nodes_are_killed_on_an_ordinary_loop_too() -> None:
    """The same rules without virtual time, and no task of the node is left."""
    diary = Diary()
    agent = mortal(diary)
    before = asyncio.get_running_loop().get_task_factory()
    async with memory_cluster(System("s", agents=[agent])) as cluster:
        tasks = len(asyncio.all_tasks())
        await cluster.start("node-1")
        await cluster.kill("node-1")
        assert len(asyncio.all_tasks()) == tasks
        assert cluster.nodes == ("node-0",)
    assert asyncio.get_running_loop().get_task_factory() is before
    assert len(asyncio.all_tasks()) == 1


@virtual_time()
async def test_names_are_checked() -> None:
    """A node runs once under its name; what does not run cannot be stopped."""
    async with memory_cluster(System("s", agents=[mortal(Diary())])) as cluster:
        with pytest.raises(ConfigurationError, match="node 'node-0' runs already"):
            await cluster.start("node-0")
        await cluster.kill("node-0")
        for end in (cluster.kill, cluster.stop):
            with pytest.raises(ConfigurationError, match="no node 'node-0' runs; running: none"):
                await end("node-0")


def test_a_task_that_will_not_end_is_an_error() -> None:
    """A handler that swallows every cancellation cannot be killed; the cluster says which task it is."""
    agent = Agent("a")

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if asyncio.get_running_loop().time() > 60:
                    raise

    async def main() -> None:
        async with memory_cluster(System("s", agents=[agent])) as cluster:
            await cluster.client.submit(work, Count(n=0))
            await asyncio.sleep(1)
            await cluster.kill("node-0")
            await asyncio.sleep(100)

    with pytest.raises(AntiphonError, match=r"node 'node-0' was killed, but these tasks do not end when cancelled"):
        run_virtual(main())


@virtual_time()
async def test_clocks_are_skewed_by_name() -> None:
    """A deadline that has passed by the clock of one node is not met there, though time is left."""
    agent = Agent("a")

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        return Count(n=1)

    system = System("s", agents=[agent])
    async with memory_cluster(system, clocks={"node-0": VirtualClock(skew_s=3600)}) as cluster:
        with pytest.raises(DeadlineExceeded):
            await cluster.client.ask(work, Count(n=0), timeout_s=5)
    async with memory_cluster(system, clocks={"client": VirtualClock(skew_s=1)}) as cluster:
        assert (await cluster.client.ask(work, Count(n=0), timeout_s=5)).n == 1


@virtual_time()
async def test_a_scripted_model_lives_in_virtual_time() -> None:
    """Its tokens take virtual time, and deadlines cut it there."""
    agent = Agent("a")

    @agent.handles
    async def work(message: Count, ctx: Context) -> Count:
        return Count(n=len((await ctx.model.generate(str, "count")).split()))

    model = ScriptedModel(lambda request: "one two three", token_s=2.0)
    async with memory_cluster(System("s", agents=[agent]), models={"smollm2-135m": model}) as cluster:
        assert (await cluster.client.ask(work, Count(n=0))).n == 3
        assert asyncio.get_running_loop().time() == pytest.approx(6, abs=0.1)
        with pytest.raises(AntiphonError):
            await cluster.client.ask(work, Count(n=0), timeout_s=3)
