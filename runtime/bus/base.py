"""The seam between Antiphon and whatever carries its messages.

Four small Protocols, each with one real adapter (``runtime/bus/nats.py``), one double
(``runtime/bus/memory.py``) and one contract suite (``tests/contract/bus``) over both:

- ``Bus``      core messaging: at most once, in order per sender and subject;
- ``Streams``  stored messages: acked publishes, leases, fences;
- ``Buckets``  key-value with revisions;
- ``Blobs``    large bodies by content hash.

Headers are ``dict[str, str]``, one value a key, exact spelling (``schemas/envelope.py`` owns the keys).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple, Protocol

Headers = Mapping[str, str]


NO_HEADERS: Headers = MappingProxyType({})


class Delivery(NamedTuple):
    """A message as it arrived. ``reply`` is where an answer goes, or empty.

    A tuple, because two are made for every ask: 0.5 µs each, a frozen dataclass takes 1.3.
    """

    subject: str
    body: bytes
    headers: Headers = NO_HEADERS
    reply: str = ""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message as a stream keeps it. ``unix_ms`` is when the stream took it."""

    subject: str
    body: bytes
    headers: Headers
    sequence: int
    unix_ms: int


Receiver = Callable[[Delivery], Awaitable[None]]


class Subscription(Protocol):
    """A live subscription."""

    async def stop(self) -> None:
        """Take no more; what has arrived is handled. Idempotent."""
        ...


class Lease(Protocol):
    """A stored message that this consumer holds until it settles it or ``ack_wait_s`` passes."""

    @property
    def message(self) -> StoredMessage:
        """What was fetched."""
        ...

    @property
    def deliveries(self) -> int:
        """How often the message has been handed out, this time included."""
        ...

    @property
    def behind(self) -> int:
        """How many messages nobody had taken yet waited behind this one when it was handed out.

        As far as the server had counted: it does so a moment after it has confirmed a message.
        """
        ...

    async def ack(self) -> None:
        """Done. Sent, not confirmed: if it is lost the message comes again, so what it settles must be repeatable.

        Raises:
            BusUnavailable: the connection is gone.
        """
        ...

    async def nak(self, delay_s: float) -> None:
        """Hand it back; it comes again after ``delay_s``."""
        ...

    async def extend(self) -> None:
        """Still at it: the lease starts anew."""
        ...


