"""What ``ctx`` accepts and returns."""

from typing import assert_type

from antiphon import Context, Message, remote, tool
from antiphon.runtime.group import GroupOutcome
from antiphon.schemas.inference import Embeddings


class Question(Message):
    """Goes in."""

    text: str


class Draft(Message):
    """Comes out."""

    text: str


class Count(Message):
    """Neither."""

    n: int


write = remote("writer.write", Question, Draft)
count = remote("counter.count", Draft, Count)


@tool(effect="read")
async def search(query: str, *, limit: int = 3) -> list[str]:
    """A tool."""
    return [query] * limit


async def peers(ctx: Context) -> None:
    """ask and call know both sides."""
    assert_type(await ctx.ask(write, Question(text="?")), Draft)
    assert_type(await ctx.call(write, Question(text="?"), timeout_s=3.0), Draft)
    await ctx.ask(write, Draft(text="."))  # expect-error
    await ctx.call(write, Draft(text="."))  # expect-error
    await ctx.call(count, await ctx.call(write, Question(text="?")))
    await ctx.call(write, await ctx.call(write, Question(text="?")))  # expect-error
    print(ctx.call(write, Question(text="?")).text)  # expect-error


async def together(ctx: Context) -> None:
    """gather keeps the element type; a group checks each call."""
    found = await ctx.gather(ctx.ask(write, Question(text="a")), ctx.call(write, Question(text="b")))
    assert_type(found, list[Draft])
    assert_type(await ctx.each(ctx.ask(write, Question(text="a")), ctx.call(write, Question(text="b"))), list[Draft])
    async with ctx.group(quorum=2, at_least=1, timeout_s=2.0) as group:
        group.call(write, Question(text="?"))
        group.ask(write, Question(text="?"))
        group.call(write, Draft(text="."))  # expect-error
        group.ask(write, Count(n=1))  # expect-error
    assert_type(group.outcomes, list[GroupOutcome])


async def tools(ctx: Context) -> None:
    """A tool keeps its parameters and its result."""
    assert_type(await ctx.tool(search, "sky"), list[str])
    assert_type(await ctx.tool(search, query="sky", limit=1), list[str])
    await ctx.tool(search, 1)  # expect-error
    await ctx.tool(search)  # expect-error
    await ctx.tool(search, "sky", limit="one")  # expect-error
    await ctx.tool(search, "sky", page=2)  # expect-error


async def effects(ctx: Context) -> None:
    """run returns what its function does."""

    async def charge() -> int:
        return 3

    assert_type(await ctx.run("charge", charge, effect="write"), int)
    await ctx.run("charge", 3)  # expect-error


async def models(ctx: Context) -> None:
    """generate returns what was asked for."""
    assert_type(await ctx.model.generate(str, "hi"), str)
    assert_type(await ctx.model.generate(Draft, "hi", max_tokens=20), Draft)
    assert_type(await ctx.model.using("big").generate(Draft, "hi"), Draft)
    assert_type(await ctx.model.run(str, "hi", max_steps=2), str)
    assert_type(await ctx.model.run(Draft, "hi", max_tokens=20), Draft)
    assert_type(await ctx.model.embed(["hi"]), Embeddings)
    await ctx.model.generate(int, "hi")  # expect-error
    await ctx.model.generate(Draft, 7)  # expect-error
    await ctx.model.run(Draft, "hi", max_steps="two")  # expect-error
    await ctx.model.generate(Draft, "hi", temperature="hot")  # expect-error


async def state(ctx: Context) -> None:
    """State is typed where it is read."""
    assert_type(await ctx.state.get("last", Draft), Draft | None)
    assert_type(await ctx.state.update("last", Draft, lambda old: old or Draft(text="")), Draft)
    await ctx.state.put("last", "text")  # expect-error


async def the_rest(ctx: Context) -> None:
    """Time, randomness, identity."""
    assert_type(ctx.now(), float)
    assert_type(ctx.random.random(), float)
    assert_type(ctx.run_id, str)
    assert_type(ctx.deadline_unix_ms, int | None)
    await ctx.emit("text")
    await ctx.emit(Draft(text="."))
    await ctx.emit(3)  # expect-error
    ctx.attempt = 2  # expect-error
