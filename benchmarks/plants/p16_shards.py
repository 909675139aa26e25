"""P16: a search asks eight shards and waits for the slowest; now and then one takes a multiple, for no reason of the
question's. Decoy: as often one takes as long, because it has as much more to return."""

import asyncio
from collections import Counter

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build, Plant
from plants.world import World

SHARDS = 8
OFTEN = 0.03


class Query(Message, name="PlantQuery"):
    """What is looked for."""

    number: int


class Hits(Message, name="PlantHits"):
    """What all shards found."""

    texts: tuple[str, ...]


def build(world: World, *, by_size: bool = False) -> Build:
    """A search over shards. ``by_size``: what takes long returns much."""
    attempts: Counter[tuple[int, int]] = Counter()
    slow = 1 + 8 * world.severity

    @tool(effect="read")
    async def look_up(shard: int, number: int) -> str:
        """What one shard has."""
        attempts[shard, number] += 1
        attempt = attempts[shard, number]
        straggles = world.rng("straggles", shard, number, attempt).random() < OFTEN
        took_s = world.lasts_s(0.1, "look_up", shard, number, attempt, spread=0.15)
        await asyncio.sleep(took_s * slow if straggles else took_s)
        lines = round(20 * slow) if straggles and by_size else 20
        return " ".join(f"{world.rng(shard, number, line).randrange(10**9):09d}" for line in range(lines))

    search = Agent("search", tools=[look_up], slots=64)

    @search.handles
    async def everywhere(query: Query, ctx: Context) -> Hits:
        """Ask all shards."""
        found = await ctx.gather(*(ctx.tool(look_up, shard, query.number) for shard in range(SHARDS)))
        return Hits(texts=tuple(found))

    return Build(
        system=System("search", agents=[search]),
        request=lambda n: (everywhere, Query(number=n)),
        rate_per_s=6.0,
    )


PLANT = Plant(pattern="p16", planted=build, decoy=lambda world: build(world, by_size=True))
