"""P2: a handler asks for the price of one line of an order after the other. Decoy: pages of a list, where each page
says where the next one begins. What could be one call could also be eight at once, so P1 is right about it."""

import asyncio
from typing import Any

from antiphon import Agent, Context, Message, System, tool
from antiphon.schemas.policy import Batch, Level, Policy, Proposal
from plants.plant import Build, Plant
from plants.world import World

LINES = 8


class Order(Message, name="PlantOrder"):
    """What was ordered."""

    number: int


class Invoice(Message, name="PlantInvoice"):
    """What it costs."""

    text: str


def build(world: World, *, together: bool = False, pages: bool = False) -> Build:
    """The system: as planted, with calls that go out together and become one, or as the decoy."""

    def cost(article: str) -> str:
        return f"{world.rng('price', article).randrange(10**12):012d} cents"

    async def prices(calls: list[dict[str, Any]]) -> list[str]:
        # One question takes a way there and back, and each article a little more.
        articles = [call["article"] for call in calls]
        each_s = sum(world.lasts_s(0.01 * world.severity, "article", article) for article in articles)
        await asyncio.sleep(world.lasts_s(0.04 * world.severity, "way", articles[0]) + each_s)
        return [cost(article) for article in articles]

    @tool(effect="read", batch=prices)
    async def price(article: str) -> str:
        """What an article costs."""
        return (await prices([{"article": article}]))[0]

    clerk = Agent("clerk", tools=[price], slots=32)

    @clerk.handles
    async def invoice(order: Order, ctx: Context) -> Invoice:
        """Price every line."""
        articles = [f"article {order.number:05d}-{line}" for line in range(LINES)]
        found: list[str] = []
        if together:
            found = await ctx.gather(*(ctx.tool(price, article) for article in articles))
        for article in articles[len(found) :]:
            found.append(await ctx.tool(price, f"{article} after {found[-1]}" if pages and found else article))
        return Invoice(text=found[-1] if pages else "; ".join(found))

    batch = Policy(id="batch", proposal=Proposal(action=Batch(window_s=0.005), target="tool price"), level=Level.ON)
    return Build(
        system=System("invoices", agents=[clerk]),
        request=lambda n: (invoice, Order(number=n)),
        rate_per_s=5.0,
        policies=[batch] if together else [],
    )


PLANT = Plant(
    pattern="p2",
    planted=build,
    decoy=lambda world: build(world, pages=True),
    remedied=lambda world: build(world, together=True),
    also=frozenset({"p1"}),
)
