"""What a server says about itself."""

import json
from dataclasses import dataclass
from typing import Final

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.jetstream import unix_ms
from antiphon.runtime.errors import BusUnavailable, NoResponders, RequestTimeout

# Any user may ask it; the answer has the time of the server that we are connected to.
_SUBJECT: Final = "$SYS.REQ.USER.INFO"
_ANSWER_S: Final = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """One server. ``unix_ms`` is its clock when it answered."""

    name: str
    version: str
    jetstream: bool
    unix_ms: int


async def server_info(bus: Bus) -> ServerInfo:
    """Ask the server of this connection.

    Raises:
        BusUnavailable: it does not say, because it is older than 2.10, or this user may not ask.
    """
    try:
        answer = await bus.request(_SUBJECT, b"", timeout_s=_ANSWER_S)
        server = json.loads(answer.body)["server"]
        return ServerInfo(
            name=str(server["name"]),
            version=str(server["ver"]),
            jetstream=server.get("jetstream") is True,
            unix_ms=unix_ms(server["time"]),
        )
    except (NoResponders, RequestTimeout, ValueError, KeyError, TypeError) as error:
        raise BusUnavailable(
            f"the server does not describe itself on {_SUBJECT} ({error}): expected nats-server 2.10 or newer, and a "
            "user who may ask"
        ) from error
