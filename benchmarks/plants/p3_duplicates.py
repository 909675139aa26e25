"""P3: three experts ask the model for the same summary at the same moment. Decoy: each asks about another part."""

from antiphon import Agent, Context, Message, System
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World


class Report(Message, name="PlantLongReport"):
    """A report that several look at."""

    number: int
    part: int = 0


class Opinion(Message, name="PlantOpinion"):
    """What an expert says."""

    text: str


def build(world: World, *, apart: bool = False) -> Build:
    """A chair that asks three experts at once; each wants the summary first."""
    expert = Agent("expert", model="summariser", slots=64)
    chair = Agent("chair", slots=32)

    @expert.handles
    async def judge(report: Report, ctx: Context) -> Opinion:
        """Summarise, then judge."""
        part = f", part {report.part}" if apart else ""
        summary = await ctx.model.generate(
            str, f"Summarise report {report.number}{part}", temperature=0.0, max_tokens=64
        )
        return Opinion(text=f"{report.part}: {summary}")

    @chair.handles
    async def decide(report: Report, ctx: Context) -> Opinion:
        """Ask all three."""
        asked = (ctx.ask(judge, Report(number=report.number, part=part)) for part in (1, 2, 3))
        return Opinion(text=" | ".join(opinion.text for opinion in await ctx.gather(*asked)))

    # Two slots: what the second and third expert ask for makes the first one's neighbours wait.
    model = TimedModel("summariser", says(world, 30), slots=2, decode_s=0.004 * world.severity)
    return Build(
        system=System("experts", agents=[chair, expert]),
        request=lambda n: (decide, Report(number=n)),
        rate_per_s=3.0,
        models={"summariser": model},
    )


PLANT = Plant(pattern="p3", planted=build, decoy=lambda world: build(world, apart=True))
