"""Pull requests to one consumer, over a subscription of their own.

A pulled message arrives under its original subject, not under that of the request, so a consumer needs its own inbox.
The server's messages for a request nobody waits for any more (a cancelled fetch, an expiry that crossed a delivery)
are handed back at once: they would otherwise be held until their lease ends (nats.py#933, #791, #418).
"""

import asyncio
import json
from collections import deque
from dataclasses import dataclass

from antiphon.runtime.bus.api import PREFIX
from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.bus.bell import Bell
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.wire import parse_headers
from antiphon.runtime.errors import BusError

_NS = 1_000_000_000
LOST = 1  # not the server's: the connection was renewed or closed, so the request is gone


@dataclass(frozen=True, slots=True)
class Pulled:
    """A message with what its acknowledgement subject says, or (``reply`` empty) the end of a request."""

    message: StoredMessage | None
    reply: str = ""
    deliveries: int = 0
    consumer_sequence: int = 0
    pending: int = 0
    status: int = 0
    text: str = ""


class Puller:
    """One request at a time; ``arrivals`` is bounded by what that request asked for."""

    def __init__(self, core: Core, stream: str, consumer: str, *, hand_back: bool) -> None:
        self._core = core
        self._stream = stream
        self._consumer = consumer
        self._hand_back = hand_back
        self._inbox = core.new_inbox()
        self._request = 0
        self._open = False
        self._arrivals: deque[Pulled] = deque()
        self._bell = Bell()
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen."""
        self._unlisten = await self._core.listen(f"{self._inbox}.*", "", self._on_message)
        self._forget = self._core.connection.on_interruption(self._on_interruption)

    async def stop(self) -> None:
        """Listen no more; what comes until then is handed back, and who waits in ``next`` gets nothing."""
        self.end()
        self._bell.ring()
        self._forget()
        await self._unlisten()

    async def ask(self, batch: int, *, expires_s: float, no_wait: bool = False) -> None:
        """Ask for messages; ``next`` yields them and then the end. Raises BusUnavailable.

        ``no_wait`` alone would leave the request with the server for ever when the consumer's in-flight limit
        interrupts it (seen with 2.15.1), so it expires too.
        """
        self.end()
        self._request += 1
        self._open = True
        request = {"batch": batch, "expires": int(expires_s * _NS), **({"no_wait": True} if no_wait else {})}
        await self._core.publish(
            f"{PREFIX}.CONSUMER.MSG.NEXT.{self._stream}.{self._consumer}",
            json.dumps(request).encode(),
            reply=f"{self._inbox}.{self._request}",
        )

    async def next(self, timeout_s: float) -> Pulled | None:
        """The next message or end, or None when nothing came in time."""
        if not self._arrivals:
            await self._bell.wait(timeout_s)
        return self._arrivals.popleft() if self._arrivals else None

    def end(self) -> None:
        """The request is over for us; hand back what came for it and was not taken."""
        self._open = False
        while self._arrivals:
            self._return(self._arrivals.popleft())

    def _on_message(self, subject: str, reply: str, body: bytes, block: bytes | None) -> None:
        status, headers = parse_headers(block) if block is not None else (0, {})
        if reply.startswith("$JS.ACK."):
            pulled = _parse(subject, reply, body, headers)
            if not self._open:
                self._return(pulled)
                return
        elif subject == f"{self._inbox}.{self._request}" and self._open:
            pulled = Pulled(None, status=status, text=headers.get("Description", ""))
        else:
            return
        self._arrivals.append(pulled)
        self._bell.ring()

    def _on_interruption(self) -> None:
        if self._open:
            self._arrivals.append(Pulled(None, status=LOST))
            self._bell.ring()

    def _return(self, pulled: Pulled) -> None:
        if pulled.message is not None and self._hand_back:
            task = asyncio.ensure_future(self._nak(pulled.reply))
            self._background.add(task)
            task.add_done_callback(self._background.discard)

    async def _nak(self, reply: str) -> None:
        try:
            await self._core.publish(reply, b"-NAK")
        except BusError:
            return  # its lease ends by itself


def _parse(subject: str, reply: str, body: bytes, headers: dict[str, str]) -> Pulled:
    """``$JS.ACK.[domain.account.]stream.consumer.deliveries.sequence.consumer_sequence.unix_ns.pending[.random]``."""
    tokens = reply.split(".")
    at = 4 if len(tokens) < 11 else 6
    deliveries, sequence, consumer_sequence, unix_ns, pending = (int(token) for token in tokens[at : at + 5])
    return Pulled(
        StoredMessage(subject, body, headers, sequence, unix_ns // 1_000_000),
        reply,
        deliveries,
        consumer_sequence,
        pending,
    )
