"""The bus without a server: one process, the real rules, for tests and simulation.

Same rules as NATS: wildcards, queue groups, no responders, time-outs, the size limit with headers counted, fences,
duplicates, leases and redelivery, discarding, revisions, expiry. Timers are ``loop.call_later``, so that a loop with
virtual time drives them; time stamps come from the server's ``Clock``.
"""

import contextlib
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

from antiphon.runtime.bus.base import (
    Bucket,
    Consumer,
    ConsumerSpec,
    ConsumerState,
    Delivery,
    Headers,
    Receiver,
    StoredMessage,
    StreamSpec,
    StreamUsage,
)
from antiphon.runtime.bus.blobs import StreamBlobs
from antiphon.runtime.bus.dispatch import Dispatcher
from antiphon.runtime.bus.keys import check_bucket
from antiphon.runtime.bus.matching import check_pattern, check_subject
from antiphon.runtime.bus.memory_buckets import MemoryBucket, MemoryStore
from antiphon.runtime.bus.memory_server import Interest, MemoryServer
from antiphon.runtime.bus.memory_streams import MemoryConsumer, MemoryDurable, replay
from antiphon.runtime.bus.refusals import closed, no_responders, no_stream
from antiphon.runtime.bus.requests import Requests
from antiphon.runtime.bus.stream_config import append_headers
from antiphon.runtime.errors import BusUnavailable, Conflict


class MemoryBus:
    """One client of a ``MemoryServer`` (its own, unless one is shared). Create it inside a running loop."""

    def __init__(self, server: MemoryServer | None = None) -> None:
        self._server = server or MemoryServer()
        self._requests = Requests()
        self._server.inboxes[self._requests.inbox] = self._answered
        self._subscriptions: dict[MemorySubscription, None] = {}
        self._streams = MemoryStreams(self)
        self._inspector = MemoryInspector(self)
        self._buckets = MemoryBuckets(self)
        self._blobs = StreamBlobs(self._streams)
        self._dropped = 0
        self._closed = False

    @property
    def streams(self) -> "MemoryStreams":
        """Stored messages."""
        return self._streams

    @property
    def inspector(self) -> "MemoryInspector":
        """What the server says about streams."""
        return self._inspector

    @property
    def buckets(self) -> "MemoryBuckets":
        """Key-value."""
        return self._buckets

    @property
    def blobs(self) -> StreamBlobs:
        """Large bodies."""
        return self._blobs

    @property
    def max_payload(self) -> int:
        """Largest body plus headers, in bytes."""
        return self._server.max_payload

    @property
    def dropped(self) -> int:
        """Messages dropped here because a subscription's queue was full."""
        return self._dropped

    @property
    def server(self) -> MemoryServer:
        """The shared part. Raises BusUnavailable once closed."""
        self.check_open()
        return self._server

    def check_open(self) -> None:
        """Raises BusUnavailable once closed."""
        if self._closed:
            raise closed()

    async def publish(self, subject: str, body: bytes, headers: Headers | None = None, reply: str = "") -> None:
        """Send to whoever listens now."""
        self.send(subject, body, headers, reply)

    async def request(self, subject: str, body: bytes, headers: Headers | None = None, *, timeout_s: float) -> Delivery:
        """Send and wait for one answer."""
        token, future = self._requests.open(subject, timeout_s)
        try:
            if not self.send(subject, body, headers, self._requests.prefix + token):
                raise no_responders(subject)
            return await future
        finally:
            self._requests.forget(token)

    async def subscribe(
        self, subject: str, receiver: Receiver, *, queue: str = "", concurrency: int = 1, limit: int = 65_536
    ) -> "MemorySubscription":
        """Call ``receiver`` for each message."""
        check_pattern(subject)
        dispatcher = Dispatcher(subject, receiver, concurrency=concurrency, limit=limit, on_drop=self._count_drop)
        interest = Interest(subject, queue, dispatcher.offer)
        subscription = MemorySubscription(self.server, interest, dispatcher, self._subscriptions)
        self._subscriptions[subscription] = None
        return subscription

    async def close(self) -> None:
        """Stop subscriptions, answer every waiting request with BusUnavailable. Idempotent."""
        if self._closed:
            return
        self._closed = True
        for subscription in list(self._subscriptions):
            await subscription.stop()
            subscription.cancel()
        self._server.inboxes.pop(self._requests.inbox, None)
        self._requests.close()
        self._server.wake()

    def send(self, subject: str, body: bytes, headers: Headers | None, reply: str) -> bool:
        """Route a message; whether anybody listens."""
        check_subject(subject)
        server = self.server
        server.check_size(subject, body, headers)
        return server.route(Delivery(subject, body, dict(headers) if headers else {}, reply))

    def _answered(self, delivery: Delivery) -> None:
        self._requests.answer(delivery.subject[len(self._requests.prefix) :], delivery)

    def _count_drop(self) -> None:
        self._dropped += 1


