"""One way to a bus: the external server that was named, or the embedded one of the home folder."""

from pathlib import Path

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.errors import BusUnavailable


async def open_bus(url: str | None, token: str | None, home: Path, name: str) -> Bus:
    """Connect. ``close`` of the bus also lets go of the embedded server.

    Raises:
        BusUnavailable: nobody answers at ``url``, or the embedded server does not start.
        ConfigurationError: ``url`` is not one, ``home`` cannot be used, or nats-server is not installed.
    """
    # nats-py takes a quarter of a second to import, so only those who connect pay for it.
    from antiphon.runtime.bus.nats import NatsBus
    from antiphon.runtime.bus.server import acquire_soon

    if url:
        try:
            return await NatsBus.connect(url, token, name)
        except BusUnavailable as error:
            raise BusUnavailable(
                f"{error.message}; start it, or unset ANTIPHON_NATS_URL to use the embedded server", **error.details
            ) from error
    server = await acquire_soon(home)
    try:
        return await NatsBus.connect(server.url, server.token, name, on_close=server.release)
    except BaseException:
        server.release()
        raise
