"""Streams of events, and readers of every kind."""

import asyncio
from collections.abc import AsyncGenerator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from antiphon import Client
from antiphon.runtime.delivery.following import Following
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.gateways.http import events
from antiphon.runtime.gateways.http.events import EventStream, task_events

Message = MutableMapping[str, Any]


class Reader:
    """What a server gives an application: says nothing, and takes ``takes`` messages."""

    def __init__(self, takes: int) -> None:
        self.takes = takes
        self.body = b""
        self.ended = False

    async def receive(self) -> Message:
        """Nothing, ever."""
        await asyncio.Event().wait()
        raise AssertionError

    async def send(self, message: Message) -> None:
        """Take it, or never come back."""
        if not self.takes:
            await asyncio.Event().wait()
        self.takes -= 1
        self.body += message.get("body", b"")
        self.ended = message["type"] == "http.response.body" and not message["more_body"]


async def three() -> AsyncGenerator[str, None]:
    """Events."""
    for n in range(3):
        yield f"{n} "


async def test_to_the_end() -> None:
    """All of them, and then the end of the body; nobody has left."""
    left: list[bool] = []

    async def leave() -> None:
        left.append(True)

    reader = Reader(takes=9)
    await EventStream(three(), asyncio.Event(), leave)({}, reader.receive, reader.send)
    assert (reader.body, reader.ended, left) == (b"0 1 2 ", True, [])


@pytest.mark.parametrize(("takes", "body"), [(2, b"0 "), (4, b"0 1 2 ")])
async def test_a_reader_who_takes_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch, takes: int, body: bytes) -> None:
    """After a while it counts as gone, and its work is stopped; also one who does not take the end."""
    monkeypatch.setattr(events, "SEND_S", 0.01)
    left: list[bool] = []

    async def leave() -> None:
        left.append(True)

    reader = Reader(takes=takes)
    with capture_logs() as logs:
        await EventStream(three(), asyncio.Event(), leave)({}, reader.receive, reader.send)
    assert (reader.body, reader.ended, left) == (body, False, [True])
    assert [log["event"] for log in logs] == ["event_reader_too_slow"]


async def test_a_bus_that_is_lost_breaks_events_off(client: Client) -> None:
    """Without an end, so that the reader comes back; and it is logged."""

    async def lost() -> None:
        raise BusUnavailable("gone")

    host = client.host
    broken: Following[Any] = Following(host.bus, host.clock, host.tenant, "t", begin=lost, finish=lambda result: result)
    with capture_logs() as logs:
        assert [event async for event in task_events(broken)] == []
    assert [log["event"] for log in logs] == ["events_broke_off"]
