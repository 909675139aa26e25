"""A run's picture shows what nodes recorded: fan-in as links, and never what the run was before."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.console import waterfall
from antiphon.runtime.settings import Settings
from antiphon.runtime.store import columns
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.testing import memory_system
from antiphon.schemas.telemetry import TelemetryBatch


class Note(Message):
    text: str


def _desk() -> tuple[System, Any]:
    """Two are asked together, and a third to put together what they said."""
    boss, north, south, editor = (Agent(name) for name in ("boss", "north", "south", "editor"))

    @north.handles
    async def look(message: Note, ctx: Context) -> Note:
        return Note(text="Snow lies on the northern roads.")

    @south.handles
    async def listen(message: Note, ctx: Context) -> Note:
        return Note(text="Rain falls over the southern fields.")

    @editor.handles
    async def join(message: Note, ctx: Context) -> Note:
        return Note(text=message.text)

    @boss.handles
    async def ask(message: Note, ctx: Context) -> Note:
        first, second = await ctx.gather(ctx.ask(look, message), ctx.call(listen, message))
        return await ctx.call(join, Note(text=f"{first.text} {second.text}"))

    return System("desk", agents=[boss, north, south, editor]), ask


@pytest.fixture
async def gathered(store: Store, tmp_path: Path) -> str:
    """The run of a real gather and a call made of both its results, stored as nodes sent it."""
    batches: list[TelemetryBatch] = []
    system, ask = _desk()
    settings = Settings(home=tmp_path / "home", trace=1)
    async with memory_system(system, settings=settings, spans=batches.append) as client:
        await client.ask(ask, Note(text="weather"))
    store.write([Received(batch=batch) for batch in batches])
    runs = {span.attributes.get("antiphon.run") for batch in batches for span in batch.spans} - {None}
    (run,) = runs
    return str(run)


async def test_what_came_together_is_linked(gathered: str, client: httpx.AsyncClient) -> None:
    """The call that used two results continues both: in its row, in its message, and among a long run's links."""
    rows = {row["label"]: row for row in (await client.get(f"/api/runs/{gathered}")).json()["rows"]}
    used = {rows["ask north.look"]["caller"], rows["call south.listen"]["caller"]}
    joined = rows["call editor.join"]
    assert set(joined["links"]) == used
    assert [row["label"] for row in rows.values() if row["links"]] == ["call editor.join"]
    message = (await client.get(f"/api/spans/{joined['caller']}")).json()
    assert used <= set(message["links"])
    links = (await client.get(f"/api/runs/{gathered}/links")).json()["links"]
    assert {(link["from"], link["to"]) for link in links} == {(joined["caller"], to) for to in used}


async def _spans(client: httpx.AsyncClient) -> int:
    """How many the first page of r1 has."""
    answer = await client.get("/api/runs/r1/waterfall")
    assert answer.status_code == 200
    body = answer.content
    return int(json.loads(body[8 : 8 + int.from_bytes(body[4:8], "little")])["count"])


async def test_a_page_is_of_the_run_as_it_is(
    make: Any, put: Callable[..., None], store: Store, client: httpx.AsyncClient
) -> None:
    """Spans that come late, as other programs send them, are on a page asked for before; what is gone is not."""
    first, *late = [span for span in make.run() if span.end_ns]
    put(first)
    assert await _spans(client) == 1
    put(*late)
    assert await _spans(client) == 1 + len(late)
    other = make.handle(90, None, "writer.write", 0.5, 1)
    other.trace_id = b"\x02" * 16  # the run's second trace
    put(other)
    assert await _spans(client) == 2 + len(late)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("DELETE FROM run_traces WHERE trace_id = ?", (other.trace_id,))
        connection.execute("DELETE FROM spans WHERE trace_id = ?", (other.trace_id,))
    assert await _spans(client) == 1 + len(late)
    with closing(sqlite3.connect(store.path)) as connection, connection:
        connection.execute("DELETE FROM runs")
    assert (await client.get("/api/runs/r1/waterfall")).status_code == 404


async def test_a_page_is_read_once(
    make: Any, put: Callable[..., None], client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the run is as it was; pages that do not fit are let go, the longest unused first."""
    put(*make.run())
    encoded: list[object] = []
    encode = columns._encode

    def noted(*given: Any) -> bytes:
        encoded.append(given)
        return encode(*given)

    monkeypatch.setattr(columns, "_encode", noted)
    for _ in range(3):
        await client.get("/api/runs/r1/waterfall", params={"limit": 3})
    assert len(encoded) == 1
    monkeypatch.setattr(waterfall, "CACHE_BYTES", 100)
    for _ in range(2):
        await client.get("/api/runs/r1/waterfall", params={"limit": 4})
    assert len(encoded) == 3


async def test_a_long_run_is_summed_whole(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """As a short one is; of an unknown one nothing is said."""
    put(*make.run())
    found = (await client.get("/api/runs/r1/spending")).json()
    assert found == {"spans": 8, "spending": (await client.get("/api/runs/r1")).json()["spending"]}
    assert (await client.get("/api/runs/nope/spending")).status_code == 404
