"""P4: every run asks again what one of a few articles costs, which changes once a day. Decoy: every run asks how many
are left, takes one, and asks again: as often the same question, but a write lies between."""

import asyncio
from collections import Counter

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build, Plant
from plants.world import World

ARTICLES = 6


class Wish(Message, name="PlantWish"):
    """Somebody wants something."""

    number: int


class Offer(Message, name="PlantOffer"):
    """What it would be."""

    text: str


def build(world: World, *, taking: bool = False) -> Build:
    """A shop that looks an article up and writes an offer. ``taking``: it takes one from the stock."""
    taken: Counter[int] = Counter()

    @tool(effect="read", ttl="1h")
    async def look_up(article: int) -> str:
        """What the catalogue says of an article."""
        await asyncio.sleep(world.lasts_s(0.15 * world.severity, "look_up", article))
        left = f", {1_000_000 - taken[article]:012d} left" if taking else ""
        return f"article {article} costs {world.rng('price', article).randrange(10**12):012d}{left}"

    @tool(effect="write")
    async def take(article: int) -> None:
        """Take one from the stock."""
        await asyncio.sleep(0.02)
        taken[article] += 1

    @tool(effect="read")
    async def word(number: int, about: str) -> str:
        """Write the offer."""
        await asyncio.sleep(world.lasts_s(0.1, "word", number))
        return f"offer {number:06d}: {about}"

    shop = Agent("shop", tools=[look_up, take, word], slots=32)

    @shop.handles
    async def offer(wish: Wish, ctx: Context) -> Offer:
        """Look up, then write."""
        article = world.rng("article", wish.number).randrange(ARTICLES)
        found = await ctx.tool(look_up, article)
        if taking:
            await ctx.tool(take, article)
            found = await ctx.tool(look_up, article)
        return Offer(text=await ctx.tool(word, wish.number, found))

    return Build(
        system=System("shop", agents=[shop]),
        request=lambda n: (offer, Wish(number=n)),
        rate_per_s=8.0,
        runs=128,  # enough for the first question about each article to be an exception
    )


PLANT = Plant(pattern="p4", planted=build, decoy=lambda world: build(world, taking=True), held_out=True)
