"""Carries finished spans and logs from wherever they end to the bus, in batches, and never makes anybody wait."""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from antiphon.runtime.clock import Clock
from antiphon.runtime.telemetry.codec import Pack, SpanRow, decode, encode_log, encode_span, packs, shard_of
from antiphon.runtime.telemetry.span import LightSpan
from antiphon.schemas.identity import new_id
from antiphon.schemas.telemetry import LogRecord, TelemetryBatch

INTERVAL_S: Final = 0.1  # what a killed node loses at most
WAKE_SPANS: Final = 512  # a batch goes out early when this many wait
LIMIT: Final = 16_384  # records of each kind that may wait
ANSWER_S: Final = 1.0  # of the first try: what was on its way to a broker that died is never answered, and all else
PUBLISH_TIMEOUT_S: Final = 5.0  # waits behind it. Each further try waits twice as long, up to this
RETRY_S: Final = 0.05  # before the second try, and twice as long each time
RETRY_MAX_S: Final = 1.0
OUTAGE_S: Final = 30.0  # a broker that is started again, or a cluster that elects a leader, is back by then
CLOSE_S: Final = 2.0

Publish = Callable[[bytes, str, int], Awaitable[None]]
Sink = Callable[[TelemetryBatch], None]

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedStats:
    """Counts since the start. ``failed``: batches lost: refused for half a minute."""

    batches: int
    spans: int
    logs: int
    dropped: int  # records refused because the buffer was full, or the feed closed
    failed: int
    waiting: int  # in the buffer, or being sent


