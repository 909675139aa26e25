"""Scheduled tasks: work that begins by itself, once for each tick, whatever the number of nodes.

antiphon run examples/patterns/scheduled.py:system
python examples/patterns/scheduled.py
antiphon schedules list
"""

import asyncio

import antiphon
from antiphon import Agent, Client, Context, Message, System


class Digest(Message):
    """Which digest to write."""

    topic: str
    text: str = ""


writer = Agent("writer")


@writer.handles
async def digest(wanted: Digest, ctx: Context) -> Digest:
    """Write the digest of one tick; its time is a label, the same in every attempt."""
    text = await ctx.model.generate(str, f"{wanted.topic}, as of {ctx.labels['tick']}")
    return wanted.model_copy(update={"text": text})


system = System("digests", agents=[writer])


async def plan(client: Client) -> None:
    """What is wanted; saying it at every start changes nothing."""
    await client.schedule("news-digest", digest, Digest(topic="the news"), every="5m")
    await client.schedule("weekly-digest", digest, Digest(topic="the week"), cron="0 8 * * 1", missed="skip")


async def main() -> None:
    async with antiphon.connect() as client:
        await plan(client)


if __name__ == "__main__":
    asyncio.run(main())
