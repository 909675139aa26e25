"""``antiphon journal``: from the bus while it is there, then from the store; on a real server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Context, Message
from antiphon.runtime.client import Client
from antiphon.runtime.delivery.journal_codec import decode_batch
from antiphon.runtime.store.archive import Archiver
from antiphon.runtime.store.sqlite import Store
from antiphon.schemas import subjects


class N(Message):
    n: int = 0


async def _is_marked(client: Client, task: str) -> bool:
    """Whether the journal on the bus has shrunk to its marker."""
    last = await client.host.bus.streams.last(subjects.journal("default", task))
    return last is not None and not decode_batch(last.body).entries


@pytest.mark.nats
async def test_a_journal_is_read_from_the_bus_and_then_from_the_store(
    serve: Callable[[Agent], Awaitable[Client]], command: Callable[..., Awaitable[Any]], tmp_path: Path
) -> None:
    """The same before it was archived and after; what the bus keeps of it is a marker."""
    agent = Agent("shop")

    @agent.handles
    async def sell(message: N, ctx: Context) -> N:
        """Record two operations."""

        async def look() -> str:
            return "a long answer " * 100

        await ctx.run("look", look, effect="read")
        return N(n=len(await ctx.run("look again", look, effect="read")))

    client = await serve(agent)
    task = await client.submit(sell, N())
    assert (await task.result(timeout_s=60)).n == 1400
    before = json.loads((await command("journal", task.id, "--json")).out)
    assert [(entry["path"], entry["target"], entry["value"]) for entry in before["entries"]] == [
        ("1", "look", "a long answer " * 100),
        ("2", "look again", "a long answer " * 100),
    ]
    host = client.host
    with closing(Store.open(tmp_path / "home" / "store.db", clock=host.clock)) as store:
        archiving = asyncio.create_task(Archiver(store, host.bus, host.clock, replay_window_s=3600).run())
        async with asyncio.timeout(60):
            while not await _is_marked(client, task.id):  # noqa: ASYNC110  # it is on the server: nothing here sets an event
                await asyncio.sleep(0.02)
        archiving.cancel()
        await asyncio.gather(archiving, return_exceptions=True)
    after = json.loads((await command("journal", task.id, "--json")).out)
    assert after == {**before, "state": "succeeded"}
    table = await command("journal", task.id)
    assert table.status == 0
    assert f"task {task.id} of shop.sell, version 1: succeeded" in table.out
    assert "look again" in table.out and "a long answer a long" in table.out
    assert max(len(line) for line in table.out.splitlines()) <= 200
    unknown = await command("journal", "unknown", "--json")
    assert (unknown.status, json.loads(unknown.out)["error"]["type"]) == (1, "UnknownTask")
