"""The agents that the console's pages are tested with: no models, so that they start at once."""

import asyncio

from antiphon import Agent, Context, Message, System, tool


class Ask(Message):
    """What somebody says."""

    text: str


class Said(Message):
    """What is said to it."""

    text: str


class Refund(Message):
    """What a customer gets back."""

    customer: str
    cents: int = 100


class Nothing(Message):
    """Of no use."""


@tool(effect="read")
async def search(words: str) -> str:
    """The words again."""
    return words


@tool(effect="read")
async def register(name: str) -> str:
    """What one of the registers says, slowly."""
    await asyncio.sleep(0.1)
    return f"{name} has nothing"


teller = Agent("teller", tools=[search])
notary = Agent("notary", tools=[register])
echo = Agent("echo")
shop = Agent("shop", max_attempts=1)


@echo.handles
async def again(message: Ask, ctx: Context) -> Said:
    """The same text."""
    return Said(text=message.text)


@teller.handles
async def tell(message: Ask, ctx: Context) -> Said:
    """Look it up, have it said by another, and show it word by word."""
    await ctx.tool(search, message.text)
    said, _ = await ctx.gather(ctx.call(again, message), ctx.ask(again, message))
    for word in said.text.split():
        await ctx.emit(f"{word} ")
    return Said(text=f"you said: {said.text}")


@shop.handles
async def refund(message: Refund, ctx: Context) -> Refund:
    """Ask a person."""
    decision = await ctx.approve(message, to="role:support", timeout="1h", on_timeout="reject")
    return decision.value


@shop.handles
async def fail(message: Nothing, ctx: Context) -> Nothing:
    """Never succeed."""
    raise OSError("the shop is closed")


@notary.handles
async def check(message: Ask, ctx: Context) -> Said:
    """Ask three registers, one after the other unless a policy has them asked together."""
    found = await ctx.each(*(ctx.tool(register, f"{message.text} {place}") for place in range(3)))
    return Said(text="; ".join(found))


system = System("studio", agents=[teller, echo, shop, notary])
