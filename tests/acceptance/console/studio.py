"""The agents that the console's pages are tested with: no models, so that they start at once."""

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


teller = Agent("teller", tools=[search])
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


system = System("studio", agents=[teller, echo, shop])
