"""One command's stay on the bus."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from antiphon.runtime.cli.common import settings
from antiphon.runtime.client import Client, connect
from antiphon.runtime.described import card_of
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.host import Host
from antiphon.schemas.identity import Address, InvalidName
from antiphon.schemas.node import HandlerCard


@asynccontextmanager
async def connected() -> AsyncGenerator[Client, None]:
    """Connect as the settings say. Warnings go to standard error: what the command prints may be read by a program.

    Raises:
        BusUnavailable: no server can be reached or started.
    """
    from antiphon.runtime.clock import SystemClock
    from antiphon.runtime.telemetry.logs import configure_logging

    found = settings()
    configure_logging("error" if found.log_level == "error" else "warning", clock=SystemClock())
    async with connect(settings=found) as client:
        yield client


@asynccontextmanager
async def connected_host() -> AsyncGenerator[Host, None]:
    """As ``connected``, for commands that only look below the client."""
    async with connected() as client:
        yield client.host


async def find_handler(client: Client, text: str) -> tuple[Address, HandlerCard]:
    """The handler ``agent.handler`` as the directory describes it, alive or not.

    Raises:
        ConfigurationError: ``text`` is no address.
        UnknownAgent, UnknownHandler: nobody has ever served it.
    """
    try:
        address = Address.parse(text)
    except InvalidName as error:
        raise ConfigurationError(str(error)) from None
    found = card_of(address, await client.host.directory.agents())
    if found is None:
        raise await client.host.directory.nobody(address, durable=True)
    return address, found