class MemorySubscription:
    """A live subscription."""

    def __init__(
        self,
        server: MemoryServer,
        interest: Interest,
        dispatcher: Dispatcher,
        live: dict["MemorySubscription", None],
    ) -> None:
        self._server = server
        self._interest = interest
        self._dispatcher = dispatcher
        self._live = live
        server.add(interest)

    async def stop(self) -> None:
        """Take no more; what has arrived is handled. Idempotent."""
        self._server.remove(self._interest)
        self._dispatcher.finish(lambda: self._live.pop(self, None))

    def cancel(self) -> None:
        """Cancel what is being handled: the bus is closing."""
        self._dispatcher.cancel()


class MemoryStreams:
    """Stored messages."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def ensure(self, spec: StreamSpec) -> None:
        """Create or widen a stream."""
        for subject in spec.subjects:
            check_pattern(subject)
        self._bus.server.ensure(spec)

    async def append(
        self,
        subject: str,
        body: bytes,
        headers: Headers | None = None,
        *,
        message_id: str | None = None,
        expected_last: int | None = None,
        rollup: bool = False,
        ttl_s: float = 0.0,
    ) -> int:
        """Store a message and return its sequence."""
        check_subject(subject)
        server = self._bus.server
        given = {**(headers or {}), **append_headers(message_id, None, rollup=rollup, ttl_s=ttl_s)}
        server.check_size(subject, body, given)
        stream = server.stream_of(subject)
        if stream is None:
            raise no_stream(subject)
        sequence = stream.append(subject, body, given, expected_last)
        server.deliver(Delivery(subject, body, given))
        return sequence

    async def offer(
        self, subject: str, body: bytes, headers: Headers | None, *, expected_last: int, rollup: bool, ttl_s: float
    ) -> None:
        """Send a message to be stored."""
        with contextlib.suppress(Conflict, BusUnavailable):
            await self.append(subject, body, headers, expected_last=expected_last, rollup=rollup, ttl_s=ttl_s)

    async def last(self, subject: str) -> StoredMessage | None:
        """The newest message on exactly this subject."""
        check_subject(subject)
        stream = self._bus.server.stream_of(subject)
        return stream.last(subject) if stream is not None else None

    async def last_of(self, subjects: Sequence[str]) -> dict[str, StoredMessage]:
        """The newest message on each of these subjects, where there is one."""
        found = {subject: await self.last(subject) for subject in subjects}
        return {subject: message for subject, message in found.items() if message is not None}

    def read(self, stream: str, subject: str, *, after: int = 0) -> AsyncGenerator[StoredMessage, None]:
        """Messages on ``subject`` after a sequence, in order, to the present end."""
        return replay(self._bus.server.stream(stream), subject, after)

    async def consume(self, spec: ConsumerSpec) -> Consumer:
        """Create the durable if it is not there, and bind to it."""
        stream = self._bus.server.stream(spec.stream)
        durable = stream.durables.get(spec.name)
        if durable is None:
            durable = stream.durables[spec.name] = MemoryDurable(stream, spec)
        durable.spec = spec
        return MemoryConsumer(durable, self._bus.check_open)

    async def purge(self, stream: str, *, subject: str | None = None, below: int | None = None) -> int:
        """Remove messages; how many went."""
        return self._bus.server.stream(stream).purge(subject, below)

    async def delete(self, stream: str, sequence: int) -> bool:
        """Remove one message."""
        return self._bus.server.stream(stream).delete(sequence)


class MemoryInspector:
    """What the server says about streams."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def usage(self, stream: str) -> StreamUsage:
        """How much the stream holds."""
        return self._bus.server.stream(stream).usage()

    async def consumers(self, stream: str) -> list[ConsumerState]:
        """All durables of the stream."""
        return [durable.state() for durable in self._bus.server.stream(stream).durables.values()]

    async def get(self, stream: str, sequence: int) -> StoredMessage | None:
        """One stored message, or None if it is gone."""
        return self._bus.server.stream(stream).get(sequence)

    async def headers(self, stream: str, subject: str) -> AsyncGenerator[StoredMessage, None]:
        """Messages on ``subject`` without their bodies."""
        async for message in replay(self._bus.server.stream(stream), subject, 0):
            yield replace(message, body=b"")


class MemoryBuckets:
    """Key-value buckets by name."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus

    async def open(self, name: str, *, ttl_s: float = 0.0) -> Bucket:
        """The bucket, created if missing; without ``ttl_s`` one that is there keeps its own."""
        check_bucket(name)
        stores = self._bus.server.stores
        if name not in stores:
            stores[name] = MemoryStore(name)
        if ttl_s:
            stores[name].ttl_s = ttl_s
        return MemoryBucket(stores[name], self._bus.check_open)
