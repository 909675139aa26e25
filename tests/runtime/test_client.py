"""The way in: what a client raises, and what it may be asked twice."""

import asyncio
from pathlib import Path

import pytest

from antiphon import Agent, Context, Message, System, connect
from antiphon.runtime.errors import DeadlineExceeded, HandlerFailed, MessageTooLarge, TaskDead
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryBus, MemoryServer, memory_system
from antiphon.schemas.identity import InvalidName
from antiphon.schemas.task import TaskState

LARGE = 2_000_000  # bytes


class Note(Message):
    """A text."""

    text: str = ""


def agent() -> Agent:
    """Echoes, fails, waits, swells."""
    found = Agent("a", max_attempts=1)

    @found.handles
    async def echo(message: Note, ctx: Context) -> Note:
        return message

    @found.handles
    async def fail(message: Note, ctx: Context) -> Note:
        raise ValueError("x" * 10_000)

    @found.handles
    async def wait(message: Note, ctx: Context) -> Note:
        await asyncio.Event().wait()
        return message

    @found.handles
    async def swell(message: Note, ctx: Context) -> Note:
        return Note(text="x" * LARGE)

    return found


async def test_a_stream_of_a_task_that_fails_raises_how_it_ended() -> None:
    """After what was shown; a long message is cut."""
    target = agent()
    async with memory_system(System("s", agents=[target])) as client:
        with pytest.raises(TaskDead, match="dead after 1 attempts; the last said ValueError") as caught:
            async for _ in client.stream(target.handlers["fail"], Note()):
                pass
        with pytest.raises(HandlerFailed):
            await client.ask(target.handlers["fail"], Note())
    assert len(caught.value.message) < 5_000


async def test_waiting_for_a_result_may_end_before_the_task() -> None:
    """The task goes on; the message says how to wait again."""
    target = agent()
    async with memory_system(System("s", agents=[target]), drain_s=0.05) as client:
        task = await client.submit(target.handlers["wait"], Note())
        with pytest.raises(DeadlineExceeded, match=f"antiphon result {task.id}"):
            await task.result(timeout_s=0.05)
        assert await task.outcome() is None
        assert await task.cancel()


async def test_a_large_body_travels_everywhere() -> None:
    """Twice what the bus carries: asked, submitted, called and published."""
    target, heard = agent(), asyncio.Event()
    caller = Agent("caller")
    large = Note(text="x" * LARGE)

    @caller.handles
    async def relay(message: Note, ctx: Context) -> Note:
        return await ctx.call(target.handlers["echo"], message)

    @caller.on("notes")
    async def hear(message: Note, ctx: Context) -> None:
        assert message == large
        heard.set()

    async with memory_system(System("s", agents=[target, caller])) as client:
        assert client.host.bus.max_payload < LARGE
        assert await client.ask(target.handlers["echo"], large) == large
        assert await (await client.submit(target.handlers["echo"], large)).result(timeout_s=60) == large
        assert await (await client.submit(relay, large)).result(timeout_s=60) == large
        await client.publish("notes", large)
        await asyncio.wait_for(heard.wait(), 60)


async def test_a_body_over_the_limit_is_an_error_in_both_directions(tmp_path: Path) -> None:
    """A message is refused before it is stored; a reply ends the task instead of being tried for ever."""
    target = agent()
    async with memory_system(System("s", agents=[target]), settings=Settings(home=tmp_path, max_body_mb=1)) as client:
        echo, swell, large = target.handlers["echo"], target.handlers["swell"], Note(text="x" * LARGE)
        for attempt in (client.ask(echo, large), client.submit(echo, large), client.publish("notes", large)):
            with pytest.raises(MessageTooLarge, match=r"over the limit of 1048576; send less, or raise max_body_mb"):
                await attempt
        with pytest.raises(MessageTooLarge):
            await client.ask(swell, Note())
        task = await client.submit(swell, Note())
        with pytest.raises(MessageTooLarge):
            await task.result(timeout_s=60)
        outcome = await task.outcome()
        assert outcome is not None and outcome.state is TaskState.FAILED


async def test_a_topic_that_is_none_is_refused() -> None:
    """Wildcards are for subscribers of NATS, not for publishers."""
    async with connect(bus=MemoryBus(MemoryServer())) as client:
        with pytest.raises(InvalidName, match="expected dot-separated names"):
            await client.publish("drafts.>", Note())


async def test_an_ask_that_is_given_up_stops_its_handler() -> None:
    """Whoever cancels the ask has the handler cancelled, and what is asked afterwards is answered."""
    target = Agent("a")
    begun, stopped = asyncio.Event(), asyncio.Event()

    @target.handles
    async def wait(message: Note, ctx: Context) -> Note:
        if message.text:
            return message
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return message

    async with memory_system(System("s", agents=[target])) as client:
        asking = asyncio.create_task(client.ask(wait, Note()))
        await begun.wait()
        asking.cancel()
        async with asyncio.timeout(60):
            await stopped.wait()
        assert asking.cancelled() or await asyncio.wait([asking])
        assert (await client.ask(wait, Note(text="?"))).text == "?"
