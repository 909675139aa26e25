"""One way to a bus: the external server that was named, or the embedded ones of the home folder."""

from pathlib import Path

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.durability import Durability, copies
from antiphon.runtime.errors import BusUnavailable


async def open_bus(url: str | None, token: str | None, home: Path, name: str, durability: Durability = "fast") -> Bus:
    """Connect. ``close`` of the bus also lets go of the embedded servers.

    Raises:
        BusUnavailable: nobody answers at ``url``, or the embedded server does not start.
        ConfigurationError: ``url`` is not one, ``home`` cannot be used, nats-server is not installed, or the embedded
            servers that run give less than ``durability`` asks for.
    """
    # nats-py takes a quarter of a second to import, so only those who connect pay for it.
    from antiphon.runtime.bus.nats import NatsBus
    from antiphon.runtime.bus.server import acquire_soon

    if url:
        try:
            bus = await NatsBus.connect(url, token, name)
        except BusUnavailable as error:
            raise BusUnavailable(
                f"{error.message}; start it, or unset ANTIPHON_NATS_URL to use the embedded server", **error.details
            ) from error
        bus.streams.replicate(copies(durability, None))
        return bus
    server = await acquire_soon(home, sync_always=durability == "strict")
    try:
        replicas = copies(durability, server.address.servers)
        bus = await NatsBus.connect(server.url, server.token, name, on_close=server.release)
    except BaseException:
        server.release()
        raise
    bus.streams.replicate(replicas)
    return bus
