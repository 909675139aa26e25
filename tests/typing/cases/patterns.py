"""What patterns accept and return."""

from functools import partial
from typing import assert_type

from antiphon import Agent, Context, Message
from antiphon.runtime.patterns.fan_out import FanIn, fan_out
from antiphon.runtime.patterns.pipeline import Pipeline, pipeline
from antiphon.runtime.patterns.router import Router
from antiphon.runtime.patterns.supervisor import supervise


class Page(Message):
    """Goes in."""

    text: str


class Facts(Message):
    """In between."""

    lines: tuple[str, ...]


class Card(Message):
    """Comes out."""

    text: str


agent = Agent("agent")


@agent.handles
async def extract(page: Page, ctx: Context) -> Facts:
    """The first stage."""
    return Facts(lines=(page.text,))


@agent.handles
async def shorten(facts: Facts, ctx: Context) -> Card:
    """The second."""
    return Card(text=facts.lines[0])


@agent.handles
async def skim(page: Page, ctx: Context) -> Card:
    """Both at once."""
    return Card(text=page.text)


make_card = pipeline(extract).then(shorten)
assert_type(make_card, Pipeline[Page, Card])
pipeline(extract).then(extract)  # expect-error
make_card.then(shorten)  # expect-error

router = Router({"skim": skim}, fallback=skim)
assert_type(router, Router[Page, Card])
Router({"skim": skim, "extract": shorten})  # expect-error


async def use(ctx: Context, page: Page, facts: Facts) -> None:
    """Every pattern, with types that fit and that do not."""
    assert_type(await make_card.run(ctx, page), Card)
    assert_type(await fan_out(ctx, extract, [page]), FanIn[Facts])
    assert_type(await fan_out(ctx, make_card, [page, page], quorum=1), FanIn[Card])
    assert_type(await router.send(ctx, "skim", page), Card)
    assert_type(await supervise(ctx, {"a": partial(ctx.call, extract, page)}), dict[str, Facts])
    assert_type(await supervise(ctx, {"a": lambda: ctx.call(skim, page)}, strategy="one_for_all"), dict[str, Card])
    await make_card.run(ctx, facts)  # expect-error
    await fan_out(ctx, shorten, [page])  # expect-error
    await router.send(ctx, "skim", facts)  # expect-error
    await supervise(ctx, {"a": lambda: ctx.call(skim, page)}, strategy="simple")  # expect-error
