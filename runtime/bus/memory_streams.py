"""Streams of the in-memory bus: fences, the dedup window, limits, leases and redelivery."""

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import islice

from antiphon.runtime.bus.base import (
    ConsumerSpec,
    ConsumerState,
    Headers,
    Lease,
    StoredMessage,
    StreamSpec,
    StreamUsage,
)
from antiphon.runtime.bus.bell import Bell
from antiphon.runtime.bus.matching import is_pattern, matches
from antiphon.runtime.bus.refusals import conflict, full, stopped
from antiphon.runtime.bus.wire import header_size
from antiphon.runtime.clock import Clock

DEDUP_S = 120.0  # the server's default window


Advise = Callable[[str, dict[str, object]], None]  # an advisory's subject after its prefix, and what it says


class MemoryStream:
    """Messages by sequence, with an index by subject."""

    def __init__(self, spec: StreamSpec, clock: Clock, advise: Advise) -> None:
        self.spec = spec
        self.advise = advise
        self.last_sequence = 0
        self.durables: dict[str, MemoryDurable] = {}
        self._clock = clock
        self._messages: dict[int, StoredMessage] = {}
        self._by_subject: dict[str, dict[int, None]] = {}
        self._seen: dict[str, tuple[float, int]] = {}  # message id -> (when, sequence), oldest first
        self._bytes = 0
        self._ends: list[tuple[float, int]] = []  # (when, sequence) of messages with a TTL, a heap

    def takes(self, subject: str) -> bool:
        """Whether messages on ``subject`` are stored here."""
        return any(matches(pattern, subject) for pattern in self.spec.subjects)

    def reconfigure(self, spec: StreamSpec) -> None:
        """Take over the subjects and a larger byte limit."""
        limit = 0 if 0 in (spec.max_bytes, self.spec.max_bytes) else max(spec.max_bytes, self.spec.max_bytes)
        self.spec = StreamSpec(
            name=spec.name,
            subjects=spec.subjects,
            max_bytes=limit,
            max_age_s=spec.max_age_s,
            owes_work=spec.owes_work,
        )

    def append(self, subject: str, body: bytes, headers: Headers, expected_last: int | None = None) -> int:
        """Store and return the sequence. As in the server, the fence comes before the duplicate."""
        self._forget_old()
        message_id = headers.get("Nats-Msg-Id")
        if expected_last is not None:
            last = self._last_sequence(subject)
            if last != expected_last:
                if message_id and last and self._messages[last].headers.get("Nats-Msg-Id") == message_id:
                    return last
                raise conflict(subject, expected_last, last)
        if message_id and message_id in self._seen:
            return self._seen[message_id][1]
        self._make_room(subject, _size(subject, body, headers))
        self.last_sequence += 1
        sequence = self.last_sequence
        self._messages[sequence] = StoredMessage(
            subject, body, dict(headers), sequence, self._clock.unix_ns() // 1_000_000
        )
        self._by_subject.setdefault(subject, {})[sequence] = None
        self._bytes += _size(subject, body, headers)
        if headers.get("Nats-Rollup") == "sub":
            for earlier in list(self._by_subject[subject])[:-1]:
                self._remove(self._messages[earlier])
        if "Nats-TTL" in headers:
            end_s = self._clock.monotonic_s() + float(headers["Nats-TTL"].removesuffix("s"))
            heapq.heappush(self._ends, (end_s, sequence))
        if message_id:
            self._seen[message_id] = (self._clock.monotonic_s(), sequence)
        for durable in self.durables.values():
            durable.wake()
        return sequence

    def last(self, subject: str) -> StoredMessage | None:
        """The newest message on exactly this subject."""
        self._forget_old()
        sequence = self._last_sequence(subject)
        return self._messages[sequence] if sequence else None

    def get(self, sequence: int) -> StoredMessage | None:
        """One message, if it is still there."""
        self._forget_old()
        return self._messages.get(sequence)

    def select(self, patterns: tuple[str, ...], after: int) -> Iterator[StoredMessage]:
        """Messages on any of ``patterns`` with sequence > ``after``, in order."""
        self._forget_old()
        if len(patterns) == 1 and not is_pattern(patterns[0]):
            sequences = list(self._by_subject.get(patterns[0], ()))
            yield from (self._messages[sequence] for sequence in sequences if sequence > after)
            return
        for sequence in range(max(after + 1, next(iter(self._messages), 1)), self.last_sequence + 1):
            message = self._messages.get(sequence)
            if message is not None and any(matches(pattern, message.subject) for pattern in patterns):
                yield message

    def usage(self) -> StreamUsage:
        """How much is there."""
        self._forget_old()
        first = next(iter(self._messages), self.last_sequence + 1)
        return StreamUsage(messages=len(self._messages), bytes=self._bytes, first=first, last=self.last_sequence)

    def purge(self, subject: str | None, below: int | None) -> int:
        """Remove messages; how many went."""
        self._forget_old()
        gone = [
            message
            for message in self._messages.values()
            if (subject is None or matches(subject, message.subject)) and (below is None or message.sequence < below)
        ]
        for message in gone:
            self._remove(message)
        return len(gone)

    def delete(self, sequence: int) -> bool:
        """Remove one message; whether it was there."""
        message = self.get(sequence)
        if message is not None:
            self._remove(message)
        return message is not None

    def _last_sequence(self, subject: str) -> int:
        sequences = self._by_subject.get(subject)
        return next(reversed(sequences)) if sequences else 0

    def _make_room(self, subject: str, size: int) -> None:
        limit = self.spec.max_bytes
        if not limit:
            return
        if self.spec.owes_work and self._bytes + size > limit:
            raise full(self.spec.name, subject, size, self._bytes, limit)
        while self._messages and self._bytes + size > limit:
            self._remove(next(iter(self._messages.values())))

    def _remove(self, message: StoredMessage) -> None:
        del self._messages[message.sequence]
        sequences = self._by_subject[message.subject]
        del sequences[message.sequence]
        if not sequences:
            del self._by_subject[message.subject]
        self._bytes -= _size(message.subject, message.body, message.headers)

    def _forget_old(self) -> None:
        now = self._clock.monotonic_s()
        while self._seen:
            message_id, (when, _) = next(iter(self._seen.items()))
            if now - when <= DEDUP_S:
                break
            del self._seen[message_id]
        while self._ends and self._ends[0][0] <= now:
            ended = self._messages.get(heapq.heappop(self._ends)[1])
            if ended is not None:
                self._remove(ended)
        if self.spec.max_age_s:
            oldest = self._clock.unix_ns() // 1_000_000 - self.spec.max_age_s * 1000
            while self._messages and (first := next(iter(self._messages.values()))).unix_ms < oldest:
                self._remove(first)


