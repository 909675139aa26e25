import asyncio
import signal
import socket
from typing import Any

import httpx
import pytest

from antiphon.runtime.console.server import serve
from antiphon.runtime.errors import ConfigurationError

AUTH = {"authorization": "Bearer 0123456789abcdef"}


async def test_it_serves_and_stops(app: Any) -> None:
    """Port 0 becomes a real port; after stop nobody listens there, and signal handlers are as they were."""
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    server = await serve(app, 0)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    async with httpx.AsyncClient(base_url=server.address, headers=AUTH) as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert (await client.get("/api/runs")).json() == {"runs": [], "next": None}
    await server.stop()
    await server.stop()
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", server.port), timeout=1)


async def test_an_open_page_does_not_hold_it_up(app: Any) -> None:
    """Stopping ends event streams, long before the deadline."""
    server = await serve(app, 0)
    async with (
        httpx.AsyncClient(base_url=server.address, headers=AUTH) as client,
        client.stream("GET", "/api/events") as events,
    ):
        lines = events.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        async with asyncio.timeout(60):
            await server.stop(deadline_s=120)
            async for _ in lines:
                pass


async def test_a_browser_that_goes_away_frees_its_place(app: Any) -> None:
    """The feed forgets a reader whose connection is gone."""
    server = await serve(app, 0)
    async with httpx.AsyncClient(base_url=server.address, headers=AUTH) as client:
        async with client.stream("GET", "/api/events") as events:
            await anext(events.aiter_lines())
            assert app.state.live.readers == 1
        async with asyncio.timeout(60):
            while app.state.live.readers:
                await client.get("/healthz")
    await server.stop()


async def test_a_taken_port_is_said(app: Any) -> None:
    """The message names the port and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .*--port"):
            await serve(app, port)


@pytest.mark.parametrize("port", [70000, -1])
async def test_only_real_ports(app: Any, port: int) -> None:
    """Anything else is refused with what was expected."""
    with pytest.raises(ConfigurationError, match="expected"):
        await serve(app, port)
