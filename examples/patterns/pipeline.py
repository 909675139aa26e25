"""Pipeline: typed stages in a row, for one message or for many that do not wait for one another."""

from antiphon import Agent, Context, Message, System
from antiphon.runtime.patterns.fan_out import fan_out
from antiphon.runtime.patterns.pipeline import pipeline


class Page(Message):
    """A text in some language."""

    text: str


class Facts(Message):
    """What it says."""

    lines: tuple[str, ...]


class Card(Message):
    """The same, short and in English."""

    text: str


class Pages(Message):
    """Some texts."""

    pages: tuple[Page, ...]


class Cards(Message):
    """One for each."""

    cards: tuple[Card, ...]


clerk = Agent("clerk")


@clerk.handles
async def extract(page: Page, ctx: Context) -> Facts:
    """The facts of a page."""
    return await ctx.model.generate(Facts, page.text)


@clerk.handles
async def translate(facts: Facts, ctx: Context) -> Facts:
    """The facts in English."""
    return await ctx.model.generate(Facts, "\n".join(facts.lines))


@clerk.handles
async def shorten(facts: Facts, ctx: Context) -> Card:
    """One line."""
    return Card(text="; ".join(facts.lines))


make_card = pipeline(extract).then(translate).then(shorten)  # Pipeline[Page, Card]


@clerk.handles
async def make_cards(pages: Pages, ctx: Context) -> Cards:
    """A card for every page; a page that fails has none."""
    found = await fan_out(ctx, make_card, pages.pages, at_most=4)
    return Cards(cards=tuple(found.values.values()))


system = System("cards", agents=[clerk])
