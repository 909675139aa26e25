"""Systems that are right as they are: whatever is said of them is a false alarm."""

import asyncio
from collections.abc import Callable, Mapping

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World


class Topic(Message, name="CleanTopic"):
    """What a run is about."""

    number: int


class Text(Message, name="CleanText"):
    """What came of it."""

    text: str


def gathered(world: World) -> Build:
    """Three lookups at once, of other things in every run, and a summary made of all of them."""

    @tool(effect="read")
    async def look_up(source: str, topic: int) -> str:
        """What a source says."""
        await asyncio.sleep(world.lasts_s(0.08, "look_up", source, topic))
        return f"{source} on {topic}: {world.rng(source, topic).randrange(10**15):015d}"

    clerk = Agent("clerk", model="writer", tools=[look_up], slots=32)

    @clerk.handles
    async def report(topic: Topic, ctx: Context) -> Text:
        """Look up, then write."""
        found = await ctx.gather(*(ctx.tool(look_up, source, topic.number) for source in ("a", "b", "c")))
        reply = await ctx.model.generate(str, "Sum up: " + "; ".join(found), max_tokens=20)
        return Text(text=reply)

    return Build(
        system=System("clean-gathered", agents=[clerk]),
        request=lambda n: (report, Topic(number=n)),
        rate_per_s=20.0,
        models={"writer": TimedModel("writer", says(world, 20), slots=32)},
    )


def chained(world: World) -> Build:
    """Two agents, each step made of the one before."""

    @tool(effect="read")
    async def fetch(topic: int) -> str:
        """A document."""
        await asyncio.sleep(world.lasts_s(0.06, "fetch", topic))
        return f"document {world.rng('fetch', topic).randrange(10**15):015d} about {topic}"

    reader = Agent("reader", model="reader", tools=[fetch], slots=32)
    editor = Agent("editor", model="reader", slots=32)

    @editor.handles
    async def edit(text: Text, ctx: Context) -> Text:
        """Make it better."""
        return Text(text=await ctx.model.generate(str, f"Improve: {text.text}", max_tokens=16))

    @reader.handles
    async def read(topic: Topic, ctx: Context) -> Text:
        """Fetch, condense, have it edited."""
        document = await ctx.tool(fetch, topic.number)
        condensed = await ctx.model.generate(str, f"Condense: {document}", max_tokens=16)
        return await ctx.ask(edit, Text(text=condensed))

    return Build(
        system=System("clean-chained", agents=[reader, editor]),
        request=lambda n: (read, Topic(number=n)),
        rate_per_s=20.0,
        models={"reader": TimedModel("reader", says(world, 16), slots=32)},
    )


def steady(world: World) -> Build:
    """One model call with a long stable beginning and the question last."""
    rules = "You answer questions about the handbook. " + " ".join(
        f"Rule {n}: {world.rng('rule', n).randrange(10**9)}." for n in range(300)
    )
    desk = Agent("desk", model="helper", slots=32)

    @desk.handles
    async def answer(topic: Topic, ctx: Context) -> Text:
        """Answer one question."""
        return Text(text=await ctx.model.generate(str, f"Question {topic.number}", system=rules, max_tokens=30))

    return Build(
        system=System("clean-steady", agents=[desk]),
        request=lambda n: (answer, Topic(number=n)),
        rate_per_s=20.0,
        models={"helper": TimedModel("helper", says(world, 30), slots=32)},
    )


CLEAN: Mapping[str, Callable[[World], Build]] = {"gathered": gathered, "chained": chained, "steady": steady}
