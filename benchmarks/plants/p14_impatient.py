"""P14: a desk waits 0.4 s for an archive that takes longer for some questions, gives up, and asks again with more
patience; the archive cannot stop a search that its database has begun. Decoy: the same times, but a search that takes
too long hangs, stops when it is given up, and the second one does not hang."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import DeadlineExceeded
from plants.plant import Build, Plant
from plants.world import World

PATIENCE_S = (0.4, 1.6, 6.4)
HANGS_S = 60.0


class Search(Message, name="PlantSearch"):
    """What is looked for."""

    number: int


class Found(Message, name="PlantFound"):
    """What was found."""

    text: str


async def to_the_end(statement: Coroutine[object, object, None]) -> None:
    """Waits for what a database has begun, as code must that may not leave it half done."""
    begun = asyncio.ensure_future(statement)
    while not begun.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(begun)


def build(world: World, *, hangs: bool = False) -> Build:
    """A desk and its archive."""
    desk, archive = Agent("desk", slots=32), Agent("archive", slots=16)
    asked: set[int] = set()

    @archive.handles
    async def find(search: Search, ctx: Context) -> Found:
        """Look it up: three in ten searches are long ones."""
        number = search.number
        is_long = world.rng("long", number).random() < 0.3 * world.severity
        took_s = world.lasts_s(0.6 if is_long else 0.15, "find", number, spread=0.1)
        if hangs:
            again = number in asked
            asked.add(number)
            await asyncio.sleep(HANGS_S if is_long and not again else took_s)
        else:
            await to_the_end(asyncio.sleep(took_s))
        return Found(text=f"search {number}: {world.rng('found', number).randrange(10**15):015d}")

    @desk.handles
    async def look_up(search: Search, ctx: Context) -> Found:
        """Ask the archive, each time with more patience."""
        *short, last = PATIENCE_S
        for patience_s in short:
            with suppress(DeadlineExceeded):
                return await ctx.ask(find, search, timeout_s=patience_s)
        return await ctx.ask(find, search, timeout_s=last)

    return Build(
        system=System("archive", agents=[desk, archive]),
        request=lambda n: (look_up, Search(number=n)),
        rate_per_s=6.0,
    )


PLANT = Plant(pattern="p14", planted=build, decoy=lambda world: build(world, hangs=True))
