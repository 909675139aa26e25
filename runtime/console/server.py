"""The console on its port, and nowhere but on this machine."""

from starlette.applications import Starlette

from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.listening import Listening, listen

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class ConsoleServer:
    """A console that is being served. ``port`` is the real one."""

    def __init__(self, listening: Listening, live: LiveFeed) -> None:
        self._listening = listening
        self._live = live
        self.port = listening.port
        self.address = listening.address

    async def stop(self, deadline_s: float = 3.0) -> None:
        """End event streams, let running requests finish, and be gone after ``deadline_s``. Idempotent."""
        self._live.close()
        await self._listening.stop(deadline_s)


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
    return ConsoleServer(await listen(app, host, port, name="console"), app.state.live)