class MemoryDurable:
    """A durable consumer: what is held by whom, what comes again, what is new."""

    def __init__(self, stream: MemoryStream, spec: ConsumerSpec) -> None:
        self.spec = spec
        self._stream = stream
        self._position = stream.last_sequence if spec.start == "new" else 0
        self._held: dict[int, asyncio.TimerHandle | None] = {}  # sequence -> end of lease; None: due again
        self._due: deque[int] = deque()
        self._deliveries: dict[int, int] = {}
        self._bell = Bell()

    def take(self, limit: int, check_open: Callable[[], None]) -> list[Lease]:
        """Up to ``limit`` leases: what is due again first, then what is new."""
        leases: list[Lease] = []
        while self._due and len(leases) < limit:
            sequence = self._due.popleft()
            message = self._stream.get(sequence)
            if sequence not in self._held or message is None:
                self.settle(sequence)
            else:
                leases.append(self._lease(message, check_open))
        room = min(limit - len(leases), self.spec.max_in_flight - len(self._held))
        if room > 0:
            for message in self._stream.select(self.spec.subjects, self._position):
                self._position = message.sequence
                leases.append(self._lease(message, check_open))
                room -= 1
                if not room:
                    break
        return leases

    def pending(self) -> int:
        """Messages not yet delivered to anybody."""
        return sum(1 for _ in self._stream.select(self.spec.subjects, self._position))

    def state(self) -> ConsumerState:
        """How far it is."""
        pending = self.pending()
        floor = self._position if pending else self._stream.last_sequence
        if self._held:
            floor = min(self._held) - 1
        return ConsumerState(
            name=self.spec.name, subjects=self.spec.subjects, floor=floor, pending=pending, held=len(self._held)
        )

    def behind(self) -> int:
        """As ``pending``, counted to 256 at most: it is asked for with every lease."""
        return sum(1 for _ in islice(self._stream.select(self.spec.subjects, self._position), 256))

    def settle(self, sequence: int) -> None:
        """Done with it. A late ack counts too."""
        timer = self._held.pop(sequence, None)
        if timer is not None:
            timer.cancel()
        self._deliveries.pop(sequence, None)
        self.wake()

    def hold(self, sequence: int, delay_s: float) -> None:
        """It comes again after ``delay_s`` unless it is settled before. Nothing happens if it was settled."""
        if sequence in self._held:
            timer = self._held[sequence]
            if timer is not None:
                timer.cancel()
            loop = asyncio.get_running_loop()
            self._held[sequence] = loop.call_later(delay_s, self._release, sequence)

    def wake(self) -> None:
        """Something may be there: let those who wait look again."""
        self._bell.ring()

    async def wait(self, timeout_s: float) -> None:
        """Until something may be there, or ``timeout_s`` has passed."""
        await self._bell.wait(timeout_s)

    def _lease(self, message: StoredMessage, check_open: Callable[[], None]) -> "MemoryLease":
        deliveries = self._deliveries.get(message.sequence, 0) + 1
        self._deliveries[message.sequence] = deliveries
        self._held[message.sequence] = None
        self.hold(message.sequence, self.spec.ack_wait_s)
        return MemoryLease(self, message, deliveries, self.behind(), check_open)

    def _release(self, sequence: int) -> None:
        if self.spec.max_deliveries and self._deliveries[sequence] >= self.spec.max_deliveries:
            stream, name, deliveries = self._stream.spec.name, self.spec.name, self._deliveries[sequence]
            self.settle(sequence)
            self._stream.advise(
                f"MAX_DELIVERIES.{stream}.{name}",
                {"stream": stream, "consumer": name, "stream_seq": sequence, "deliveries": deliveries},
            )
            return
        self._held[sequence] = None
        self._due.append(sequence)
        self.wake()


