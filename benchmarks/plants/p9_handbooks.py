"""P9: three replicas answer by two dozen handbooks, and whichever takes a question mostly reads its handbook anew,
because its cache has room for ten. Decoy: as long a prompt, but one handbook, which each knows after one question."""

from functools import cache

from antiphon import Agent, Context, Message, System
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World

HANDBOOKS = 24
RULES = 450  # ten blocks
REPLICAS = 3
BLOCKS = 100


class Question(Message, name="PlantHandbookQuestion"):
    """One question about one handbook."""

    number: int


class Answer(Message, name="PlantHandbookAnswer"):
    """One answer."""

    text: str


def build(world: World, *, handbooks: int = HANDBOOKS) -> Build:
    """A desk that puts the handbook before the question."""
    desk = Agent("desk", model="helper", slots=64)

    @cache
    def rules_of(book: int) -> str:
        rng = world.rng("rules", book)
        return " ".join(f"Rule {n}: {rng.randrange(10**12):012d}." for n in range(RULES))

    @desk.handles
    async def answer(question: Question, ctx: Context) -> Answer:
        """Answer one question."""
        rules = rules_of(world.rng("book", question.number).randrange(handbooks))
        return Answer(text=await ctx.model.generate(str, f"Question {question.number}", system=rules, max_tokens=16))

    replicas = [
        TimedModel(
            "helper",
            says(world, 12),
            slots=16,
            prefill_s=0.0001 * world.severity,
            cached_blocks=BLOCKS,
            replica=f"engine-{number}",
        )
        for number in range(REPLICAS)
    ]
    return Build(
        system=System("handbooks", agents=[desk]),
        request=lambda n: (answer, Question(number=n)),
        rate_per_s=15.0,
        served={"helper": replicas},
        runs=300,  # enough for caches to be warm most of the time
    )


PLANT = Plant(
    pattern="p9",
    planted=build,
    decoy=lambda world: build(world, handbooks=1),
    measure="model_s",
)
