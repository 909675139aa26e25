"""From the bus into the store: batches and findings, written in its thread, acked once they are on disk."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import structlog
from pydantic import ValidationError

from antiphon.runtime.bus.base import Consumer, ConsumerSpec, Lease, Streams, StreamSpec
from antiphon.runtime.bus.topology import EVENTS, FINDINGS, TELEMETRY
from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import BusError, InvalidMessage
from antiphon.runtime.store.rows import check_batch
from antiphon.runtime.store.sqlite import ROWS_PER_TRANSACTION, Received, Store, Written
from antiphon.runtime.telemetry.codec import decode
from antiphon.schemas import subjects
from antiphon.schemas.finding import Finding
from antiphon.schemas.score import TOPIC, Score

log = structlog.get_logger(__name__)

DURABLE = "store"
LINGER_S = 0.1  # rows of small batches are collected this long, so that one transaction serves many
FETCH = 16  # batches are up to 256 KiB
IDLE_S = 0.5
ACK_WAIT_S = 10.0  # a write takes one at most; what went with a lost connection is back as soon as this
RETRY_S = 1.0  # after a full disk or a lost connection

T = TypeVar("T")
Taken = list[tuple[Lease, Received]]


class Listener(Protocol):
    """Who wants to know what was stored; called on the event loop, must not block."""

    def written(self, written: Written) -> None:
        """Spans and logs were stored."""
        ...

    def found(self, findings: Sequence[Finding]) -> None:
        """Findings were stored."""
        ...


class StoreWriter:
    """Runs until cancelled. Cancelling loses nothing: what was not acked comes again, and is stored once."""

    def __init__(self, store: Store, streams: Streams, clock: Clock, listener: Listener | None = None) -> None:
        self._store = store
        self._streams = streams
        self._clock = clock
        self._listener = listener
        self._consumer: Consumer | None = None
        self._turn = asyncio.Condition()

    async def run(self) -> None:
        """Consume until cancelled. A lost connection or a full disk is logged and tried again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(TELEMETRY, TELEMETRY.subjects, self._store_telemetry))
            group.create_task(self._follow(FINDINGS, FINDINGS.subjects, self._store_findings))
            group.create_task(self._follow(EVENTS, (subjects.every_event(TOPIC),), self._store_scores))
            group.create_task(self._upkeep())

    async def settle(self, timeout_s: float) -> bool:
        """Wait until all telemetry published before the call is stored; False if ``timeout_s`` passes first."""
        try:
            async with asyncio.timeout(timeout_s):
                # What was handed out to a connection that is lost comes again, so it counts too.
                while self._consumer is None or await self._consumer.unsettled():
                    await self._next_turn()
        except TimeoutError:
            return False
        return True

    async def _next_turn(self) -> None:
        async with self._turn:
            await self._turn.wait()

    async def _follow(
        self, stream: StreamSpec, taken: tuple[str, ...], store: Callable[[Consumer], Awaitable[None]]
    ) -> None:
        spec = ConsumerSpec(stream=stream.name, name=DURABLE, subjects=taken, ack_wait_s=ACK_WAIT_S)
        while True:
            try:
                consumer = await self._streams.consume(spec)
                if stream is TELEMETRY:
                    self._consumer = consumer
                try:
                    while True:
                        await store(consumer)
                finally:
                    await consumer.stop()
            except (BusError, sqlite3.DatabaseError) as error:
                log.error("store_consumer_failed", stream=stream.name, error=str(error), retry_s=RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _store_telemetry(self, consumer: Consumer) -> None:
        leases = await consumer.fetch(FETCH, IDLE_S)
        if leases:
            until_s = self._clock.monotonic_s() + LINGER_S
            taken = await self._read(leases)
            while _rows(taken) < ROWS_PER_TRANSACTION and (left_s := until_s - self._clock.monotonic_s()) > 0:
                taken += await self._read(await consumer.fetch(FETCH, left_s))
            await self._write(taken)
        async with self._turn:
            self._turn.notify_all()

    async def _read(self, leases: list[Lease]) -> Taken:
        taken: Taken = []
        for lease in leases:
            try:
                batch = decode(lease.message.body)
                check_batch(batch)
            except InvalidMessage as error:
                await self._reject(lease, error.message)
            else:
                taken.append((lease, Received(batch=batch, redelivered=lease.deliveries > 1)))
        return taken

    async def _write(self, taken: Taken) -> None:
        if not taken:
            return
        received = [item for _, item in taken]
        try:
            written = await self._in_thread(lambda: self._store.write(received))
        except sqlite3.DatabaseError:
            for lease, _ in taken:
                await lease.nak(RETRY_S)
            raise
        for lease, _ in taken:
            await lease.ack()
        if self._listener is not None:
            self._listener.written(written)

    async def _store_findings(self, consumer: Consumer) -> None:
        leases = await consumer.fetch(FETCH, IDLE_S)
        findings: list[Finding] = []
        good: list[Lease] = []
        for lease in leases:
            try:
                findings.append(Finding.model_validate_json(lease.message.body))
            except ValidationError as error:
                await self._reject(lease, str(error))
            else:
                good.append(lease)
        if findings:
            await self._in_thread(lambda: self._store.put_findings(findings))
            for lease in good:
                await lease.ack()
            if self._listener is not None:
                self._listener.found(findings)

    async def _store_scores(self, consumer: Consumer) -> None:
        leases = await consumer.fetch(FETCH, IDLE_S)
        scores: list[tuple[str, Score]] = []
        good: list[Lease] = []
        for lease in leases:
            try:
                scores.append(
                    (subjects.parse(lease.message.subject).tenant, Score.model_validate_json(lease.message.body))
                )
            except ValidationError as error:
                await self._reject(lease, str(error))
            else:
                good.append(lease)
        if scores:
            await self._in_thread(lambda: self._store.put_scores(scores))
            for lease in good:
                await lease.ack()

    async def _reject(self, lease: Lease, reason: str) -> None:
        message = lease.message
        log.error("store_message_rejected", subject=message.subject, sequence=message.sequence, reason=reason[:500])
        await self._in_thread(
            lambda: self._store.reject(
                subject=message.subject, sequence=message.sequence, reason=reason, body=message.body
            )
        )
        await lease.ack()

    async def _upkeep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            try:
                await self._in_thread(self._store.flush_rollups)
                await self._in_thread(self._store.sweep)
            except sqlite3.DatabaseError as error:
                log.error("store_upkeep_failed", error=str(error), retry_s=1.0)

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Run ``work``; once more, on an empty file, if it finds this one damaged."""
        try:
            return await self._store.apart(work)
        except sqlite3.DatabaseError as error:
            if not await self._store.apart(partial(self._store.start_anew, error)):
                raise
            return await self._store.apart(work)


def _rows(taken: Taken) -> int:
    return sum(len(item.batch.spans) + len(item.batch.logs) for _, item in taken)
