"""MCP servers that tests start, watch and kill."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from antiphon.runtime.gateways.mcp.remote import McpServer
from antiphon.runtime.gateways.mcp.ways import Stdio

HERE = Path(__file__).parent
PATIENCE_S = 20.0  # for a machine that is busy with other things


async def eventually(check: Callable[[], Any]) -> Any:
    """The first truthy answer of ``check``."""
    async with asyncio.timeout(PATIENCE_S):
        while not (found := check()):  # noqa: ASYNC110  # it happens in another process, or in a library
            await asyncio.sleep(0.01)
    return found


@dataclass(frozen=True)
class OldServer:
    """``old_server.py`` on one folder: what it was told, and what to do to it."""

    folder: Path

    @property
    def way(self) -> Stdio:
        """How it is reached."""
        return Stdio(command=(sys.executable, str(HERE / "old_server.py"), str(self.folder)))

    def server(self) -> McpServer:
        """Its definition, as a user writes it."""
        return McpServer.stdio("old", self.way.command)

    @property
    def calls(self) -> list[str]:
        """What arrived, and when it started."""
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def count(self, line: str) -> int:
        """How often that arrived."""
        return self.calls.count(line)

    @property
    def starts(self) -> int:
        """How often it was started."""
        return len(self._pids())

    async def eventually(self, check: Callable[[], Any]) -> Any:
        """The first truthy answer of ``check``."""
        return await eventually(check)

    async def heard(self, line: str) -> None:
        """Wait until that has arrived."""
        await eventually(lambda: self.count(line))

    def kill(self) -> None:
        """As the kernel does when memory is short."""
        os.kill(self._pids()[-1], signal.SIGKILL)

    def go_down(self) -> None:
        """From now on it does not start."""
        (self.folder / "down").touch()

    def come_up(self) -> None:
        """From now on it starts again."""
        (self.folder / "down").unlink()

    def _pids(self) -> list[int]:
        return [int(line.split()[1]) for line in self.calls if line.startswith("pid ")]


@pytest.fixture
def old(tmp_path: Path) -> OldServer:
    """A server of the old protocol, in a process that starts quickly."""
    return OldServer(tmp_path)


class _Quiet(uvicorn.Server):
    """Leaves signals to pytest."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


@asynccontextmanager
async def http_app(app: Any) -> AsyncIterator[str]:
    """An ASGI application on a free port of this machine: its URL for MCP."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = _Quiet(uvicorn.Config(app, loop="none", lifespan="on", log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        await eventually(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
    finally:
        server.should_exit = True
        await asyncio.wait((serving,))


@pytest.fixture
def serve_app() -> Callable[[Any], AbstractAsyncContextManager[str]]:
    """``async with serve_app(app) as url``."""
    return http_app
