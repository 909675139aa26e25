"""Supervision: three readers run together, one that fails is begun anew, and failing all the time has an end."""

from functools import partial

from antiphon import Agent, Context, Message, System
from antiphon.runtime.patterns.supervisor import supervise


class Feed(Message):
    """Where to read."""

    name: str


class News(Message):
    """What was read there."""

    text: str


class Paper(Message):
    """The news of all feeds."""

    columns: tuple[str, ...]


reader = Agent("reader", max_attempts=1)
editor = Agent("editor")


@reader.handles
async def read(feed: Feed, ctx: Context) -> News:
    """Read one feed."""
    return News(text=await ctx.model.generate(str, f"The news of {feed.name}"))


@editor.handles
async def edit(paper: Paper, ctx: Context) -> Paper:
    """Read the feeds that the columns name; at most three restarts a minute."""
    readers = {name: partial(ctx.call, read, Feed(name=name)) for name in paper.columns}
    news = await supervise(ctx, readers, strategy="one_for_one", intensity=3, within_s=60)
    return Paper(columns=tuple(news[name].text for name in paper.columns))


system = System("paper", agents=[editor, reader])
