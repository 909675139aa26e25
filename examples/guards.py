"""Guards: what may go into and out of an agent's handlers, models and tools.

antiphon run examples/guards.py:system
antiphon ask support.reply '{"text": "I am ada@lovelace.org. Where is my order?"}'
"""

from typing import Annotated, Any

from pydantic import Field

from antiphon import Agent, Context, Message, System, tool
from antiphon.runtime.errors import Refused
from antiphon.runtime.guards import Moment, fits, forbids, redacts, verified_by


class Letter(Message):
    """What a customer writes, and what we write back."""

    text: str


class Arguments(Message):
    """What may be paid back without asking."""

    cents: Annotated[int, Field(gt=0, le=5_000)]


class Brief:
    """A guard of our own: answers of at most so many words."""

    name = "brief"
    stages = ("model.output",)

    def __init__(self, words: int) -> None:
        self.words = words

    async def check(self, value: Any, moment: Moment) -> Any:
        """The value itself, or another one, or Refused with a reason that does not quote it."""
        if len(value.split()) > self.words:
            raise Refused(f"more than {self.words} words")
        return value


@tool(effect="write")
async def pay_back(cents: int, idempotency_key: str = "") -> str:
    """Pay a customer back."""
    return f"{cents} cents are on their way"


support = Agent(
    "support",
    tools=[pay_back],
    guards=[
        forbids(r"(?i)ignore (all|previous) instructions", "handler.input"),
        redacts("model.input", "model.output"),
        fits(Arguments, "tool.arguments"),
        Brief(50),
        verified_by("smollm2-135m", "Is the answer polite?", retries=1),
    ],
)


@support.handles
async def reply(letter: Letter, ctx: Context) -> Letter:
    """Answer a customer's letter."""
    text = await ctx.model.generate(str, letter.text, system="Answer politely, in two sentences.", max_tokens=60)
    return Letter(text=text)


@support.handles
async def refund(letter: Letter, ctx: Context) -> Letter:
    """Pay back what the letter asks for, if that is not too much."""
    try:
        return Letter(text=await ctx.tool(pay_back, int(letter.text)))
    except Refused as error:
        return Letter(text=f"We have to ask first: {error.details['reason']}")


system = System("support", agents=[support])