class Feed:
    """A bounded buffer of spans and logs, and the task that empties it 100 ms after the first, or when 512 wait.

    ``publish`` stores a batch (msgpack; the id is the same when it is tried again) in a shard and returns when that is
    confirmed. All spans of a trace go to one of ``shards``, logs to the first;
    ``sinks`` get it as a value, before that and on the event loop. A full
    buffer refuses what comes (and counts it): the oldest spans are the parents, the worst ones to lose. Adding is safe
    from any thread; everything else belongs to the event loop.
    """

    def __init__(
        self,
        *,
        node: str,
        publish: Publish,
        clock: Clock,
        sinks: Sequence[Sink] = (),
        shards: int = 1,
        limit: int = LIMIT,
    ) -> None:
        self.unix_ns = clock.unix_ns
        self._node = node
        self._publish = publish
        self._id = new_id()  # node names come again
        self._sinks = tuple(sinks)
        self._shards = shards
        self._limit = limit
        # One list each for good: append, slice and del are atomic, whereas a swapped list could still be appended to.
        self._spans: list[bytes] = []  # encoded where they end: 10 % of an ask cheaper than kept whole until a flush
        self._logs: list[bytes] = []
        self._open: dict[LightSpan, None] = {}  # in order: a set of objects has another order in every run
        self._dropping = threading.Lock()
        self._dropped = 0
        self._sequence = 0
        self._sent_spans = 0
        self._sent_logs = 0
        self._failed = 0
        self._in_hand = 0
        self._closing = False
        self._refused = False  # the last batch: one line in the log for each outage
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._awake = False  # something was added since the buffer was last seen empty
        self._flushing = asyncio.Lock()

    # from any thread

    def add_span(self, row: SpanRow) -> None:
        """Take a span that has ended."""
        spans = self._spans
        waiting = len(spans)
        if waiting >= self._limit:
            self._drop()
            return
        try:
            spans.append(encode_span(row))
        except Exception:
            # A record that cannot be encoded is a mistake in the runtime; who ended the span must not suffer for it.
            _log.exception("telemetry_encode_failed", node=self._node, span=row.name)
            self._drop()
            return
        if waiting == WAKE_SPANS or not self._awake:
            self._hurry()

    def add_log(self, record: LogRecord) -> None:
        """Take a log event; it is the feed's from now on."""
        if len(self._logs) >= self._limit:
            self._drop()
            return
        try:
            self._logs.append(encode_log(record))
        except Exception:
            # Not logged: this is what logging calls.
            self._drop()
            return
        if not self._awake:
            self._hurry()

    def watch(self, span: LightSpan) -> None:
        """Write a start record for ``span`` if it still runs at the next interval."""
        self._open[span] = None
        if not self._awake:
            self._hurry()

    def unwatch(self, span: LightSpan) -> None:
        """``span`` has ended."""
        self._open.pop(span, None)

    def stats(self) -> FeedStats:
        """What has happened so far."""
        return FeedStats(
            batches=self._sequence,
            spans=self._sent_spans,
            logs=self._sent_logs,
            dropped=self._dropped,
            failed=self._failed,
            waiting=len(self._spans) + len(self._logs) + self._in_hand,
        )

    # on the event loop

    def start(self) -> None:
        """Begin to empty the buffer. Needs a running event loop."""
        self._loop = asyncio.get_running_loop()
        self._hurry()
        self._task = self._loop.create_task(self._run(), name=f"telemetry-feed-{self._node}")

    async def flush(self) -> None:
        """Send everything that is here now, and a start record of each watched span that runs."""
        async with self._flushing:
            open_spans = list(self._open)
            for span in open_spans:  # announced once
                self._open.pop(span, None)
            rows = (span.started() for span in open_spans)
            await self._send([encode_span(row) for row in rows if row is not None])

    async def close(self) -> None:
        """Send what is left, within two seconds; what comes later is dropped and counted. Idempotent."""
        task, self._task = self._task, None
        if task is None:
            return
        self._closing = True
        self._wake.set()
        try:
            async with asyncio.timeout(CLOSE_S):
                await task  # it may be sending; cancelled, what it has in hand would be lost
                await self.flush()
        except TimeoutError:
            _log.warning("telemetry_lost", node=self._node, deadline_s=CLOSE_S, records=self.stats().waiting)
        self._loop = None
        self._limit = 0

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due_s: float | None = None  # None: nothing is here, and nothing is due
        while not self._closing:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_s):
                    await self._wake.wait()
            self._wake.clear()
            if due_s is not None and loop.time() >= due_s:
                await self.flush()
                # In this order: what is added in between is seen here, or wakes us.
                self._awake = False
                self._awake = bool(self._spans or self._logs or self._open)
                due_s = loop.time() + INTERVAL_S if self._awake else None
                continue
            if due_s is None:
                due_s = loop.time() + INTERVAL_S
            if len(self._spans) > WAKE_SPANS:
                async with self._flushing:
                    await self._send([])

    async def _send(self, starts: list[bytes]) -> None:
        waiting = len(self._spans)
        while True:
            taken = self._spans[:WAKE_SPANS]
            del self._spans[: len(taken)]
            logs = self._logs[:WAKE_SPANS]
            del self._logs[: len(logs)]
            if not (starts or taken or logs):
                return
            self._in_hand = len(starts) + len(taken) + len(logs)
            for shard, spans in self._sharded([*starts, *taken]):  # starts first: readers see no end before its start
                for pack in packs(spans, () if shard else logs):
                    await self._send_pack(pack, shard)
                    self._in_hand -= len(pack.spans) + len(pack.logs)
            starts = []
            waiting -= len(taken)
            if waiting <= 0 and not self._logs:
                return

    def _sharded(self, spans: list[bytes]) -> Iterable[tuple[int, list[bytes]]]:
        if self._shards == 1:
            return ((0, spans),)
        found: dict[int, list[bytes]] = {0: []}  # also without spans: logs go there
        for span in spans:
            found.setdefault(shard_of(span, self._shards), []).append(span)
        return found.items()

    async def _send_pack(self, pack: Pack, shard: int) -> None:
        self._sequence += 1
        body = pack.encode(node=self._node, sequence=self._sequence, dropped=self._dropped)
        if self._sinks:
            batch = decode(body)
            for sink in self._sinks:
                self._hand(sink, batch)
        if await self._published(body, shard):
            self._sent_spans += len(pack.spans)
            self._sent_logs += len(pack.logs)
            self._refused = False
        else:
            self._failed += 1

    def _hand(self, sink: Sink, batch: TelemetryBatch) -> None:
        try:
            sink(batch)
        except Exception:
            _log.exception("telemetry_sink_failed", node=self._node, batch=batch.sequence)

    async def _published(self, body: bytes, shard: int) -> bool:
        loop = asyncio.get_running_loop()
        until_s, wait_s, answer_s = loop.time() + OUTAGE_S, RETRY_S, ANSWER_S
        while True:
            try:
                async with asyncio.timeout(answer_s):
                    await self._publish(body, f"{self._id}:{self._sequence}", shard)
                return True
            except Exception as error:  # whatever the bus raises: telemetry is lost, work goes on
                if loop.time() + wait_s > until_s:
                    if not self._refused:
                        self._refused = True
                        _log.warning(
                            "telemetry_publish_failed", node=self._node, batch=self._sequence, error=repr(error)
                        )
                    return False
            await asyncio.sleep(wait_s)
            wait_s, answer_s = min(2 * wait_s, RETRY_MAX_S), min(2 * answer_s, PUBLISH_TIMEOUT_S)

    def _drop(self) -> None:
        with self._dropping:
            self._dropped += 1

    def _hurry(self) -> None:
        loop = self._loop
        if loop is not None:
            self._awake = True
            with contextlib.suppress(RuntimeError):  # the loop closed meanwhile: nobody is left to hurry
                loop.call_soon_threadsafe(self._wake.set)
