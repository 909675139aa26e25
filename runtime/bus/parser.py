"""A quicker way through what the server sends, in front of nats-py's parser.

The stock parser matches two regular expressions a message, shifts its buffer twice and awaits two coroutines, about
6 µs; whole messages for our own subscriptions take a find and a split here, about 2 µs. Everything else (PING, INFO,
errors, foreign subscriptions, very large messages) goes to the stock parser, byte for byte.
"""

from collections.abc import Callable, Mapping

import structlog
from nats.aio.client import Client as NatsClient
from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, Parser

# subject, reply, body, header block or None
Sink = Callable[[str, str, bytes, bytes | None], None]

_log = structlog.get_logger(__name__)

_WHOLE = 262_144  # a longer message is left to the stock parser, which does not join chunks again and again


class QuickParser(Parser):
    """Delivers messages of ``sinks`` (by subscription id) at once."""

    def __init__(self, client: NatsClient, sinks: Mapping[int, Sink]) -> None:
        self._sinks = sinks
        self._rest = b""  # the beginning of a message of ours
        super().__init__(client)

    def reset(self) -> None:
        """A new connection: forget the half of a message that the old one left."""
        self._rest = b""
        super().reset()

    async def parse(self, data: bytes = b"") -> None:
        """Take what the socket gave."""
        if self._rest:
            data = self._rest + data
            self._rest = b""
        if not self.buf and self.state == AWAITING_CONTROL_LINE:
            data = self._deliver(data)
            if not data:
                return
        await super().parse(data)

    def _deliver(self, data: bytes) -> bytes:
        """Hand over the whole messages of ours at the beginning of ``data``; what is for the stock parser."""
        sinks, size, start = self._sinks, len(data), 0
        while start < size:
            line = data.find(b"\r\n", start)
            if line < 0:
                break
            verb, *arguments = data[start:line].split(b" ")
            # MSG subject sid [reply] size; HMSG subject sid [reply] header-size size
            plain = verb == b"MSG"
            if not plain and verb != b"HMSG":
                break
            try:
                sink = sinks.get(int(arguments[1]))
                length = int(arguments[-1])
                split = 0 if plain else int(arguments[-2])
            except (ValueError, IndexError):
                raise ProtocolError(f"nats: malformed {verb.decode()}") from None
            if sink is None or length > _WHOLE:
                break
            body = line + 2
            end = body + length
            if end + 2 > size:
                self._rest = data[start:]
                return b""
            start = end + 2
            reply = str(arguments[2], "utf-8", "replace") if len(arguments) == (4 if plain else 5) else ""
            subject = str(arguments[0], "utf-8", "replace")
            try:
                if plain:
                    sink(subject, reply, data[body:end], None)
                else:
                    sink(subject, reply, data[body + split : end], data[body : body + split])
            except Exception:
                _log.exception("bus_sink_failed", subject=subject)  # one bad message must not end the connection
        return data[start:] if start else data
