"""P25: a jury of five hears all votes though three would do, and says so. Decoy: there only a jury of one mind says
yes, so the last vote counts."""

import asyncio
from collections import Counter

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build, Plant
from plants.world import World

JURORS = 5
MAJORITY = 3


class Charge(Message, name="PlantCharge"):
    """What is judged, and by whom."""

    number: int
    juror: int = 0


class Vote(Message, name="PlantVote"):
    """What one of them says, and what all of them say."""

    guilty: bool


def build(world: World, *, of_one_mind: bool = False) -> Build:
    """A court and its jurors, of whom one in twelve sees a case in another way."""

    @tool(effect="read")
    async def consider(number: int, juror: int) -> bool:
        """Think about a case."""
        await asyncio.sleep(world.lasts_s(0.3 * world.severity, "consider", number, juror, spread=0.45))
        guilty = world.rng("case", number).random() < 0.8
        return guilty is not (world.rng("mind", number, juror).random() < 1 / 12)

    jury = Agent("jury", tools=[consider], slots=256)
    court = Agent("court", slots=64)

    @jury.handles(effect="read")
    async def vote(charge: Charge, ctx: Context) -> Vote:
        """One juror."""
        return Vote(guilty=await ctx.tool(consider, charge.number, charge.juror))

    @court.handles
    async def judge(charge: Charge, ctx: Context) -> Vote:
        """Hear the jury."""
        async with ctx.group(at_least=None if of_one_mind else MAJORITY) as votes:
            for juror in range(JURORS):
                votes.ask(vote, Charge(number=charge.number, juror=juror))
        heard = Counter(each.guilty for each in votes.values)
        return Vote(guilty=heard[True] == JURORS if of_one_mind else heard[True] > heard[False])

    return Build(
        system=System("court", agents=[court, jury]),
        request=lambda n: (judge, Charge(number=n)),
        rate_per_s=6.0,
    )


PLANT = Plant(pattern="p25", planted=build, decoy=lambda world: build(world, of_one_mind=True))
