"""P17: a critic with one slot, asked so often that drafts wait as long as it takes. Decoy: the same load and slots
enough, but each answer takes as long as the planted one takes with its wait."""

import asyncio

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build, Plant
from plants.world import World


class Draft(Message, name="PlantDraft"):
    """Something to be judged."""

    number: int
    text: str = ""


class Verdict(Message, name="PlantVerdict"):
    """What the critic says."""

    text: str


def build(world: World, *, slots: int = 1, slow: float = 1.0) -> Build:
    """A writer that works a little and then has its draft judged."""

    @tool(effect="read")
    async def think(what: str, number: int, seconds: float, about: str = "") -> str:
        """Work that takes a while."""
        await asyncio.sleep(world.lasts_s(seconds, what, number))
        return f"{what} {number}: {world.rng(what, number).randrange(10**15):015d}"

    writer = Agent("writer", tools=[think], slots=32)
    critic = Agent("critic", tools=[think], slots=slots)

    @critic.handles
    async def judge(draft: Draft, ctx: Context) -> Verdict:
        """Judge one draft."""
        return Verdict(text=await ctx.tool(think, "judge", draft.number, 0.2 * slow, draft.text))

    @writer.handles
    async def write(draft: Draft, ctx: Context) -> Verdict:
        """Write, then ask the critic."""
        text = await ctx.tool(think, "write", draft.number, 0.05)
        return await ctx.ask(judge, Draft(number=draft.number, text=text))

    # One slot serves five drafts a second; at 3.2 a second (64 %) each waits 0.19 s in the mean (Pollaczek-Khinchine).
    # Two slots at 80 % wait as long, but forget an empty start only in 1 / (1 - sqrt(0.8))^2 = 90 services, not in 25:
    # 48 runs would say more of their first ten seconds than of the system.
    return Build(
        system=System("queue", agents=[writer, critic]),
        request=lambda n: (write, Draft(number=n)),
        rate_per_s=3.2 * world.severity**0.25,
    )


PLANT = Plant(pattern="p17", planted=build, decoy=lambda world: build(world, slots=32, slow=1.8))
