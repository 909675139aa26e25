"""The agents of the acceptance tests: no models, so that they start at once."""

import asyncio
import os
from pathlib import Path

from antiphon import Agent, Context, Message, System, tool

POLL_S = 0.01


class Ping(Message):
    """A number, and how long to take over it."""

    n: int
    hold_s: float = 0.0


class Pong(Message):
    """The number, and who had it."""

    n: int
    node: str


class Swollen(Message):
    """A long text."""

    text: str


class Work(Message):
    """``diary``: a file that gains a line for each attempt; with ``gate`` it ends when that file is there."""

    diary: str
    gate: str = ""


class Worked(Message):
    """Which attempt came through."""

    attempt: int


class Seed(Message):
    """Where a tree begins."""

    n: int


class Leaf(Message):
    """Where a tree ends."""

    n: int


class Fallen(Message):
    """An event."""

    n: int


@tool(effect="pure")
async def add(a: int, b: int) -> int:
    """The sum."""
    return a + b


echo = Agent("echo", slots=4, lease_s=1.0)
worker = Agent("worker", slots=2, lease_s=1.0, max_attempts=3)
tree = Agent("tree", tools=[add], lease_s=1.0)
leaf = Agent("leaf", lease_s=1.0)
ground = Agent("ground", lease_s=1.0)


@echo.handles
async def ping(message: Ping, ctx: Context) -> Pong:
    """Say the number back."""
    await asyncio.sleep(message.hold_s)
    return Pong(n=message.n, node=ctx.host.node)


@echo.handles
async def chatter(message: Ping, ctx: Context) -> Pong:
    """Say every number up to this one, then the last."""
    for n in range(message.n):
        await ctx.emit(f"{n} ")
    return Pong(n=message.n, node=ctx.host.node)


@echo.handles
async def swell(message: Ping, ctx: Context) -> Swollen:
    """Say as many characters as asked for."""
    return Swollen(text="x" * message.n)


@worker.handles
async def work(message: Work, ctx: Context) -> Worked:
    """Note who works on it, then wait for the gate."""
    _note(message.diary, f"{os.getpid()} {ctx.attempt}\n")
    while not _is_open(message.gate):  # noqa: ASYNC110  # a file, because the test is another process
        await asyncio.sleep(POLL_S)
    return Worked(attempt=ctx.attempt)


def _note(diary: str, line: str) -> None:
    with Path(diary).open("a", encoding="utf-8") as file:
        file.write(line)


def _is_open(gate: str) -> bool:
    return not gate or Path(gate).exists()


@leaf.handles
async def fall(message: Leaf, ctx: Context) -> Leaf:
    """Answer at once."""
    return message


@leaf.handles
async def cling(message: Leaf, ctx: Context) -> Leaf:
    """Fail the first attempt, so that the task is delivered again."""
    if ctx.attempt == 1:
        raise OSError("not yet")
    return message


@ground.on("leaves.fallen")
async def heard(message: Fallen, ctx: Context) -> None:
    """Do something about it: ask, so that the event's own handler has a child."""
    await ctx.ask(fall, Leaf(n=message.n))


@tree.handles
async def grow(message: Seed, ctx: Context) -> Leaf:
    """One of everything: gather over ask and two calls (one redelivered), tool, run, event."""
    found = await ctx.gather(
        ctx.ask(fall, Leaf(n=message.n)), ctx.call(fall, Leaf(n=message.n)), ctx.call(cling, Leaf(n=message.n))
    )
    total = await ctx.tool(add, found[0].n, found[1].n)

    async def write() -> int:
        return total

    await ctx.run("write", write)
    await ctx.publish("leaves.fallen", Fallen(n=total))
    return Leaf(n=total)


system = System("workshop", agents=[echo, worker, tree, leaf, ground])
