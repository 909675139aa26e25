"""What the in-memory buses of one test share: who listens where, and what is stored.

Routing follows the server: wildcards, one member a queue group, no responders, and a publish on a stream's subject
is stored as well, whoever sent it.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

from antiphon.runtime.bus.base import Delivery, Headers, StreamSpec
from antiphon.runtime.bus.matching import matches, overlap
from antiphon.runtime.bus.memory_buckets import MemoryStore
from antiphon.runtime.bus.memory_streams import MemoryStream
from antiphon.runtime.bus.refusals import missing, overlapping, too_large
from antiphon.runtime.bus.wire import header_size
from antiphon.runtime.clock import Clock, LoopClock
from antiphon.runtime.errors import ConfigurationError

_ROUTES = 4096  # subjects whose listeners are remembered; the table is emptied when full


@dataclass(eq=False, slots=True)
class Interest:
    """One subscription, as the server sees it."""

    pattern: str
    queue: str
    offer: Callable[[Delivery], None]


class MemoryServer:
    """A NATS server of one process. Give the same one to several ``MemoryBus`` to connect them."""

    def __init__(self, *, clock: Clock | None = None, max_payload: int = 1_048_576) -> None:
        self.clock = clock or LoopClock()
        self.max_payload = max_payload
        self.inboxes: dict[str, Callable[[Delivery], None]] = {}
        self.streams: dict[str, MemoryStream] = {}
        self.stores: dict[str, MemoryStore] = {}
        self._interests: dict[Interest, None] = {}
        self._routes: dict[str, tuple[list[Interest], list[list[Interest]]]] = {}
        self._turn = 0

    def add(self, interest: Interest) -> None:
        """Somebody listens."""
        self._interests[interest] = None
        self._routes.clear()

    def remove(self, interest: Interest) -> None:
        """And no longer. Idempotent."""
        self._interests.pop(interest, None)
        self._routes.clear()

    def check_size(self, subject: str, body: bytes, headers: Headers | None) -> None:
        """Raises MessageTooLarge."""
        size = len(body) + header_size(headers)
        if size > self.max_payload:
            raise too_large(subject, size, self.max_payload)

    def route(self, delivery: Delivery) -> bool:
        """Hand a message to everyone it concerns; whether there was anyone."""
        stream = self.stream_of(delivery.subject)
        if stream is not None:
            sequence = stream.append(delivery.subject, delivery.body, delivery.headers)
            if delivery.reply:
                acknowledgement = json.dumps({"stream": stream.spec.name, "seq": sequence}).encode()
                self.deliver(Delivery(delivery.reply, acknowledgement))
        return self.deliver(delivery) or stream is not None

    def deliver(self, delivery: Delivery) -> bool:
        """Hand a message to those who listen now, storing nothing."""
        if delivery.subject.startswith("_INBOX."):
            inbox = self.inboxes.get(delivery.subject.rpartition(".")[0])
            if inbox is not None:
                inbox(delivery)
            return inbox is not None
        everyone, groups = self._route(delivery.subject)
        for interest in everyone:
            interest.offer(delivery)
        self._turn += 1
        for group in groups:
            group[self._turn % len(group)].offer(delivery)
        return bool(everyone or groups)

    def wake(self) -> None:
        """A client has closed: let its waiting fetches and watchers see that."""
        for stream in self.streams.values():
            for durable in stream.durables.values():
                durable.wake()
        for store in self.stores.values():
            for watcher in store.watchers:
                watcher.wake()

    def stream_of(self, subject: str) -> MemoryStream | None:
        """The stream that stores ``subject``."""
        for stream in self.streams.values():
            if stream.takes(subject):
                return stream
        return None

    def stream(self, name: str) -> MemoryStream:
        """The stream of that name. Raises BusUnavailable."""
        try:
            return self.streams[name]
        except KeyError:
            raise missing(name) from None

    def ensure(self, spec: StreamSpec) -> None:
        """Create a stream or widen it."""
        found = self.streams.get(spec.name)
        if found is None:
            taken = [theirs for other in self.streams.values() for theirs in other.spec.subjects]
            if any(overlap(ours, theirs) for ours in spec.subjects for theirs in taken):
                raise overlapping(spec.name, spec.subjects)
            self.streams[spec.name] = MemoryStream(spec, self.clock, self._advise)
            return
        if spec.owes_work and (not found.spec.owes_work or found.spec.max_age_s):
            raise ConfigurationError(
                f"stream {spec.name} owes work but its limits forget messages; expected discard=new and no age limit"
            )
        found.reconfigure(spec)

    def _advise(self, about: str, said: dict[str, object]) -> None:
        self.route(Delivery(f"$JS.EVENT.ADVISORY.CONSUMER.{about}", json.dumps(said).encode()))

    def _route(self, subject: str) -> tuple[list[Interest], list[list[Interest]]]:
        found = self._routes.get(subject)
        if found is None:
            here = [interest for interest in self._interests if matches(interest.pattern, subject)]
            groups: dict[str, list[Interest]] = {}
            for interest in here:
                if interest.queue:
                    groups.setdefault(interest.queue, []).append(interest)
            found = [interest for interest in here if not interest.queue], list(groups.values())
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            self._routes[subject] = found
        return found
