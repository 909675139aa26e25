"""Scheduled work on several nodes: each tick is one task, through crashes, restarts and outages."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from antiphon import Agent, Context, Message, System
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.compose import open_host
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.patterns.schedule_book import ScheduleBook, Work, work_of
from antiphon.runtime.patterns.schedules import Schedules
from antiphon.runtime.patterns.ticks import instant
from antiphon.runtime.settings import Settings
from antiphon.runtime.telemetry.feed import Sink
from antiphon.runtime.testing import VirtualClock, memory_system, virtual_time
from antiphon.schemas.telemetry import TelemetryBatch

MINUTE = 60.0


class Note(Message):
    text: str


class Clerk:
    """An agent that notes the ticks it was told of."""

    def __init__(self) -> None:
        self.agent = Agent("clerk")
        self.ticks: list[str] = []

        @self.agent.handles
        async def write(message: Note, ctx: Context) -> Note:
            assert ctx.labels["schedule"] == "often"
            self.ticks.append(ctx.labels["tick"])
            return message

        self.work = work_of(write, Note(text="the time"))


@asynccontextmanager
async def opened(server: MemoryServer) -> AsyncGenerator[ScheduleBook, None]:
    """The book, without a node."""
    bus = MemoryBus(server)
    yield await ScheduleBook.open(bus, VirtualClock(), "default")
    await bus.close()


@asynccontextmanager
async def running(
    server: MemoryServer, clerk: Clerk, *skews_s: float, spans: Sink | None = None
) -> AsyncGenerator[None, None]:
    """A node that does the work, and as many that look at the schedules as there are clocks."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(memory_system(System("s", agents=[clerk.agent]), server=server, spans=spans))
        for skew_s in skews_s:
            bus, clock = MemoryBus(server), VirtualClock(skew_s=skew_s)
            stack.push_async_callback(bus.close)
            settings = Settings(home=Path("/no-such-home"))
            models = ModelRegistry(settings, bus=bus, clock=clock)
            sinks = () if spans is None else (spans,)
            host = await stack.enter_async_context(
                open_host(settings, node=f"k{skew_s:g}", bus=bus, models=models, clock=clock, sinks=sinks)
            )
            schedules = Schedules(host, await ScheduleBook.open(bus, clock, "default"))
            stack.push_async_callback(_ended, asyncio.create_task(schedules.run()))
        yield


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def minutes(*which: int) -> list[str]:
    """As ticks are written; virtual time begins with the year."""
    return [f"2026-01-01T00:{minute:02}:00Z" for minute in which]


@virtual_time(seeds=range(5))
async def test_a_tick_is_one_task_whatever_the_number_of_nodes() -> None:
    """Three nodes whose clocks differ by seconds; five minutes, five tasks."""
    clerk, server = Clerk(), MemoryServer(clock=VirtualClock())
    async with opened(server) as book, running(server, clerk, -2.0, 0.0, 3.0):
        await book.add("often", clerk.work, cron="* * * * *")
        await asyncio.sleep(5.5 * MINUTE)
    assert clerk.ticks == minutes(1, 2, 3, 4, 5)


@virtual_time(seeds=range(3))
async def test_the_newest_tick_that_was_missed_is_made_up_for_once() -> None:
    """No node runs from half past one to half past four, in minutes."""
    clerk, server = Clerk(), MemoryServer(clock=VirtualClock())
    async with opened(server) as book:
        await book.add("often", clerk.work, cron="* * * * *")
        async with running(server, clerk, 0.0):
            await asyncio.sleep(1.5 * MINUTE)
        await asyncio.sleep(3 * MINUTE)
        async with running(server, clerk, 0.0):
            await asyncio.sleep(1 * MINUTE)
    assert clerk.ticks == minutes(1, 4, 5)


@virtual_time()
async def test_missed_ticks_can_be_passed_over() -> None:
    """The nodes come back five minutes after a tick."""
    clerk, server = Clerk(), MemoryServer(clock=VirtualClock())
    async with opened(server) as book:
        await book.add("often", clerk.work, cron="*/10 * * * *", missed="skip")
        await asyncio.sleep(25 * MINUTE)
        async with running(server, clerk, 0.0):
            await asyncio.sleep(10 * MINUTE)
    assert clerk.ticks == minutes(30)


@virtual_time()
async def test_a_node_that_died_before_it_noted_the_tick_costs_no_second_run() -> None:
    """The next one finds the entry as it was, and the task there already."""
    clerk, server = Clerk(), MemoryServer(clock=VirtualClock())
    async with opened(server) as book:
        before = await book.add("often", clerk.work, cron="*/10 * * * *")
        async with running(server, clerk, 0.0):
            await asyncio.sleep(11 * MINUTE)
        changes = book.watch()
        revision = (await anext(changes)).revision
        await changes.aclose()
        assert await book.handled(before, before.handled_unix_ms, revision=revision)  # as if it had not been noted
        async with running(server, clerk, 0.0):
            await asyncio.sleep(1 * MINUTE)
        assert (await book.all())[0].handled_unix_ms > before.handled_unix_ms
    assert clerk.ticks == minutes(10)


@virtual_time()
async def test_a_removed_schedule_begins_nothing_and_a_changed_one_follows_its_new_rule() -> None:
    """Nodes are told at once."""
    clerk, server = Clerk(), MemoryServer(clock=VirtualClock())
    async with opened(server) as book, running(server, clerk, 0.0):
        await book.add("often", clerk.work, every="1m")
        await asyncio.sleep(1.5 * MINUTE)
        await book.add("often", clerk.work, cron="*/4 * * * *")
        await asyncio.sleep(3 * MINUTE)
        await book.remove("often")
        await asyncio.sleep(10 * MINUTE)
    assert [tick[:16] for tick in clerk.ticks] == [tick[:16] for tick in minutes(1, 4)]


@virtual_time()
async def test_work_that_nobody_can_do_is_passed_over_and_the_others_go_on() -> None:
    """It is logged at every tick, and tried again at the next."""
    clerk, server = Clerk(), MemoryServer(clock=VirtualClock())
    async with opened(server) as book, running(server, clerk, 0.0):
        await book.add("absent", Work("ghost", "write", "Note", 1, {"text": ""}), cron="* * * * *")
        await book.add("often", clerk.work, cron="* * * * *")
        await asyncio.sleep(2.5 * MINUTE)
        absent = (await book.all())[0]
    assert clerk.ticks == minutes(1, 2)
    assert (absent.name, instant(absent.handled_unix_ms)) == ("absent", minutes(2)[0])


@virtual_time()
async def test_a_tick_is_a_run_of_its_own_in_the_record() -> None:
    """A publish span is the root, and the handler's span hangs below."""
    clerk, server = Clerk(), MemoryServer(clock=VirtualClock())
    batches: list[TelemetryBatch] = []
    async with opened(server) as book, running(server, clerk, 0.0, spans=batches.append):
        await book.add("often", clerk.work, cron="* * * * *")
        await asyncio.sleep(1.1 * MINUTE)
    spans = [span for batch in batches for span in batch.spans]
    sent = [span for span in spans if span.name == "publish antiphon.{tenant}.task.{agent}.{handler}"]
    done = [span for span in spans if span.name == "process antiphon.{tenant}.task.{agent}.{handler}"]
    assert sent and all(not span.parent_id for span in sent)
    assert len({span.span_id for span in done}) == 1
    assert done[0].parent_id in {span.span_id for span in sent}
