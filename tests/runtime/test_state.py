"""What an agent keeps between messages."""

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import AntiphonError, InvalidMessage
from antiphon.runtime.testing import memory_system


class Note(Message):
    """A text."""

    text: str


class Count(Message):
    """A number."""

    n: int


async def test_values_are_put_read_and_forgotten() -> None:
    """A name that was never put, or was deleted, is None; another type than was put is an error."""
    agent = Agent("a")
    found: list[Note | None] = []

    @agent.handles
    async def work(message: Note, ctx: Context) -> Note:
        found.append(await ctx.state.get("note", Note))
        await ctx.state.put("note", message)
        found.append(await ctx.state.get("note", Note))
        with pytest.raises(InvalidMessage):
            await ctx.state.get("note", Count)
        await ctx.state.delete("note")
        await ctx.state.delete("note")
        found.append(await ctx.state.get("note", Note))
        await ctx.state.update("note", Note, lambda old: old or Note(text="new"))
        return message

    async with memory_system(System("s", agents=[agent])) as client:
        await client.ask(work, Note(text="kept"))
    assert found == [None, Note(text="kept"), None]


async def test_agents_do_not_see_one_another_s_state() -> None:
    """The same name is another value for another agent."""
    writer, reader = Agent("writer"), Agent("reader")
    found: list[Note | None] = []

    @writer.handles
    async def write(message: Note, ctx: Context) -> Note:
        await ctx.state.put("note", message)
        return message

    @reader.handles
    async def read(message: Note, ctx: Context) -> Note:
        found.append(await ctx.state.get("note", Note))
        return message

    async with memory_system(System("s", agents=[writer, reader])) as client:
        await client.ask(write, Note(text="mine"))
        await client.ask(read, Note(text=""))
    assert found == [None]


@pytest.mark.parametrize("name", ["", "a.b", "A", "a*"])
async def test_a_name_that_is_no_key_is_refused(name: str) -> None:
    """Before anything is read or written."""
    agent = Agent("a")

    @agent.handles
    async def work(message: Note, ctx: Context) -> Note:
        await ctx.state.put(name, message)
        return message

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(AntiphonError, match=r"state name .* expected 1 to 64"):
            await client.ask(work, Note(text=""))
