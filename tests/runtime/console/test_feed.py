import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.console import feed as subject
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.errors import Busy
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.schemas.telemetry import TelemetryBatch


async def _next(stream: AsyncGenerator[str, None]) -> str:
    """The next event; heartbeats and the retry hint are skipped."""
    async with asyncio.timeout(60):
        while True:
            text = await anext(stream)
            if text.startswith("id:"):
                return text


async def _joined(live: LiveFeed, after: int | None = None) -> AsyncGenerator[str, None]:
    stream = live.read(after)
    assert await anext(stream) == "retry: 2000\n\n"
    return stream


def _id(event: str) -> int:
    return int(event.split("\n", 1)[0].removeprefix("id: "))


async def test_a_reader_hears_what_happens_after_it_came(live: LiveFeed) -> None:
    """Events are numbered, named, and one line of JSON."""
    live.publish("runs", {"before": 1})
    stream = await _joined(live)
    live.publish("runs", {"text": "a\nb"})
    event = await _next(stream)
    assert event.endswith('event: runs\ndata: {"text": "a\\nb"}\n\n')


async def test_a_reader_who_comes_back_misses_nothing(live: LiveFeed) -> None:
    """With the number of the last event it saw, it gets those since, each once."""
    stream = await _joined(live)
    for n in range(4):
        live.publish("runs", n)
    first = _id(await _next(stream))
    await stream.aclose()
    again = await _joined(live, first)
    live.publish("runs", 4)
    assert [json.loads((await _next(again)).split("data: ")[1]) for _ in range(4)] == [1, 2, 3, 4]


@pytest.mark.parametrize("after", [0, 10**18])
async def test_a_reader_who_was_away_too_long_is_told_to_load_anew(live: LiveFeed, after: int) -> None:
    """A number that is no longer kept, or that this process never gave, brings one reset."""
    live.publish("runs", 1)
    stream = await _joined(live, after)
    assert "event: reset" in await _next(stream)


async def test_silence_is_broken_by_comments(live: LiveFeed) -> None:
    """While nothing happens a comment shows that the line is alive."""
    stream = await _joined(live)
    async with asyncio.timeout(60):
        assert await anext(stream) == ": still here\n\n"


async def test_a_slow_reader_is_let_go(live: LiveFeed) -> None:
    """Nothing is kept for it without bound: its stream ends, and the browser comes back with its number."""
    stream = await _joined(live)
    for n in range(subject.KEPT + subject.WAITING + 1):
        live.publish("runs", n)
    async with asyncio.timeout(60):
        assert [text async for text in stream if not text.startswith(":")] == []


async def test_readers_are_bounded(live: LiveFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    """One too many is refused; when one leaves there is room."""
    monkeypatch.setattr(subject, "READERS", 1)
    stream = await _joined(live)
    with pytest.raises(Busy):
        live.read(None)
    await stream.aclose()
    await _joined(live)


async def test_close_ends_every_reader(live: LiveFeed) -> None:
    """Nobody waits for a console that is going, not even one who comes late."""
    stream = await _joined(live)
    live.close()
    async with asyncio.timeout(60):
        assert [text async for text in stream] == []
        assert [text async for text in await _joined(live)] == []


async def test_writes_are_told_together(make: Any, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Several writes in a quarter of a second make one event with their sum; the system's own runs are not named."""
    monkeypatch.setattr(subject, "COALESCE_S", 0.01)
    live = LiveFeed(SystemClock())
    stream = await _joined(live)
    own = make.span(9, None, 0, 1, {"antiphon.run": "own", "antiphon.obs": True})
    for sequence, spans in enumerate(([*make.run()], [own]), 1):
        live.written(store.write([Received(batch=TelemetryBatch(node="a", sequence=sequence, spans=spans))]))
    news = json.loads((await _next(stream)).split("data: ")[1])
    assert (news["spans"], [run["run"] for run in news["runs"]]) == (9, ["r1"])
    live.close()
