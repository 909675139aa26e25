"""The bus over NATS and JetStream, by nats-py.

Everything that nats-py does in a way that would surprise a caller is dealt with in this folder: ``client`` and
``connection`` (errors, reconnecting, buffers), ``requests`` (answers and deadlines), ``dispatch`` (concurrency, order,
drops), ``pull`` and ``consumers`` (leases), ``jetstream``, ``buckets`` and ``blobs`` (what is stored).
"""

import asyncio
from collections.abc import Callable

from antiphon.runtime.bus.base import NO_HEADERS, Delivery, Headers, Receiver
from antiphon.runtime.bus.blobs import StreamBlobs
from antiphon.runtime.bus.buckets import NatsBuckets
from antiphon.runtime.bus.connection import Connection
from antiphon.runtime.bus.core import Core
from antiphon.runtime.bus.dispatch import Dispatcher
from antiphon.runtime.bus.inspector import NatsInspector
from antiphon.runtime.bus.jetstream import NatsStreams
from antiphon.runtime.bus.matching import check_pattern
from antiphon.runtime.bus.wire import parse_headers
from antiphon.runtime.errors import BusUnavailable

_CANCEL_S = 2.0  # how long close waits for receivers that it has cancelled


class NatsBus:
    """One client of a NATS server. Made by ``connect``."""

    def __init__(self, core: Core, on_close: Callable[[], None] | None) -> None:
        self._core = core
        self._on_close = on_close
        self._streams = NatsStreams(core)
        self._inspector = NatsInspector(self._core, self._streams.api)
        self._buckets = NatsBuckets(core, self._streams)
        self._blobs = StreamBlobs(self._streams)
        self._subscriptions: dict[NatsSubscription, None] = {}
        self._dropped = 0
        self._closed = False

    @classmethod
    async def connect(
        cls,
        url: str,
        token: str | None = None,
        name: str = "antiphon",
        on_close: Callable[[], None] | None = None,
    ) -> "NatsBus":
        """Connect to the server at ``url`` (several: separated by commas). ``on_close`` follows ``close``.

        Raises:
            BusUnavailable: within 5 s, when nobody answers or the server refuses us.
            ConfigurationError: ``url`` is not one.
        """
        core = Core(await Connection.open(url, token, name))
        await core.start()
        return cls(core, on_close)

    @property
    def streams(self) -> NatsStreams:
        """Stored messages."""
        return self._streams

    @property
    def inspector(self) -> NatsInspector:
        """What the server says about streams."""
        return self._inspector

    @property
    def buckets(self) -> NatsBuckets:
        """Key-value."""
        return self._buckets

    @property
    def blobs(self) -> StreamBlobs:
        """Large bodies."""
        return self._blobs

    @property
    def max_payload(self) -> int:
        """Largest body plus headers, in bytes."""
        return self._core.connection.max_payload

    @property
    def dropped(self) -> int:
        """Messages dropped here because a queue was full."""
        return self._dropped + self._core.connection.slow

    async def publish(self, subject: str, body: bytes, headers: Headers | None = None, reply: str = "") -> None:
        """Send to whoever listens now."""
        await self._core.connection.publish(subject, reply, headers, body)

    async def request(self, subject: str, body: bytes, headers: Headers | None = None, *, timeout_s: float) -> Delivery:
        """Send and wait for one answer."""
        return await self._core.request(subject, body, headers, timeout_s)

    async def subscribe(
        self, subject: str, receiver: Receiver, *, queue: str = "", concurrency: int = 1, limit: int = 65_536
    ) -> "NatsSubscription":
        """Call ``receiver`` for each message. The server knows of it when this returns."""
        check_pattern(subject)
        dispatcher = Dispatcher(subject, receiver, concurrency=concurrency, limit=limit, on_drop=self._count_drop)
        subscription = NatsSubscription(self._core, dispatcher, self._subscriptions)
        await subscription.start(subject, queue)
        return subscription

    async def close(self) -> None:
        """Stop subscriptions, flush, answer every waiting request with BusUnavailable. Idempotent."""
        if self._closed:
            return
        self._closed = True
        live = list(self._subscriptions)
        await asyncio.gather(*(subscription.stop() for subscription in live))
        running = [task for subscription in live for task in subscription.cancel()]
        if running:
            await asyncio.wait(running, timeout=_CANCEL_S)
        await self._core.connection.close()
        self._core.requests.close()
        if self._on_close is not None:
            self._on_close()

    def _count_drop(self) -> None:
        self._dropped += 1


class NatsSubscription:
    """A live subscription."""

    def __init__(self, core: Core, dispatcher: Dispatcher, live: dict["NatsSubscription", None]) -> None:
        self._core = core
        self._dispatcher = dispatcher
        self._live = live
        self._stopped = False

    async def start(self, subject: str, queue: str) -> None:
        """Tell the server, and wait until it knows."""
        self._unlisten = await self._core.listen(subject, queue, self._on_message)
        self._live[self] = None
        try:
            await self._core.connection.flush()
        except BusUnavailable:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take no more; what has arrived is handled. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        await self._unlisten()
        self._dispatcher.finish(lambda: self._live.pop(self, None))

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel what is being handled: the bus is closing."""
        return self._dispatcher.cancel()

    def _on_message(self, subject: str, reply: str, body: bytes, block: bytes | None) -> None:
        headers = NO_HEADERS if block is None else parse_headers(block)[1]
        self._dispatcher.offer(Delivery(subject, body, headers, reply))
