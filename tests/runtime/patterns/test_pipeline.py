"""Pipelines: typed stages in a row, each done once."""

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.patterns.pipeline import pipeline
from antiphon.runtime.testing import memory_system


class Text(Message):
    text: str


class Words(Message):
    words: tuple[str, ...]


class Count(Message):
    n: int


stages = Agent("stages", first_retry_s=0.01)
ran: list[str] = []


@stages.handles
async def split(message: Text, ctx: Context) -> Words:
    ran.append("split")
    return Words(words=tuple(message.text.split()))


@stages.handles
async def count(message: Words, ctx: Context) -> Count:
    ran.append("count")
    if not message.words:
        raise ConfigurationError("no words")
    return Count(n=len(message.words))


flow = pipeline(split).then(count)


def test_it_says_what_it_is() -> None:
    """The stages by address."""
    assert repr(flow) == "Pipeline(stages.split -> stages.count)"


async def test_stages_run_in_order_and_once_though_the_caller_is_tried_again() -> None:
    """The second attempt finds both stages done."""
    ran.clear()
    caller = Agent("caller", first_retry_s=0.01)

    @caller.handles
    async def work(message: Text, ctx: Context) -> Count:
        found = await flow.run(ctx, message)
        if ctx.attempt == 1:
            raise RuntimeError("dies here")
        return found

    async with memory_system(System("s", agents=[caller, stages])) as client:
        assert (await (await client.submit(work, Text(text="a b c"))).result(timeout_s=60)).n == 3
    assert ran == ["split", "count"]


async def test_a_stage_that_fails_ends_it() -> None:
    """Its error is the pipeline's, by type."""
    caller = Agent("caller")

    @caller.handles
    async def work(message: Text, ctx: Context) -> Count:
        return await flow.then(again).run(ctx, message)

    @caller.handles
    async def again(message: Count, ctx: Context) -> Count:
        raise AssertionError("never begins")

    async with memory_system(System("s", agents=[caller, stages])) as client:
        with pytest.raises(ConfigurationError, match="no words"):
            await (await client.submit(work, Text(text=""))).result(timeout_s=60)
