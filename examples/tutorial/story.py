"""Four model calls in a row: kill the worker between two of them, and see that none is made twice.

antiphon run examples/tutorial/story.py:system
antiphon submit teller.tell '{"about": "rain"}'
"""

from antiphon import Agent, Context, Message, System


class Wish(Message):
    """What the story is about."""

    about: str


class Story(Message):
    """Its chapters."""

    chapters: list[str]


teller = Agent("teller")


@teller.handles
async def tell(wish: Wish, ctx: Context) -> Story:
    """Tell a story chapter by chapter, each going on from the last."""
    chapters: list[str] = []
    for number in range(1, 5):
        prompt = f"A story about {wish.about}, chapter {number}. Before: {chapters[-1] if chapters else 'nothing'}"
        chapters.append(await ctx.model.generate(str, prompt, max_tokens=40))
    return Story(chapters=chapters)


system = System("story", agents=[teller])
