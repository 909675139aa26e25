"""Core NATS over a connection: publish, ask, and collect many answers, with one inbox for all."""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from antiphon.runtime.bus.base import NO_HEADERS, Delivery, Headers
from antiphon.runtime.bus.bell import Bell
from antiphon.runtime.bus.connection import Connection
from antiphon.runtime.bus.parser import Sink
from antiphon.runtime.bus.refusals import no_responders
from antiphon.runtime.bus.requests import Requests
from antiphon.runtime.bus.wire import parse_headers, status_of
from antiphon.runtime.errors import RequestTimeout


class Core:
    """What the NATS adapters of all four seams stand on."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.requests = Requests()
        self._collectors: dict[str, _Collector] = {}
        self._skip = len(self.requests.prefix)
        self._last = 0

    @property
    def closed(self) -> bool:
        """Whether the bus was closed by its user."""
        return self.connection.closing

    async def start(self) -> None:
        """Listen on the inbox."""
        await self.connection.listen(f"{self.requests.prefix}*", "", self._on_inbox)

    def new_inbox(self) -> str:
        """A prefix for an own subscription (``{prefix}.*``) that the common inbox does not hear."""
        self._last += 1
        return f"{self.requests.inbox}.own.{self._last}"

    async def listen(self, subject: str, queue: str, sink: Sink) -> Callable[[], Awaitable[None]]:
        """As ``Connection.listen``."""
        return await self.connection.listen(subject, queue, sink)

    async def publish(self, subject: str, body: bytes, headers: Headers | None = None, reply: str = "") -> None:
        """Send. Raises MessageTooLarge, BusUnavailable."""
        await self.connection.publish(subject, reply, headers, body)

    async def request(self, subject: str, body: bytes, headers: Headers | None, timeout_s: float) -> Delivery:
        """Send and wait for one answer. Raises as ``Bus.request``."""
        token, future = self.requests.open(subject, timeout_s)
        try:
            await self.connection.publish(subject, self.requests.prefix + token, headers, body)
            return await future
        except RequestTimeout as error:
            if self.connection.connected:
                raise
            raise self.connection.unavailable(error.message) from error
        finally:
            self.requests.forget(token)

    async def collect(self, subject: str, body: bytes, timeout_s: float) -> AsyncGenerator[Delivery, None]:
        """Send and yield every answer; the caller closes the generator after the last.

        Raises:
            NoResponders: nobody listens.
            BusUnavailable: nothing more for ``timeout_s``.
        """
        self._last += 1
        token = f"c{self._last}"
        collector = self._collectors[token] = _Collector(subject)
        forget = self.connection.on_interruption(collector.wake)
        try:
            await self.connection.publish(subject, self.requests.prefix + token, None, body)
            while True:
                delivery = await collector.next(timeout_s)
                if delivery is None:
                    raise self.connection.unavailable(f"an answer of several messages from {subject!r} stopped")
                yield delivery
        finally:
            forget()
            del self._collectors[token]

    def _on_inbox(self, subject: str, reply: str, body: bytes, block: bytes | None) -> None:
        token = subject[self._skip :]
        if block is None:
            delivery = Delivery(subject, body, NO_HEADERS, reply)
        elif not body and status_of(block) == 503:
            if token in self._collectors:
                self._collectors[token].nobody()
            else:
                self.requests.nobody(token)
            return
        else:
            delivery = Delivery(subject, body, parse_headers(block)[1], reply)
        collector = self._collectors.get(token)
        if collector is None:
            self.requests.answer(token, delivery)
        else:
            collector.add(delivery)


class _Collector:
    """Answers that have come; bounded by what the server was asked for."""

    def __init__(self, subject: str) -> None:
        self._subject = subject
        self._deliveries: deque[Delivery] = deque()
        self._bell = Bell()
        self._nobody = False

    def add(self, delivery: Delivery) -> None:
        """One more."""
        self._deliveries.append(delivery)
        self._bell.ring()

    def nobody(self) -> None:
        """The server says that nobody listens."""
        self._nobody = True
        self._bell.ring()

    def wake(self) -> None:
        """The connection was lost: what is missing will not come."""
        self._bell.ring()

    async def next(self, timeout_s: float) -> Delivery | None:
        """The next answer, or None when none comes. Raises NoResponders."""
        if not self._deliveries:
            await self._bell.wait(timeout_s)
        if self._nobody:
            raise no_responders(self._subject)
        return self._deliveries.popleft() if self._deliveries else None
