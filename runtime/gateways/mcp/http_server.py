"""An MCP server on a loopback port, for whoever has a token of the HTTP door."""

import socket
from collections.abc import Callable, Mapping
from typing import Any, Final

import uvicorn
from mcp.server import Server
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.gateways.http.callers import Callers

HOST: Final = "127.0.0.1"
PATH: Final = "/mcp"


def http_app(server: Server[Any], tokens: Mapping[str, SecretStr]) -> Starlette:
    """The server as an application; ``tokens`` by the names of callers.

    A foreign web page gets nothing: it has no token, and a Host or Origin that is not this machine is refused.
    """
    inner = server.streamable_http_app(streamable_http_path=PATH, host=HOST)
    mount = Mount("/", app=Callers(inner, tokens))
    return Starlette(routes=[mount], lifespan=lambda app: server.session_manager.run())


async def serve_http(app: Starlette, port: int, listening: Callable[[str], None]) -> None:
    """Serve until a signal comes (port 0: any free one); ``listening`` is told the URL.

    Raises:
        ConfigurationError: the port is taken.
    """
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise ConfigurationError(
            f"port {port} on {HOST} cannot be used ({error.strerror}): choose another with --http (0: any free one)",
            port=port,
        ) from None
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # for the reason in listening.py
    config = uvicorn.Config(
        app, loop="none", http="h11", ws="none", lifespan="on", log_config=None, access_log=False,
        timeout_graceful_shutdown=2, server_header=False,
    )  # fmt: skip
    listening(f"http://{HOST}:{listener.getsockname()[1]}{PATH}")
    await uvicorn.Server(config).serve([listener])