class Consumer(Protocol):
    """A durable pull consumer: all who bind to one name share its messages."""

    async def fetch(self, limit: int, timeout_s: float) -> list[Lease]:
        """Up to ``limit`` messages; empty when none came in ``timeout_s``.

        Returns as soon as at least one is there. Never takes more than ``limit``, so that nothing waits
        here while another worker is free. Raises BusUnavailable.
        """
        ...

    async def unsettled(self) -> int:
        """Messages that nobody is done with: not handed out yet, or handed out and not settled."""
        ...

    async def stop(self) -> None:
        """Unbind; a waiting ``fetch`` comes back empty. The durable and its messages stay. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSpec:
    """What a stream keeps. Zero means no limit. ``owes_work`` streams refuse when full and never forget."""

    name: str
    subjects: tuple[str, ...]
    max_bytes: int
    max_age_s: float = 0.0
    owes_work: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerSpec:
    """A durable pull consumer. ``start``: ``all`` from the first message, ``new`` from now on."""

    stream: str
    name: str
    subjects: tuple[str, ...]
    ack_wait_s: float = 30.0
    max_deliveries: int = 0  # 0: for ever; the runtime counts attempts itself
    max_in_flight: int = 1000  # over all who bind
    start: str = "all"


class Streams(Protocol):
    """Stored messages."""

    async def ensure(self, spec: StreamSpec) -> None:
        """Create the stream, or bring it up to ``spec``; limits that somebody has raised stay. Idempotent.

        Raises:
            ConfigurationError: a stream of that name owes work and could forget some.
            BusUnavailable: no server, or it has no room for the stream.
        """
        ...

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
        """Store a message and return its sequence in its stream, once the server has confirmed it.

        ``rollup``: the message replaces all earlier ones on its subject. ``ttl_s``: it goes away by itself after
        so many whole seconds (0: never).

        ``message_id`` removes duplicates within two minutes (the first one's sequence comes back).
        ``expected_last`` is a fence: the last sequence on exactly this subject (0: none yet). It is looked at first;
        a fenced append repeated with its message id succeeds as long as it is still the last on its subject.

        Raises:
            Conflict: the fence failed; ``details["last"]`` where the server says it.
            MessageTooLarge: with size and limit.
            BusUnavailable: no stream takes the subject, the stream is full, or no server.
        """
        ...

    async def offer(
        self, subject: str, body: bytes, headers: Headers | None, *, expected_last: int, rollup: bool, ttl_s: float
    ) -> None:
        """``append`` without waiting for the server's word: half the price, and nobody learns of a refusal.

        Raises:
            MessageTooLarge, BusUnavailable: it was not sent.
        """
        ...

    async def last(self, subject: str) -> StoredMessage | None:
        """The newest message on exactly this subject."""
        ...

    async def last_of(self, subjects: Sequence[str]) -> dict[str, StoredMessage]:
        """The newest message on each of these subjects of one stream, where there is one, by subject."""
        ...

    def read(self, stream: str, subject: str, *, after: int = 0) -> AsyncGenerator[StoredMessage, None]:
        """Messages on ``subject`` (wildcards allowed) with sequence > ``after``, in order, to the present end."""
        ...

    async def consume(self, spec: ConsumerSpec) -> Consumer:
        """Create the durable if it is not there, and bind to it."""
        ...

    async def purge(self, stream: str, *, subject: str | None = None, below: int | None = None) -> int:
        """Remove messages on ``subject`` (None: all) with sequence < ``below`` (None: all); how many went."""
        ...

    async def delete(self, stream: str, sequence: int) -> bool:
        """Remove one message, wherever in the stream it lies; False if it was not there. Raises BusUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Entry:
    """A key's value. ``value`` is None where a watcher is told of a deletion or an expiry."""

    key: str
    value: bytes | None
    revision: int


class Bucket(Protocol):
    """A key-value bucket. Keys: letters, digits, ``_``, ``-``, ``=``, ``/`` and dots between tokens."""

    async def get(self, key: str) -> Entry | None:
        """The key's entry, or None."""
        ...

    async def put(self, key: str, value: bytes, *, revision: int | None = None) -> int:
        """Store and return the new revision. ``revision``: only if the key is still there (0: not there).

        Raises:
            Conflict: it is not.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the key. Idempotent."""
        ...

    async def entries(self) -> list[Entry]:
        """All live entries."""
        ...

    def watch(self) -> AsyncGenerator[Entry, None]:
        """Live entries first, then every change; of a key that changes faster than it is read, the newest.

        Survives reconnects. Close the generator to stop.
        """
        ...


class Buckets(Protocol):
    """Key-value buckets by name."""

    async def open(self, name: str, *, ttl_s: float = 0.0) -> Bucket:
        """The bucket, created if missing; entries expire ``ttl_s`` after their last put (0: never)."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobEntry:
    """A stored blob. ``unix_ms`` is when it was last put."""

    digest: str
    size: int
    unix_ms: int


class Blobs(Protocol):
    """Bodies too large for a message, by the SHA-256 of their content."""

    async def put(self, content: bytes) -> str:
        """Store (once) and return the digest, 64 hexadecimal digits."""
        ...

    async def get(self, digest: str) -> bytes:
        """The content, checked against its digest. Raises BusError if it is missing or does not match."""
        ...

    async def entries(self) -> list[BlobEntry]:
        """All blobs that are there."""
        ...

    async def delete(self, digest: str) -> None:
        """Remove a blob. Idempotent."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamUsage:
    """How much a stream holds. ``first`` and ``last`` are sequences; an empty stream has first = last + 1."""

    messages: int
    bytes: int
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerState:
    """How far a durable is. Everything on its subjects up to ``floor`` is settled.

    ``floor`` is the stream's last sequence when nothing is pending or held, so that an idle durable owes nothing.
    """

    name: str
    subjects: tuple[str, ...]
    floor: int
    pending: int
    held: int


class Inspector(Protocol):
    """What the server says about streams: for housekeeping, not for the path of a message."""

    async def usage(self, stream: str) -> StreamUsage:
        """How much the stream holds. Raises BusUnavailable; the message says when there is no such stream."""
        ...

    async def consumers(self, stream: str) -> list[ConsumerState]:
        """All durables of the stream. ``floor`` was read before what came in later: purging up to it is safe."""
        ...

    async def get(self, stream: str, sequence: int) -> StoredMessage | None:
        """One stored message, or None if it is gone."""
        ...

    def headers(self, stream: str, subject: str) -> AsyncGenerator[StoredMessage, None]:
        """As ``Streams.read`` from the first message on, but bodies stay with the server: each comes empty."""
        ...


class Bus(Protocol):
    """Core messaging, and the door to what is stored."""

    @property
    def streams(self) -> Streams:
        """Stored messages."""
        ...

    @property
    def inspector(self) -> Inspector:
        """What the server says about streams."""
        ...

    @property
    def buckets(self) -> Buckets:
        """Key-value."""
        ...

    @property
    def blobs(self) -> Blobs:
        """Large bodies."""
        ...

    @property
    def max_payload(self) -> int:
        """Largest body plus headers, in bytes."""
        ...

    async def publish(self, subject: str, body: bytes, headers: Headers | None = None, reply: str = "") -> None:
        """Send to whoever listens now. Raises MessageTooLarge, BusUnavailable."""
        ...

    async def request(self, subject: str, body: bytes, headers: Headers | None = None, *, timeout_s: float) -> Delivery:
        """Send and wait for one answer.

        Raises:
            NoResponders: at once, when nobody listens.
            RequestTimeout: after ``timeout_s``, give or take 50 ms.
            MessageTooLarge, BusUnavailable.
        """
        ...

    async def subscribe(
        self, subject: str, receiver: Receiver, *, queue: str = "", concurrency: int = 1, limit: int = 65_536
    ) -> Subscription:
        """Call ``receiver`` for each message, at most ``concurrency`` at a time (1: one by one, in order).

        ``queue``: share with others of that group. ``limit``: messages that may wait here; more are
        dropped, counted (``dropped`` on the bus) and logged, which is what core messaging promises. A
        receiver that raises is logged and counted; the subscription lives on.
        """
        ...

    @property
    def dropped(self) -> int:
        """Messages dropped here because a subscription's queue was full."""
        ...

    async def close(self) -> None:
        """Stop subscriptions and cancel their receivers, flush, answer every waiting request with BusUnavailable.

        Idempotent.
        """
        ...
