"""One connection to a server: connecting, sending, listening, and saying aloud what goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import nats.errors
import structlog
from nats.aio.msg import Msg

from antiphon.runtime.bus.base import Headers
from antiphon.runtime.bus.beside import beside
from antiphon.runtime.bus.client import Client
from antiphon.runtime.bus.matching import check_subject
from antiphon.runtime.bus.parser import Sink
from antiphon.runtime.bus.refusals import closed, too_large
from antiphon.runtime.bus.wire import encode_headers, encode_status, frame
from antiphon.runtime.errors import BusUnavailable, ConfigurationError

_log = structlog.get_logger(__name__)

_SCHEMES = ("nats", "tls", "ws", "wss")
_CONNECT_S = 4.0  # the first connect; longer is a wrong address, not a slow server
_RECONNECT_S = 0.25  # between attempts, for ever
_PING_S = 10  # a connection that died silently is seen after two of these
_BUFFER = 2 * 1024 * 1024  # bytes that may wait here while the server is away or slow; then publishing fails
_ROOM_S = 5.0  # how long a publish waits for a full buffer to shrink
_ROUND_TRIP_S = 2.0  # flushing and unsubscribing, when closing
_QUIET_S = 5.0  # the same error is logged at most this often


class Connection:
    """A connection that comes back by itself."""

    def __init__(self, url: str) -> None:
        self.url = ",".join(_without_secrets(part) for part in url.split(","))
        self.slow = 0  # messages that nats-py dropped before they reached us
        self._servers = [_checked(part.strip()) for part in url.split(",")]
        self._client = Client()
        self._direct = False
        self._ready = False
        self.closing = False
        self._interruptions: dict[Callable[[], None], None] = {}
        self._quiet_until: dict[str, float] = {}
        self._last_error = "no answer"
        loop = asyncio.get_running_loop()
        self._refused: asyncio.Future[str] = loop.create_future()
        self._returned: asyncio.Future[None] = loop.create_future()

    @classmethod
    async def open(cls, url: str, token: str | None, name: str) -> "Connection":
        """Connect.

        Raises:
            BusUnavailable: within 5 s, when nobody answers at ``url`` or the server refuses us.
            ConfigurationError: ``url`` is not one.
        """
        connection = cls(url)
        await connection._connect(token, name)
        return connection

    @property
    def max_payload(self) -> int:
        """What the server takes, in bytes, headers counted."""
        return int(self._client.max_payload)

    @property
    def connected(self) -> bool:
        """Whether the server is there at this moment."""
        return bool(self._client.is_connected)

    def on_interruption(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call ``callback`` after each reconnect and on closing, until the returned function is called.

        What the server had promised before (pulls, answers of several messages) will not come any more.
        """
        self._interruptions[callback] = None

        def forget() -> None:
            self._interruptions.pop(callback, None)

        return forget

    async def publish(self, subject: str, reply: str, headers: Headers | None, body: bytes) -> None:
        """Send a message. Raises MessageTooLarge, BusUnavailable."""
        check_subject(subject)
        client = self._client
        block = encode_headers(headers) if headers else b""
        size = len(block) + len(body)
        if size > client._max_payload:
            raise too_large(subject, size, self.max_payload)
        if client._status == Client.CLOSED:
            raise closed()
        if client._pending_data_size > _BUFFER:
            await self._wait_for_room()
        if self._direct:
            client.send(frame(subject, reply, block, body))
        else:
            await self._publish_plainly(subject, reply, headers, body)

    async def listen(self, subject: str, queue: str, sink: Sink) -> Callable[[], Awaitable[None]]:
        """Messages on ``subject`` go to ``sink``, until the returned function is called. Raises BusUnavailable."""

        async def plain(msg: Msg) -> None:
            sink(msg.subject, msg.reply, msg.data, encode_status(msg.headers) if msg.headers else None)

        try:
            subscription = await self._client.attach(subject, queue, sink, plain)
        except nats.errors.Error as error:
            raise self.unavailable(f"cannot subscribe to {subject!r}", error) from error

        async def stop() -> None:
            await self._client.detach(subscription, _ROUND_TRIP_S)

        return stop

    async def flush(self) -> None:
        """A round trip: the server has all that was sent before. Raises BusUnavailable."""
        try:
            await beside(self._client.flush(), _ROUND_TRIP_S)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise self.unavailable("what was sent is not confirmed", error) from error

    async def close(self) -> None:
        """Flush what can be flushed and disconnect. Idempotent."""
        if self.closing:
            return
        self.closing = True
        if self.connected:
            try:
                await self.flush()
            except BusUnavailable as error:
                _log.warning("bus_closed_unflushed", url=self.url, error=error.message)
        await self._close_client()
        self._interrupt()

    def unavailable(self, what: str, error: Exception | None = None) -> BusUnavailable:
        """The error that says what failed on which server, and why."""
        why = f": {error or 'no answer'}" if self.connected else f": the server is away ({self._last_error})"
        return BusUnavailable(f"{what}; server {self.url}{why}", url=self.url)

    async def _connect(self, token: str | None, name: str) -> None:
        attempt = asyncio.ensure_future(
            self._client.connect(
                servers=self._servers,
                name=name,
                token=token,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnect,
                reconnected_cb=self._on_reconnect,
                closed_cb=self._on_closed,
                connect_timeout=2,
                reconnect_time_wait=_RECONNECT_S,  # type: ignore[arg-type]  # annotated int, used as seconds
                max_reconnect_attempts=-1,
                ping_interval=_PING_S,
                pending_size=_BUFFER * 2,  # ours refuses first; nats-py's limit waits without a deadline
                flush_timeout=_ROOM_S,
            )
        )
        try:
            async with asyncio.timeout(_CONNECT_S):
                await _first(attempt, self._refused)
                if attempt.done():
                    attempt.result()
                    # nats-py returns although the server hung up where it should have said PONG, and tries again.
                    if not self.connected:
                        await _first(self._returned, self._refused)
            if not self.connected:
                why = self._refused.result() if self._refused.done() else self._last_error
                raise BusUnavailable(f"the server {self.url} refuses us ({why})", url=self.url)
        except TimeoutError:
            raise BusUnavailable(f"no NATS server at {self.url} ({self._last_error})", url=self.url) from None
        except (nats.errors.Error, ValueError) as error:
            raise ConfigurationError(
                f"NATS URL {self.url!r}: {error}; expected a form such as nats://127.0.0.1:4222"
            ) from error
        finally:
            self._refused.cancel()
            self._returned.cancel()
            if not self._client.is_connected:
                self.closing = True
                attempt.cancel()
                await asyncio.gather(attempt, return_exceptions=True)
                await self._close_client()
        self._direct = self._client.direct
        self._ready = True

    async def _publish_plainly(self, subject: str, reply: str, headers: Headers | None, body: bytes) -> None:
        try:
            await self._client.publish(subject, body, reply, dict(headers) if headers else None)
        except nats.errors.Error as error:
            raise self.unavailable(f"cannot publish to {subject!r}", error) from error

    async def _wait_for_room(self) -> None:
        deadline = asyncio.get_running_loop().time() + _ROOM_S
        await asyncio.sleep(0)  # in a tight loop of publishes the flusher has had no turn yet
        await asyncio.sleep(0)
        while self._client._pending_data_size > _BUFFER:
            if not self.connected or asyncio.get_running_loop().time() > deadline:
                raise self.unavailable(f"{self._client._pending_data_size} bytes already wait to be sent")
            await asyncio.sleep(0.005)

    async def _close_client(self) -> None:
        try:
            await asyncio.wait_for(self._client.close(), _ROUND_TRIP_S)
        except (nats.errors.Error, TimeoutError, OSError, AssertionError) as error:
            _log.warning("bus_close_failed", url=self.url, error=repr(error))

    async def _on_error(self, error: Exception) -> None:
        self._last_error = str(error) or type(error).__name__
        if isinstance(error, nats.errors.SlowConsumerError):
            self.slow += 1
        if not self._refused.done() and "authoriz" in self._last_error.lower():
            self._refused.set_result(self._last_error)
        now = asyncio.get_running_loop().time()
        kind = type(error).__name__
        if self._ready and now >= self._quiet_until.get(kind, 0.0):
            self._quiet_until[kind] = now + _QUIET_S
            _log.warning("bus_error", url=self.url, kind=kind, error=self._last_error)

    async def _on_disconnect(self) -> None:
        if not self.closing:
            _log.warning("bus_disconnected", url=self.url)

    async def _on_reconnect(self) -> None:
        _log.info("bus_reconnected", url=self.url)
        if not self._returned.done():
            self._returned.set_result(None)
        self._interrupt()

    def _interrupt(self) -> None:
        for callback in list(self._interruptions):
            callback()

    async def _on_closed(self) -> None:
        if not self.closing:
            _log.error("bus_connection_closed", url=self.url, error=self._last_error)


async def _first(*futures: "asyncio.Future[Any]") -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


def _checked(url: str) -> str:
    """Raises ConfigurationError for a scheme that is none of NATS; nats-py would look for a host of that name."""
    scheme, _, rest = url.partition("://")
    if not rest or scheme not in _SCHEMES:
        shown = _without_secrets(url)
        raise ConfigurationError(f"NATS URL {shown!r}: expected a form such as nats://127.0.0.1:4222")
    return url


def _without_secrets(url: str) -> str:
    """The URL as it may be shown: without user, password or token."""
    scheme, separator, rest = url.strip().rpartition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
