"""The console on its port."""

from starlette.applications import Starlette
from starlette.types import ASGIApp

from antiphon.runtime.console.access import LOOPBACK, Access
from antiphon.runtime.console.by_proxy import OnlyProxy
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.listening import Listening, listen


class ConsoleServer:
    """A console that is being served. ``port`` is the real one, ``address`` opens there."""

    def __init__(self, listening: Listening, live: LiveFeed, address: str) -> None:
        self._listening = listening
        self._live = live
        self.port = listening.port
        self.address = address

    async def stop(self, deadline_s: float = 3.0) -> None:
        """End event streams, let running requests finish, and be gone after ``deadline_s``. Idempotent."""
        self._live.close()
        await self._listening.stop(deadline_s)


async def serve(app: Starlette, port: int) -> ConsoleServer:
    """Listen where the application's ``access`` says (port 0: any free one), in the background of this event loop.

    Raises:
        ConfigurationError: the port is taken, the address is not this machine's, or the certificate cannot be used.
    """
    access: Access = app.state.access
    heard: ASGIApp = app
    if access.proxy is not None and access.certificate is None and access.host not in LOOPBACK:
        heard = OnlyProxy(app, access.proxy)
    listening = await listen(heard, access.host, port, name="console", certificate=access.certificate)
    return ConsoleServer(listening, app.state.live, access.address(listening.port))
