"""uvicorn inside a process that has other things to do."""

import asyncio
import contextlib
import socket
from collections.abc import Generator

import structlog
import uvicorn
from starlette.types import ASGIApp

from antiphon.runtime.certificate import Certificate
from antiphon.runtime.errors import ConfigurationError

log = structlog.get_logger(__name__)


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


class Listening:
    """An application that is being served. ``port`` is the real one."""

    def __init__(self, server: _Quiet, task: asyncio.Task[None], name: str, host: str, port: int, scheme: str) -> None:
        self._server = server
        self._task = task
        self._name = name
        self.port = port
        self.address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    async def stop(self, deadline_s: float = 3.0) -> None:
        """Let running requests finish, and be gone after ``deadline_s``. Idempotent."""
        self._server.should_exit = True
        done, _ = await asyncio.wait((self._task,), timeout=deadline_s)
        if not done:
            log.warning("server_stopped_hard", server=self._name, deadline_s=deadline_s)
            self._server.force_exit = True
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=1.0)


async def listen(app: ASGIApp, host: str, port: int, *, name: str, certificate: Certificate | None = None) -> Listening:
    """Serve in the background of this event loop (port 0: any free one); ``name`` is for messages.

    With a certificate it speaks TLS, and nothing else.

    Raises:
        ConfigurationError: the address is not this machine's, the port is taken, or the certificate cannot be used.
    """
    if not 0 <= port <= 65535:
        raise ConfigurationError(f"{name} port {port}: expected 0 to 65535")
    if certificate is not None:
        certificate.check()
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigurationError(
            f"{name} port {port} on {host} cannot be used ({error.strerror}): stop what listens there, "
            "or choose another with --port (0 takes any free one)",
            port=port,
        ) from None
    # asyncio sets it only on sockets made with proto=TCP; without it each answer waits 44 ms for an ack (seen).
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        app, loop="none", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
        timeout_graceful_shutdown=2, server_header=False,
        proxy_headers=False,  # who is at the other end is what the socket says, not what a header does
        ssl_certfile=None if certificate is None else certificate.chain,
        ssl_keyfile=None if certificate is None else certificate.key,
    )  # fmt: skip
    server = _Quiet(config)
    task = asyncio.create_task(server.serve([listener]), name=name)
    await server.listening.wait()
    scheme = "http" if certificate is None else "https"
    return Listening(server, task, name, host, listener.getsockname()[1], scheme)
