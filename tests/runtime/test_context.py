"""What ``ctx`` gives a handler beyond calls: identity, labels, time, randomness, and refusals that explain."""

import time
from collections.abc import Awaitable, Callable

import pytest

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.testing import memory_system


class Note(Message):
    """A text."""

    text: str = ""


@tool()
async def stranger() -> int:
    """A tool that the agent was not given."""
    return 1


async def test_labels_run_and_deadline_travel_to_what_a_task_causes() -> None:
    """A child sees the outside caller's labels, the same run, and no later deadline."""
    agent = Agent("a")
    seen: list[tuple[str, str, dict[str, str], int | None]] = []

    @agent.handles
    async def child(message: Note, ctx: Context) -> Note:
        seen.append((ctx.run_id, ctx.task_id, dict(ctx.labels), ctx.deadline_unix_ms))
        return message

    @agent.handles
    async def parent(message: Note, ctx: Context) -> Note:
        seen.append((ctx.run_id, ctx.task_id, dict(ctx.labels), ctx.deadline_unix_ms))
        return await ctx.call(child, message)

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(parent, Note(), labels={"user": "ü"}, timeout_s=5)
        await task.result(timeout_s=60)
    (run, parent_task, labels, deadline), (child_run, child_task, child_labels, child_deadline) = seen
    assert (run, parent_task, labels) == (task.run, task.id, {"user": "ü"})
    assert (child_run, child_labels, child_deadline) == (run, labels, deadline)
    assert child_task != parent_task
    assert deadline is not None


async def test_another_attempt_draws_the_same_random_numbers() -> None:
    """Retries take the path the first attempt took; another task draws others."""
    agent = Agent("a")
    drawn: list[float] = []

    @agent.handles
    async def draw(message: Note, ctx: Context) -> Note:
        drawn.append(ctx.random.random())
        if ctx.attempt == 1 and not message.text:
            raise OSError("again")
        return message

    async with memory_system(System("s", agents=[agent])) as client:
        await (await client.submit(draw, Note())).result(timeout_s=60)
        await (await client.submit(draw, Note(text="other"))).result(timeout_s=60)
    assert drawn[0] == drawn[1] != drawn[2]


async def test_now_is_the_clock_s() -> None:
    """Seconds since the epoch."""
    agent = Agent("a")
    found: list[float] = []

    @agent.handles
    async def look(message: Note, ctx: Context) -> Note:
        found.append(ctx.now())
        return message

    async with memory_system(System("s", agents=[agent])) as client:
        before_s = time.time()
        await client.ask(look, Note())
    assert before_s - 1 <= found[0] <= time.time() + 1


async def _returns_an_object() -> object:
    return object()


@pytest.mark.parametrize(
    ("misuse", "says"),
    [
        (lambda ctx: ctx.tool(stranger), r"has no tool 'stranger' \(it has none\): add it to tools"),
        (lambda ctx: ctx.run("step", _returns_an_object), "run step returned a object: JSON cannot carry it"),
    ],
)
async def test_misuse_is_explained(misuse: Callable[[Context], Awaitable[object]], says: str) -> None:
    """A ConfigurationError that crosses to whoever asked."""
    agent = Agent("a")

    @agent.handles
    async def work(message: Note, ctx: Context) -> Note:
        await misuse(ctx)
        return message

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(ConfigurationError, match=says):
            await client.ask(work, Note())
