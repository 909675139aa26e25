"""Publish and subscribe: the shop says what happened, and does not know who cares."""

from antiphon import Agent, Context, Message, System


class Order(Message):
    """Something was bought."""

    item: str
    count: int


class Stock(Message):
    """How much of it went out."""

    sold: int = 0


shop = Agent("shop")
store = Agent("store")
mailer = Agent("mailer")


@shop.handles
async def buy(order: Order, ctx: Context) -> Order:
    """Take an order, and tell whoever listens."""
    await ctx.publish("orders.placed", order)
    return order


@store.on("orders.placed")
async def reserve(order: Order, ctx: Context) -> None:
    """Each order counts once, though an event may come twice and a node may die."""
    await ctx.state.update(order.item, Stock, lambda old: Stock(sold=(old.sold if old else 0) + order.count))


@mailer.on("orders.placed")
async def thank(order: Order, ctx: Context) -> None:
    """Another agent, the same events; its failures are its own."""
    await ctx.publish("mails.sent", order)


@store.handles
async def sold(order: Order, ctx: Context) -> Stock:
    """How much of an item went out."""
    return await ctx.state.get(order.item, Stock) or Stock()


system = System("shop", agents=[shop, store, mailer])
