import socket
from typing import Any

import pytest

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.listening import listen


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Nothing."""


async def test_who_cannot_listen_is_named() -> None:
    """The server that was to be, the port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"desk port {port} on 127\.0\.0\.1 cannot be used .*--port"):
            await listen(app, "127.0.0.1", port, name="desk")
    with pytest.raises(ConfigurationError, match="desk port 65536: expected 0 to 65535"):
        await listen(app, "127.0.0.1", 65536, name="desk")


async def test_an_address_can_be_opened() -> None:
    """IPv6 is bracketed, and port 0 has become a real one."""
    listening = await listen(app, "::1", 0, name="desk")
    assert listening.address == f"http://[::1]:{listening.port}/"
    await listening.stop()
    await listening.stop()
