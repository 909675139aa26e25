"""P15: a report is written and a lawyer asked beside it, whose opinion no longer goes into the report. Decoy: nor does
it there, but it is filed, which is what it is for."""

from antiphon import Agent, Context, Message, System, tool
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World


class Matter(Message, name="PlantMatter"):
    """What a report is about."""

    number: int


class Text(Message, name="PlantText"):
    """What somebody wrote."""

    text: str


def build(world: World, *, asked: bool = True, filed: bool = False) -> Build:
    """A writer and a lawyer, both of whom use the same model."""

    @tool(effect="write")
    async def file(opinion: str) -> str:
        """Keep an opinion in the register."""
        return f"{len(opinion)} characters"

    writer = Agent("writer", model="author", slots=32)
    lawyer = Agent("lawyer", model="author", tools=[file], slots=32)

    @lawyer.handles
    async def assess(matter: Matter, ctx: Context) -> Text:
        """What the law says of it."""
        opinion = await ctx.model.generate(
            str, f"Give your opinion of matter {matter.number}", max_tokens=int(60 * world.severity)
        )
        if filed:
            await ctx.tool(file, opinion)
        return Text(text=opinion)

    @writer.handles
    async def report(matter: Matter, ctx: Context) -> Text:
        """Write the report."""
        text = ctx.model.generate(str, f"Report on matter {matter.number}", max_tokens=60)
        if not asked:
            return Text(text=await text)
        written, _opinion = await ctx.gather(text, ctx.ask(assess, matter))
        return Text(text=str(written))

    model = TimedModel("author", says(world, 96), slots=3)
    return Build(
        system=System("reports", agents=[writer, lawyer]),
        request=lambda n: (report, Matter(number=n)),
        rate_per_s=6.0,
        models={"author": model},
    )


PLANT = Plant(
    pattern="p15",
    planted=build,
    decoy=lambda world: build(world, filed=True),
    remedied=lambda world: build(world, asked=False),
    measure="tokens",
    held_out=True,
)
