"""P19: one run in eight writes a dossier in many calls of a model, and questions of one call wait behind them. Decoy:
no dossiers, so everybody waits alike for the same few slots, and no order is better than another."""

from antiphon import Agent, Context, Message, System
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World

SLOTS = 4
ROUNDS = 6
WORDS = 8


class Question(Message, name="PlantDeskQuestion"):
    """What a run is about."""

    number: int


class Answer(Message, name="PlantDeskAnswer"):
    """What came of it."""

    text: str


def build(world: World, *, dossiers: bool = True) -> Build:
    """A desk that answers, and writes dossiers."""
    desk = Agent("desk", model="clerk", slots=64)

    @desk.handles
    async def answer(question: Question, ctx: Context) -> Answer:
        """A dossier round by round, each made of the one before; anything else at once."""
        number, text = question.number, ""
        if not dossiers:
            return Answer(text=await ctx.model.generate(str, f"Explain {number}", max_tokens=4 * WORDS))
        if number % 8 != 5:
            return Answer(text=await ctx.model.generate(str, f"Answer {number}", max_tokens=WORDS // 2))
        for turn in range(ROUNDS):
            parts = await ctx.gather(*(
                ctx.model.generate(str, f"Dossier {number}, part {turn}.{part}, after {text[:80]}", max_tokens=WORDS)
                for part in range(round(16 * world.severity))
            ))  # fmt: skip
            text = " ".join(map(str, parts))
        return Answer(text=text)

    model = TimedModel("clerk", says(world, 4 * WORDS), slots=SLOTS, decode_s=0.01)
    return Build(
        system=System("dossiers", agents=[desk]),
        request=lambda n: (answer, Question(number=n)),
        rate_per_s=3.0 if dossiers else 9.0,
        models={"clerk": model},
    )


PLANT = Plant(pattern="p19", planted=build, decoy=lambda world: build(world, dossiers=False))
