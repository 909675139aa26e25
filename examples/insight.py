"""A small support desk that wastes time in four ways; they are found, mended and measured while you watch.

    make demo-insight                       two to three minutes, with the small built-in model
    make demo-insight ARGS="--keep"         goes on until Ctrl-C: what needs longer to measure gets it
    make demo-insight ARGS="--json"         the outcome for programs

The code is what first versions look like. A price is looked up for every customer who asks, though it changes once a
day. A refund checks three registers one after the other. Two agents have the model read the same complaint at the
same time. One inspector looks at all returns. No line of it changes: policies do what the logging agent proposes.
What the desk asks of its registers is made up, and each takes as long as a slow database.
"""

import asyncio
import sys
from pathlib import Path

from antiphon import Agent, Context, Message, System, tool

ARTICLES = 4


class Ticket(Message):
    """What a customer writes about: the number of the ticket, and of the article."""

    number: int
    article: int = 0


class Answer(Message):
    """What the customer is told."""

    text: str


@tool(effect="read", ttl="1h")
async def catalogue(article: int) -> str:
    """What the catalogue says of an article; new prices come at night."""
    await asyncio.sleep(0.3)
    return f"article {article} costs {4_900 + 700 * article} cents"


@tool(effect="read")
async def orders(order: int) -> str:
    """What was ordered."""
    await asyncio.sleep(0.15)
    return f"order {order:06d} was delivered to the customer"


@tool(effect="read")
async def payments(order: int) -> str:
    """What was paid."""
    await asyncio.sleep(0.2)
    return f"payment for {order:06d} was booked in full"


@tool(effect="read")
async def parcels(order: int) -> str:
    """What came back."""
    await asyncio.sleep(0.12)
    return f"parcel of {order:06d} was received undamaged"


@tool(effect="read")
async def history(customer: int) -> str:
    """What else a customer wrote."""
    await asyncio.sleep(0.25)
    return f"customer {customer:06d} wrote twice before"


@tool(effect="read")
async def inspect(order: int) -> str:
    """What a look at the returned article shows."""
    await asyncio.sleep(0.18)
    return f"article of order {order:06d} has no scratches"


clerk = Agent("clerk", tools=[catalogue, orders, payments, parcels], slots=64, description="Answers customers.")
sorter = Agent("sorter", slots=64, description="Says how urgent a complaint is.")
writer = Agent("writer", tools=[history], slots=64, description="Says what a complaint is about.")
inspector = Agent("inspector", tools=[inspect], slots=1, description="Looks at returned articles.")


async def gist(ctx: Context, ticket: Ticket) -> str:
    """A complaint in a few words, the same for whoever asks."""
    text = f"Ticket {ticket.number:06d}: the kettle I bought leaks, and nobody answers the phone."
    found = await ctx.model.generate(
        str, f"Say in a few words what this is about. {text}", temperature=0, max_tokens=12
    )
    return found.strip()


@clerk.handles
async def price(ticket: Ticket, ctx: Context) -> Answer:
    """Tell a customer what an article costs."""
    return Answer(text=await ctx.tool(catalogue, ticket.article))


@clerk.handles
async def refund(ticket: Ticket, ctx: Context) -> Answer:
    """Check whether money goes back; the three checks are declared to need nothing of one another."""
    found = await ctx.each(
        ctx.tool(orders, ticket.number), ctx.tool(payments, ticket.number), ctx.tool(parcels, ticket.number)
    )
    return Answer(text="; ".join(found))


@sorter.handles
async def sort(ticket: Ticket, ctx: Context) -> Answer:
    """How urgent a complaint is."""
    return Answer(text=f"urgent: {await gist(ctx, ticket)}")


@writer.handles
async def draft(ticket: Ticket, ctx: Context) -> Answer:
    """A first reply to a complaint."""
    before = await ctx.tool(history, ticket.number)
    return Answer(text=f"{before}; now: {await gist(ctx, ticket)}")


@clerk.handles
async def complaint(ticket: Ticket, ctx: Context) -> Answer:
    """Have a complaint sorted and answered."""
    urgency, reply = await ctx.gather(ctx.ask(sort, ticket), ctx.ask(draft, ticket))
    return Answer(text=f"{urgency.text}\n{reply.text}")


@inspector.handles
async def look(ticket: Ticket, ctx: Context) -> Answer:
    """Look at one returned article."""
    return Answer(text=await ctx.tool(inspect, ticket.number))


@clerk.handles
async def returned(ticket: Ticket, ctx: Context) -> Answer:
    """Have a returned article looked at."""
    return await ctx.ask(look, ticket)


system = System("support", agents=[clerk, sorter, writer, inspector])

CROWDS = (  # whom they ask, how many they are, and for how many seconds each thinks between two questions
    (price, 20, 10.0),
    (refund, 20, 10.0),
    (returned, 38, 10.0),
    (complaint, 1, 0.2),  # as much as a model on one core can read
)


def ticket(number: int) -> Ticket:
    """What the n-th customer writes."""
    return Ticket(number=number, article=number % ARTICLES)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))  # PYTHONSAFEPATH leaves the script's own folder out
    from insight_show import main

    main(Path(__file__).resolve(), CROWDS, ticket)