class MemoryLease:
    """A stored message in somebody's hands; once their bus is closed they can do nothing for it."""

    def __init__(
        self,
        durable: MemoryDurable,
        message: StoredMessage,
        deliveries: int,
        behind: int,
        check_open: Callable[[], None],
    ) -> None:
        self._behind = behind
        self._check_open = check_open
        self._durable = durable
        self._message = message
        self._deliveries = deliveries

    @property
    def message(self) -> StoredMessage:
        """What was fetched."""
        return self._message

    @property
    def deliveries(self) -> int:
        """How often it has been handed out."""
        return self._deliveries

    @property
    def behind(self) -> int:
        """How many waited behind it."""
        return self._behind

    async def ack(self) -> None:
        """Done."""
        self._check_open()
        self._durable.settle(self._message.sequence)

    async def nak(self, delay_s: float) -> None:
        """Hand it back."""
        self._check_open()
        self._durable.hold(self._message.sequence, max(delay_s, 0.0))

    async def extend(self) -> None:
        """Still at it."""
        self._check_open()
        self._durable.hold(self._message.sequence, self._durable.spec.ack_wait_s)


class MemoryConsumer:
    """One binding to a durable."""

    def __init__(self, durable: MemoryDurable, check_open: Callable[[], None]) -> None:
        self._durable = durable
        self._check_open = check_open
        self._stopped = False

    async def fetch(self, limit: int, timeout_s: float) -> list[Lease]:
        """Up to ``limit`` messages; empty when none came in ``timeout_s``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        if self._stopped:
            raise stopped(self._durable.spec.name)
        while not self._stopped:
            self._check_open()
            leases = self._durable.take(limit, self._check_open)
            remaining = deadline - loop.time()
            if leases or remaining <= 0:
                return leases
            await self._durable.wait(remaining)
        return []

    async def unsettled(self) -> int:
        """Messages that nobody is done with: not handed out yet, or handed out and not settled."""
        state = self._durable.state()
        return state.pending + state.held

    async def stop(self) -> None:
        """Unbind."""
        self._stopped = True
        self._durable.wake()


async def replay(stream: MemoryStream, subject: str, after: int) -> AsyncGenerator[StoredMessage, None]:
    """``read``, on what the stream holds when the first message is asked for."""
    for message in list(stream.select((subject,), after)):
        yield message


def _size(subject: str, body: bytes, headers: Headers) -> int:
    return len(subject) + len(body) + header_size(headers)
