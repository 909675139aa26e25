"""Both buses behind one fixture: ``connect()`` gives another client of the same server."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path

import pytest

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server

Connect = Callable[[], Awaitable[Bus]]


@pytest.fixture(params=["memory", pytest.param("nats", marks=pytest.mark.nats)])
async def connect(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Connect, None]:
    """Opens clients of one fresh server and closes them all in the end."""
    clients: list[Bus] = []
    if request.param == "memory":
        server = MemoryServer()

        async def join() -> Bus:
            clients.append(MemoryBus(server))
            return clients[-1]

        yield join
        for client in clients:
            await client.close()
        return
    async with embedded_server(tmp_path) as address:

        async def dial() -> Bus:
            clients.append(await NatsBus.connect(address.url, address.token))
            return clients[-1]

        yield dial
        for client in clients:
            await client.close()


@pytest.fixture
async def bus(connect: Connect) -> Bus:
    """One client."""
    return await connect()
