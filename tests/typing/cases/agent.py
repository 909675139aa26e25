"""What defining agents and tools accepts and returns."""

from typing import assert_type

from antiphon import Agent, Context, Handler, Message, System, Tool, tool


class Question(Message):
    """Goes in."""

    text: str


class Draft(Message):
    """Comes out."""

    text: str


@tool(effect="read", ttl="10m")
async def search(query: str, *, limit: int = 3) -> list[str]:
    """A tool."""
    return [query] * limit


@tool(effect="pure")  # expect-error
def not_async(query: str) -> str:
    """A tool must be async."""
    return query


writer = Agent("writer", tools=[search])
Agent("writer", tools=["search"])  # expect-error
Agent(7)  # expect-error


@writer.handles
async def write(question: Question, ctx: Context) -> Draft:
    """Answers."""
    return Draft(text=question.text)


assert_type(write, Handler[Question, Draft])


@writer.handles  # expect-error
async def no_message(question: str, ctx: Context) -> Draft:
    """Takes something that is no message."""
    return Draft(text=question)


@writer.handles  # expect-error
async def no_reply(question: Question, ctx: Context) -> str:
    """Returns something that is no message."""
    return question.text


@writer.handles  # expect-error
def blocking(question: Question, ctx: Context) -> Draft:
    """Is not async."""
    return Draft(text=question.text)


@writer.handles  # expect-error
async def no_context(question: Question) -> Draft:
    """Takes no Context."""
    return Draft(text=question.text)


@writer.handles(key=lambda question: question.text)
async def in_order(question: Question, ctx: Context) -> Draft:
    """Runs one at a time for each key."""
    return Draft(text=question.text)


assert_type(in_order, Handler[Question, Draft])


@writer.handles(key=lambda question: 7)  # expect-error
async def no_text(question: Question, ctx: Context) -> Draft:
    """A key is a text."""
    return Draft(text=question.text)


@writer.handles(key=str)  # expect-error
async def keyed_without_message(question: Question, ctx: Context) -> str:
    """Returns something that is no message."""
    return question.text


@writer.on("drafts.new")
async def heard(draft: Draft, ctx: Context) -> None:
    """Receives events."""


@writer.on("drafts.new")  # expect-error
async def talks_back(draft: Draft, ctx: Context) -> Draft:
    """Events have no reply."""
    return draft


async def in_a_unit_test(ctx: Context) -> None:
    """A handler and a tool may be awaited as the functions they are."""
    assert_type(await write(Question(text="?"), ctx), Draft)
    await write(Draft(text="."), ctx)  # expect-error
    assert_type(await search("sky", limit=1), list[str])
    await search(1)  # expect-error


def holds(found: Tool[[str], int], system: System) -> None:
    """Public generics take their parameters."""
    assert_type(found.ttl_s, float | None)
    System("s", agents=[write])  # expect-error
    assert_type(system.name, str)
