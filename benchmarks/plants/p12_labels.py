"""P12: a large model sorts tickets into one of four boxes, and a small one that is at work beside it would sort them
alike, as the shadow shows. Decoy: the small one is wrong about the hard tickets, one of twenty."""

from antiphon import Agent, Context, Message, System
from antiphon.schemas.inference import GenerateRequest
from antiphon.schemas.policy import Level, Policy, Proposal, Route
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World

BOXES = ("billing", "delivery", "complaint", "praise")
TICKETS = 6  # in a run: 189 results must be compared
HARD = 20  # of so many tickets one


class Post(Message, name="PlantPost"):
    """What came in together."""

    number: int


class Sorted(Message, name="PlantSorted"):
    """Where it goes."""

    text: str


def build(world: World, *, level: Level = Level.SHADOW, wrong: bool = False) -> Build:
    """A desk that sorts with the large model and thanks with the small one."""

    def box(request: GenerateRequest, *, weak: bool) -> str:
        """The box of the ticket; of a hard one the weak model takes the next."""
        ticket = request.conversation[-1].text
        rng = world.rng("ticket", ticket)
        found, hard = rng.randrange(len(BOXES)), rng.randrange(HARD) == 0
        return BOXES[(found + (hard and weak)) % len(BOXES)]

    def small(request: GenerateRequest) -> str:
        """It sorts, or it thanks."""
        thanks = request.conversation[-1].text.startswith("Thank")
        words = world.rng("words", request.conversation[-1].text).randint(8, 16)
        return says(world, words)(request) if thanks else box(request, weak=wrong)

    def text(*names: object) -> str:
        """Somebody's words, more or less of them."""
        return "it is about this. " * world.rng("text", *names).randint(5, 30)

    sorter = Agent("sorter", model="large", slots=32)
    thanker = Agent("thanker", model="small", slots=32)

    @thanker.handles
    async def thank(post: Post, ctx: Context) -> Sorted:
        """A short letter."""
        prompt = f"Thank for post {post.number:05d}: {text(post.number)}"
        return Sorted(text=await ctx.model.generate(str, prompt, max_tokens=16))

    @sorter.handles
    async def sort(post: Post, ctx: Context) -> Sorted:
        """Sort all tickets at once, then thank."""
        tickets = [f"Ticket {post.number:05d}-{n}: {text(post.number, n)}" for n in range(TICKETS)]
        found = await ctx.gather(*(ctx.model.generate(str, ticket, max_tokens=4) for ticket in tickets))
        thanks = await ctx.ask(thank, post)
        return Sorted(text=f"{' '.join(found)}; {thanks.text}")

    route = Proposal(action=Route(model="small"), target="model large", agent="sorter")
    return Build(
        system=System("post", agents=[sorter, thanker]),
        request=lambda n: (sort, Post(number=n)),
        rate_per_s=4.0,
        models={
            "large": TimedModel(
                "large",
                lambda request: box(request, weak=False),
                slots=64,
                start_s=0.1 * world.severity,
                prefill_s=0.001 * world.severity,
                decode_s=0.03,
            ),
            "small": TimedModel("small", small, slots=64),
        },
        policies=[Policy(id="smaller", proposal=route, level=level)],
        runs=64,
    )


PLANT = Plant(
    pattern="p12",
    planted=build,
    decoy=lambda world: build(world, wrong=True),
    remedied=lambda world: build(world, level=Level.ON),
)
