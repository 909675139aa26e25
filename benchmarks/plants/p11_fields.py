"""P11: a model fills in a form of four fields, and whoever asked reads one. Decoy: the other fields are filed.
Page after page is asked about though none needs another, so P1 is right about it."""

import asyncio
import json

from antiphon import Agent, Context, Message, System, tool
from antiphon.schemas.inference import GenerateRequest
from plants.plant import Build, Plant
from plants.timed_model import TimedModel
from plants.world import World

PAGES = 6  # of a book: field use is recorded of one run in sixteen, and twenty replies are needed


class Book(Message, name="PlantBook"):
    """What a run is about."""

    number: int


class Titles(Message, name="PlantTitles"):
    """What came of it."""

    text: str


class Title(Message, name="PlantTitle"):
    """What is needed."""

    title: str


class Form(Title, name="PlantForm"):
    """What the model is asked to fill in."""

    abstract: str
    reasons: str
    keywords: str


def build(world: World, *, filed: bool = False, brief: bool = False) -> Build:
    """A librarian that finds titles. ``filed``: all that the model writes is kept; ``brief``: it writes titles only."""
    words = {"title": 6, "abstract": round(12 * world.severity), "reasons": round(12 * world.severity), "keywords": 6}

    def fills_in(request: GenerateRequest) -> str:
        """Each field that the schema asks for."""
        assert request.output is not None
        rng = world.rng("form", request.conversation[-1].text)
        return json.dumps(
            {
                name: " ".join(f"{rng.randrange(10**6):06d}" for _ in range(words[name]))
                for name in request.output.json_schema["properties"]
            }
        )

    @tool(effect="write")
    async def keep(text: str) -> None:
        """File a text."""
        await asyncio.sleep(0.005)

    librarian = Agent("librarian", model="writer", tools=[keep], slots=32)

    @librarian.handles
    async def titles(book: Book, ctx: Context) -> Titles:
        """A title for each page."""
        found, shape = [], Title if brief else Form
        for page in range(PAGES):
            prompt = f"Page {page} of book {book.number}: what is it about?"
            reply = await ctx.model.generate(shape, prompt, max_tokens=128)
            if filed and isinstance(reply, Form):
                await ctx.tool(keep, "\n".join((reply.abstract, reply.reasons, reply.keywords)))
            found.append(reply.title)
        return Titles(text="; ".join(found))

    return Build(
        system=System("library", agents=[librarian]),
        request=lambda n: (titles, Book(number=n)),
        rate_per_s=8.0,
        models={"writer": TimedModel("writer", fills_in, slots=64)},
        runs=128,
    )


PLANT = Plant(
    pattern="p11",
    planted=build,
    decoy=lambda world: build(world, filed=True),
    remedied=lambda world: build(world, brief=True),
    also=frozenset({"p1"}),
    held_out=True,
)
