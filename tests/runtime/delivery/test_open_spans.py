"""A handler that was parked is one handler in the trace."""

import asyncio
from collections.abc import Callable

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.delivery.leftovers import clear_leftovers
from antiphon.runtime.delivery.outcome import store_result
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import memory_cluster, run_virtual, virtual_time
from antiphon.schemas.task import TaskResult, TaskState
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch


class N(Message):
    n: int = 0


def collector() -> tuple[Callable[[TelemetryBatch], None], dict[bytes, SpanRecord]]:
    """A sink, and the newest record of each span it was given."""
    found: dict[bytes, SpanRecord] = {}

    def take(batch: TelemetryBatch) -> None:
        for span in batch.spans:
            if span.end_ns or span.span_id not in found:
                found[span.span_id] = span

    return take, found


def of(spans: dict[bytes, SpanRecord], start: str, agent: str) -> list[SpanRecord]:
    matching = [s for s in spans.values() if s.name.startswith(start) and s.attributes.get(names.AGENT) == agent]
    return sorted(matching, key=lambda span: (span.start_ns, span.attributes.get(names.PATH, "")))


@virtual_time(seeds=range(3))
async def test_the_spans_of_a_parked_handler_go_on_when_it_wakes() -> None:
    """Parked three times on two nodes: one process span, one span an operation, each as long as the wait was."""
    boss, hand = Agent("boss"), Agent("hand")

    @hand.handles
    async def work(message: N, ctx: Context) -> N:
        await ctx.sleep(message.n)
        return message

    @boss.handles
    async def order(message: N, ctx: Context) -> N:
        first = await ctx.call(work, N(n=10))
        rest = await ctx.gather(ctx.call(work, N(n=20)), ctx.call(work, N(n=40)))
        return N(n=first.n + sum(one.n for one in rest))

    take, spans = collector()
    async with memory_cluster(System("s", agents=[boss, hand]), nodes=2, spans=take) as cluster:
        task = await cluster.client.submit(order, N())
        assert (await task.result(timeout_s=200)).n == 70

    (process,) = of(spans, "process", "boss")
    assert all(span.end_ns for span in spans.values())
    assert {span.status for span in spans.values()} == {0}
    assert process.attributes[names.RESULT_STATE] == "succeeded"
    assert 40 < process.attributes[names.PARKED_NS] / 1e9 < 50
    calls = of(spans, "publish", "boss")
    assert [(call.attributes[names.PATH], call.parent_id) for call in calls] == [
        (path, process.span_id) for path in ("1", "2", "3")
    ]
    for call, least_s in zip(calls, (10, 20, 40), strict=True):
        assert least_s <= (call.end_ns - call.start_ns) / 1e9 < least_s + 3
        (child,) = [span for span in spans.values() if span.parent_id == call.span_id]
        assert call.start_ns <= child.start_ns <= child.end_ns <= call.end_ns


@virtual_time(seeds=range(3))
async def test_what_a_parked_handler_left_behind_ends_with_it() -> None:
    """A group that leaves with its quorum: the other member's span ends as cancelled, none stays open."""
    boss, hand = Agent("boss"), Agent("hand")

    @hand.handles
    async def work(message: N, ctx: Context) -> N:
        await ctx.sleep(message.n)
        return message

    @boss.handles
    async def order(message: N, ctx: Context) -> N:
        async with ctx.group(quorum=1) as group:
            group.call(work, N(n=10))
            group.call(work, N(n=3000))
        return N(n=sum(one.value.n for one in group.outcomes if one.value is not None))

    take, spans = collector()
    async with memory_cluster(System("s", agents=[boss, hand]), spans=take) as cluster:
        task = await cluster.client.submit(order, N())
        assert (await task.result(timeout_s=200)).n == 10

    quick, slow = of(spans, "publish", "boss")
    assert (quick.status, slow.status) == (0, 2)
    assert slow.attributes[names.ERROR_TYPE] == "CancelledError"
    unfinished = [span for span in spans.values() if not span.end_ns]
    assert not unfinished, [span.name for span in unfinished]


@virtual_time(seeds=range(3))
async def test_a_handler_that_woke_and_was_killed_is_another_attempt_in_the_trace() -> None:
    """The attempt that died stays unfinished, the next one has a span of its own."""
    boss = Agent("boss", lease_s=1.0)

    @boss.handles
    async def order(message: N, ctx: Context) -> N:
        await ctx.sleep(10)
        if ctx.attempt == 1:
            await cluster.kill(cluster.here)
        return N(n=ctx.attempt)

    take, spans = collector()
    async with memory_cluster(System("s", agents=[boss]), nodes=2, spans=take) as cluster:
        task = await cluster.client.submit(order, N())
        assert (await task.result(timeout_s=200)).n == 2

    died, lived = of(spans, "process", "boss")
    assert (died.end_ns, died.attributes[names.ATTEMPT]) == (0, 1)
    assert lived.end_ns and lived.attributes[names.ATTEMPT] == 2
    assert names.PARKED_NS not in lived.attributes


@pytest.mark.parametrize("canceller_dies", [False, True])
def test_a_task_that_is_cancelled_while_it_is_parked_leaves_nothing_open(canceller_dies: bool) -> None:
    """Nor do its children, which are parked as well: they hear of it from their parent, or from whoever tidies up."""
    boss, hand = Agent("boss"), Agent("hand")

    @hand.handles
    async def work(message: N, ctx: Context) -> N:
        await ctx.sleep("1h")
        return message

    @boss.handles
    async def order(message: N, ctx: Context) -> N:
        return await ctx.call(work, message)

    async def story() -> dict[bytes, SpanRecord]:
        take, spans = collector()
        async with memory_cluster(System("s", agents=[boss, hand]), nodes=2, spans=take) as cluster:
            task = await cluster.client.submit(order, N())
            await asyncio.sleep(60)
            if canceller_dies:
                result = TaskResult(task=task.id, state=TaskState.CANCELLED, started_unix_ms=0, finished_unix_ms=0)
                await store_result(cluster.client.host.bus, "default", result, ttl_s=60)
                assert await clear_leftovers(cluster.client.host.bus) == 2
            else:
                await task.cancel()
            await asyncio.sleep(60)
        return spans

    spans = run_virtual(story())
    assert [span.attributes[names.RESULT_STATE] for span in of(spans, "process", "boss")] == ["cancelled"]
    assert [span.attributes[names.RESULT_STATE] for span in of(spans, "process", "hand")] == ["cancelled"]
    assert all(span.end_ns for span in spans.values()), [span.name for span in spans.values() if not span.end_ns]
