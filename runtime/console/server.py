"""uvicorn inside a process that has other things to do."""

import asyncio
import contextlib
import socket
from collections.abc import Generator

import structlog
import uvicorn
from starlette.applications import Starlette

from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.errors import ConfigurationError

log = structlog.get_logger(__name__)

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class _Quiet(uvicorn.Server):
    """Leaves signals to the composition root, and says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Install no handlers."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        self.listening.set()


class ConsoleServer:
    """A console that is being served. ``port`` is the real one."""

    def __init__(self, server: _Quiet, task: asyncio.Task[None], live: LiveFeed, host: str, port: int) -> None:
        self._server = server
        self._task = task
        self._live = live
        self.port = port
        self.address = f"http://{f'[{host}]' if ':' in host else host}:{port}/"

    async def stop(self, deadline_s: float = 3.0) -> None:
        """End event streams, let running requests finish, and be gone after ``deadline_s``. Idempotent."""
        self._live.close()
        self._server.should_exit = True
        done, _ = await asyncio.wait((self._task,), timeout=deadline_s)
        if not done:
            log.warning("console_stopped_hard", deadline_s=deadline_s)
            self._server.force_exit = True
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=1.0)


async def serve(app: Starlette, host: str, port: int) -> ConsoleServer:
    """Listen on a loopback address (port 0: any free one) and serve in the background of this event loop.

    Raises:
        ConfigurationError: the port is taken, or the address is not loopback.
    """
    if host not in LOOPBACK:
        raise ConfigurationError(
            f"console address {host!r}: expected a loopback address ({', '.join(LOOPBACK)}); "
            "to look from elsewhere, forward the port through ssh"
        )
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"console port {port}: expected 0 to 65535")
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(
            f"console port {port} on {host} cannot be used ({error.strerror}): stop what listens there, "
            "or choose another with --port (0 takes any free one)",
            port=port,
        ) from None
    # asyncio sets it only on sockets made with proto=TCP; without it each answer waits 44 ms for an ack (seen).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app, loop="none", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_graceful_shutdown=2, server_header=False,
    )  # fmt: skip
    server = _Quiet(config)
    task = asyncio.create_task(server.serve([listener]), name="console")
    await server.listening.wait()
    return ConsoleServer(server, task, app.state.live, host, listener.getsockname()[1])
