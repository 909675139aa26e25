"""P21: a story is read aloud when its last word is written, though every word came by itself. Decoy: it is translated
by a model, which needs the whole of it."""

import asyncio

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World

CHAPTERS = 4
WORDS = 25  # of a chapter


class Topic(Message, name="PlantTopic"):
    """What a story is about."""

    number: int


class Story(Message, name="PlantStory"):
    """A story, as it was read or translated."""

    parts: tuple[str, ...]


def build(world: World, *, by_chapter: bool = False, translated: bool = False) -> Build:
    """A reader. ``by_chapter``: it writes on while it reads what is there."""

    @tool(effect="read")
    async def read_aloud(text: str) -> str:
        """Make speech of a text."""
        await asyncio.sleep(world.lasts_s(0.008 * world.severity * len(text.split()), "read", text[:20], spread=0.1))
        return f"speech {world.rng('speech', text).randrange(10**15):015d}"

    reader = Agent("reader", model="author", tools=[read_aloud], slots=32)

    @reader.handles
    async def tell(topic: Topic, ctx: Context) -> Story:
        """Write, then read aloud."""
        prompt, whole = f"Tell a story about {topic.number}", CHAPTERS * WORDS
        if by_chapter:
            voice = asyncio.Lock()  # one chapter at a time

            async def read_next(text: str) -> str:
                async with voice:
                    return await ctx.tool(read_aloud, text)

            async with ctx.group() as reading:
                for chapter in range(CHAPTERS):
                    text = await ctx.model.generate(str, f"{prompt}: chapter {chapter}", max_tokens=WORDS)
                    reading.start(read_next(text))
            return Story(parts=tuple(reading.values))
        text = await ctx.model.generate(str, prompt, max_tokens=whole)
        if translated:
            return Story(parts=(await ctx.model.generate(str, f"Translate: {text}", max_tokens=whole),))
        return Story(parts=(await ctx.tool(read_aloud, text),))

    model = TimedModel("author", says(world, CHAPTERS * WORDS), slots=32, decode_s=0.008)
    return Build(
        system=System("stories", agents=[reader]),
        request=lambda n: (tell, Topic(number=n)),
        rate_per_s=6.0,
        models={"author": model},
    )


PLANT = Plant(
    pattern="p21",
    planted=build,
    decoy=lambda world: build(world, translated=True),
    remedied=lambda world: build(world, by_chapter=True),
)
