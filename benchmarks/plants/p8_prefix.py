"""P8: a long system prompt that begins with the time of day, so that no prefix of it is ever found in the cache.
Decoy: as volatile, but the prompt is shorter than caching pays for."""

from antiphon import Agent, Context, Message, System
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World


class Question(Message, name="PlantQuestion"):
    """One question."""

    number: int


class Answer(Message, name="PlantAnswer"):
    """One answer."""

    text: str


def build(world: World, *, rules: int = 260, last: bool = False) -> Build:
    """A desk that answers by a handbook. ``last``: the time stands behind the handbook."""
    book = " ".join(f"Rule {n}: {world.rng('rule', n).randrange(10**12):012d}." for n in range(rules))
    desk = Agent("desk", model="helper", slots=32)

    @desk.handles
    async def answer(question: Question, ctx: Context) -> Answer:
        """Answer one question."""
        time = f"It is {question.number // 60:02d}:{question.number % 60:02d}."
        system = f"{book} {time}" if last else f"{time} {book}"
        return Answer(text=await ctx.model.generate(str, f"Question {question.number}", system=system, max_tokens=16))

    model = TimedModel("helper", says(world, 12), slots=16, prefill_s=0.0001 * world.severity)
    return Build(
        system=System("desk", agents=[desk]),
        request=lambda n: (answer, Question(number=n)),
        rate_per_s=5.0,
        models={"helper": model},
    )


PLANT = Plant(
    pattern="p8",
    planted=build,
    decoy=lambda world: build(world, rules=60),
    remedied=lambda world: build(world, last=True),
)
