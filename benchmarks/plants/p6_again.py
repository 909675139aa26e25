"""P6: a model asks three times more where a parcel is, is told the same each time, and only then answers. The same
question with the same answer is also what a cache is for, so P4 is right about it. Decoy: the parcel arrives at the
last question, which is what the model was waiting for."""

import asyncio
from collections import Counter

from antiphon import Agent, Context, Message, System, tool
from antiphon.schemas.inference import GenerateRequest
from plants.plant import Build, Plant
from plants.timed_model import TimedModel
from plants.world import World

ASKED = 4
TOLD = "You have asked this already: answer now."


class Parcel(Message, name="PlantParcel"):
    """Where is it?"""

    number: int


class Place(Message, name="PlantPlace"):
    """There."""

    text: str


def decides(request: GenerateRequest) -> str:
    """Another question until it was answered often enough, or until it is told to stop."""
    notes = request.conversation[-1].text
    done = TOLD in notes or notes.count("said:") >= ASKED
    return "ANSWER " + "it is where it was last seen, as was said" if done else "ASK I had better look once more"


def build(world: World, *, told: bool = False, arrives: bool = False) -> Build:
    """A porter whose model decides what comes next."""
    asked: Counter[int] = Counter()

    @tool(effect="read")
    async def where(number: int) -> str:
        """Where a parcel is."""
        asked[number] += 1
        await asyncio.sleep(world.lasts_s(0.08 * world.severity, "where", number, asked[number]))
        if arrives and asked[number] == ASKED:
            return f"parcel {number:06d} has arrived at {world.rng('home', number).randrange(10**12):012d}"
        return f"parcel {number:06d} is in hall {world.rng('hall', number).randrange(10**12):012d}"

    porter = Agent("porter", model="mind", tools=[where], slots=32)

    @porter.handles
    async def find(parcel: Parcel, ctx: Context) -> Place:
        """Look until the model has seen enough."""
        notes = f"Find parcel {parcel.number:06d}."
        found: list[str] = []
        while (await ctx.model.generate(str, notes, max_tokens=16)).startswith("ASK"):
            if told and found:
                notes += f" {TOLD}"
                continue
            found.append(await ctx.tool(where, parcel.number))
            notes += f" The hall said: {found[-1]}."
        return Place(text=found[-1])

    return Build(
        system=System("parcels", agents=[porter]),
        request=lambda n: (find, Parcel(number=n)),
        rate_per_s=4.0,
        models={"mind": TimedModel("mind", decides, slots=32, decode_s=0.004 * world.severity)},
    )


PLANT = Plant(
    pattern="p6",
    planted=build,
    decoy=lambda world: build(world, arrives=True),
    remedied=lambda world: build(world, told=True),
    also=frozenset({"p4"}),
)
