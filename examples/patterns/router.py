"""Router: a model says what a message is about, and the flow follows from that."""

from antiphon import Agent, Context, Message, System
from antiphon.runtime.patterns.router import Router


class Mail(Message):
    """What came in."""

    text: str


class Answer(Message):
    """What goes out."""

    text: str


office = Agent("office")
front = Agent("front")


@office.handles
async def invoices(mail: Mail, ctx: Context) -> Answer:
    """Invoices, payments and refunds."""
    return Answer(text="We have looked at your invoice.")


@office.handles
async def repairs(mail: Mail, ctx: Context) -> Answer:
    """Things that are broken or do not work."""
    return Answer(text="Somebody comes on Monday.")


@office.handles
async def person(mail: Mail, ctx: Context) -> Answer:
    """Everything else: a person reads it."""
    return Answer(text="We write to you soon.")


router = Router({"invoice": invoices, "repair": repairs}, fallback=person)


@front.handles
async def take(mail: Mail, ctx: Context) -> Answer:
    """A rule where one will do, else the model."""
    label = "invoice" if "invoice" in mail.text.lower() else await router.classify(ctx, mail.text)
    return await router.send(ctx, label, mail)


system = System("office", agents=[front, office])
