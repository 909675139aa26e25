"""P1: a handler asks three sources one after the other. Decoy: each question is made of the answer before."""

import asyncio

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build, Plant
from plants.world import World


class Case(Message, name="PlantCase"):
    """What a run is about."""

    number: int


class Report(Message, name="PlantReport"):
    """What came of it."""

    text: str


SOURCES = ("orders", "letters", "weather")


def build(world: World, *, together: bool = False, chained: bool = False) -> Build:
    """The system: as planted, with the remedy in its code, or as the decoy."""

    @tool(effect="read")
    async def look_up(source: str, question: str) -> str:
        """What a source says."""
        await asyncio.sleep(world.lasts_s(0.12 * world.severity, "look_up", source, question[:8]))
        return f"{source} says of {question[:8]}: {world.rng(source, question).randrange(10**15):015d}"

    clerk = Agent("clerk", tools=[look_up], slots=16)

    @clerk.handles
    async def report(case: Case, ctx: Context) -> Report:
        """Ask all sources."""
        question = f"no {case.number:05d}"
        if together:
            found = await ctx.gather(*(ctx.tool(look_up, source, question) for source in SOURCES))
            return Report(text="; ".join(found))
        said: list[str] = []
        for source in SOURCES:
            said.append(await ctx.tool(look_up, source, said[-1] if chained and said else question))
        return Report(text="; ".join(said))

    system = System("reports", agents=[clerk])
    return Build(system=system, request=lambda n: (report, Case(number=n)), rate_per_s=6.0)


PLANT = Plant(
    pattern="p1",
    planted=build,
    decoy=lambda world: build(world, chained=True),
    remedied=lambda world: build(world, together=True),
)
