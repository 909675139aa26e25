"""P10: a model is offered eight tools with long descriptions in every call and only ever calls one. Decoy: in one run
of three it calls one of the others."""

import asyncio
import json

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.models.tool_prompt import PromptedTools
from antiphon.runtime.tool import Tool
from antiphon.schemas.inference import GenerateRequest
from plants.plant import Build, Plant
from plants.timed_model import TimedModel
from plants.world import World

RARE = ("refund", "reorder", "complain", "translate", "forward", "archive", "schedule")


class Letter(Message, name="PlantLetter"):
    """A customer writes."""

    number: int


class Reply(Message, name="PlantReplyLetter"):
    """What is answered."""

    text: str


def rare(world: World, name: str, words: int) -> Tool[..., str]:
    """A tool with a description of so many words."""

    async def call(arguments: dict[str, object]) -> str:
        await asyncio.sleep(0.05)
        return f"{name} is done"

    manual = " ".join(f"{world.rng('manual', name, n).randrange(10**6):06d}" for n in range(words))
    parameters = {"type": "object", "properties": {"what": {"type": "string"}}, "required": ["what"]}
    return Tool.from_schema(name, f"How to {name}: {manual}", parameters, call, effect="read")


def build(world: World, *, offered: bool = True, called: bool = False) -> Build:
    """A desk that answers letters. ``offered``: with all tools; ``called``: and they are called now and then."""

    @tool(effect="read")
    async def find(number: int) -> str:
        """What is known about a letter's sender."""
        await asyncio.sleep(world.lasts_s(0.05, "find", number))
        return f"customer {world.rng('customer', number).randrange(10**12):012d}"

    def decides(request: GenerateRequest) -> str:
        """First a tool, then an answer of what it said."""
        asked, *results = request.conversation[1].text.split("\n\n")  # as it reads tools that are told in the prompt
        number = int(asked.rsplit(" ", 1)[1])
        if results:
            return json.dumps({"answer": f"Letter {number:06d}: thank you, we have read it and will write again."})
        if called and number % 3 == 2:
            name = RARE[number // 3 % len(RARE)]
            return json.dumps({"tool": name, "arguments": {"what": f"letter {number}"}})
        return json.dumps({"tool": "find", "arguments": {"number": number}})

    others = [rare(world, name, round(40 * world.severity)) for name in RARE] if offered else []
    desk = Agent("desk", model="writer", tools=[find, *others], slots=32)

    @desk.handles
    async def answer(letter: Letter, ctx: Context) -> Reply:
        """Answer one letter."""
        return Reply(text=await ctx.model.run(str, f"Answer letter {letter.number}", system="You answer letters."))

    model = TimedModel("writer", decides, slots=32, prefill_s=0.0001, cached_blocks=0)
    return Build(
        system=System("letters", agents=[desk]),
        request=lambda n: (answer, Letter(number=n)),
        rate_per_s=5.0,
        models={"writer": PromptedTools(model)},
    )


PLANT = Plant(
    pattern="p10",
    planted=build,
    decoy=lambda world: build(world, called=True),
    remedied=lambda world: build(world, offered=False),
    measure="tokens",
    held_out=True,
)
