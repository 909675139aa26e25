"""P20: the passages of a page are embedded call by call, by a model that works on one call at a time and could take all
of them in one. Decoy: as many calls at once, of a server that works on all of them at once."""

from antiphon import Agent, Context, Message, System
from plants.plant import Build, Plant
from plants.says import says
from plants.timed_model import TimedModel
from plants.world import World

PASSAGES = 5


class Page(Message, name="PlantPage"):
    """Something to be indexed."""

    number: int


class Index(Message, name="PlantIndex"):
    """Where its passages lie."""

    vectors: tuple[tuple[float, ...], ...]


def build(world: World, *, slots: int = 1) -> Build:
    """An indexer."""
    indexer = Agent("indexer", model="embedder", slots=64)

    def passage(number: int, index: int) -> str:
        words = world.rng("length", number, index).randrange(8, 60)
        return " ".join(f"{world.rng('word', number, index, w).randrange(10**6):06d}" for w in range(words))

    @indexer.handles
    async def index(page: Page, ctx: Context) -> Index:
        """Embed every passage."""
        found = await ctx.gather(*(ctx.model.embed([passage(page.number, i)]) for i in range(PASSAGES)))
        return Index(vectors=tuple(vector for embeddings in found for vector in embeddings.vectors))

    model = TimedModel("embedder", says(world, 1), slots=slots, embed_s=(0.03 * world.severity, 0.002))
    return Build(
        system=System("index", agents=[indexer]),
        request=lambda n: (index, Page(number=n)),
        rate_per_s=3.0,
        models={"embedder": model},
    )


PLANT = Plant(pattern="p20", planted=build, decoy=lambda world: build(world, slots=16), held_out=True)
