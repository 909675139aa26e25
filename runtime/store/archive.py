"""From ANTIPHON_JOURNAL into the store: the journals of tasks that have ended.

A finished task's last batch holds its whole journal. It is written, then acked, and then the journal of a task that
succeeded shrinks to a marker. A crash in between is harmless: what was not acked comes again and is written once, and
what is left on the bus expires after the replay window.
"""

import asyncio
import sqlite3
from dataclasses import replace

import structlog

from antiphon.runtime.bus.base import Bus, Consumer, ConsumerSpec, Lease, StoredMessage
from antiphon.runtime.bus.topology import JOURNAL
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.bodies import read_blob, release, unpack
from antiphon.runtime.delivery.journal_codec import decode_batch, encode_batch
from antiphon.runtime.errors import BusError, BusUnavailable, Conflict, InvalidMessage, UnknownTask
from antiphon.runtime.store.journals import Finished, digests_of, whole
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store
from antiphon.schemas import subjects
from antiphon.schemas.envelope import BLOB, FINAL
from antiphon.schemas.journal import JournalBatch
from antiphon.schemas.task import TaskState

log = structlog.get_logger(__name__)

DURABLE = "archive"
FETCH = 64  # batches are up to 256 KiB
LINGER_S = 1.0  # by then a short task's last batch has replaced the others, which need not be looked at
IDLE_S = 5.0
RETRY_S = 1.0  # after a full disk, a lost connection or a missing blob

Taken = list[tuple[Lease, Finished]]


class Archiver:
    """Runs until cancelled. No task waits for it: it reads what they leave behind.

    The marker is the last batch without its entries. A purged subject would have no last sequence, and a worker that
    slept through its whole task could append to it as if it were the first. The journal of a task that failed or was
    cancelled stays until it expires: a person may redrive its dead letter. A dead task's is not final and stays.
    """

    def __init__(self, store: Store, bus: Bus, clock: Clock, *, replay_window_s: float) -> None:
        self._store = store
        self._bus = bus
        self._clock = clock
        self._replay_window_s = replay_window_s

    async def run(self) -> None:
        """Consume until cancelled. A lost connection or a full disk is logged and tried again."""
        spec = ConsumerSpec(stream=JOURNAL.name, name=DURABLE, subjects=JOURNAL.subjects)
        while True:
            try:
                consumer = await self._bus.streams.consume(spec)
                try:
                    while True:
                        if await self.archive(consumer) < FETCH:
                            await asyncio.sleep(LINGER_S)
                finally:
                    await consumer.stop()
            except (BusError, sqlite3.DatabaseError) as error:
                log.error("archive_failed", error=str(error), retry_s=RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def archive(self, consumer: Consumer) -> int:
        """Take what is there, or wait for some; how many messages it was. Raises BusError, DatabaseError."""
        leases = await consumer.fetch(FETCH, IDLE_S)
        final = [lease for lease in leases if FINAL in lease.message.headers]
        await asyncio.gather(*(lease.ack() for lease in leases if FINAL not in lease.message.headers))
        taken: Taken = []
        for lease in final:
            finished = await self._read(lease)
            if finished is not None and finished.batch.entries:
                taken.append((lease, finished))
            elif finished is not None:
                await lease.ack()  # a marker
        if taken:
            await self._write(taken)
            await asyncio.gather(*(self._settle(lease, finished) for lease, finished in taken))
        return len(leases)

    async def _read(self, lease: Lease) -> Finished | None:
        message = lease.message
        try:
            subject = subjects.parse(message.subject)
            batch = decode_batch(await unpack(self._bus, message.body, message.headers))
            blobs = {digest: await read_blob(self._bus, digest) for digest in digests_of(batch)}
        except BusUnavailable:
            raise
        except InvalidMessage as error:
            await self._reject(lease, error.message)
            return None
        except BusError as error:  # a blob is missing: asked for again until the message expires
            log.warning("journal_not_archived", subject=message.subject, error=error.message, retry_s=RETRY_S)
            await lease.nak(RETRY_S)
            return None
        return Finished(tenant=subject.tenant, batch=batch, blobs=blobs, ended_unix_ms=message.unix_ms)

    async def _write(self, taken: Taken) -> None:
        try:
            await self._store.apart(lambda: self._store.put_journals(finished for _, finished in taken))
        except sqlite3.DatabaseError:
            for lease, _ in taken:
                await lease.nak(RETRY_S)
            raise

    async def _settle(self, lease: Lease, finished: Finished) -> None:
        await lease.ack()
        if finished.batch.state != TaskState.SUCCEEDED:
            return
        message, batch = lease.message, finished.batch
        try:
            await self._bus.streams.append(
                message.subject,
                encode_batch(replace(batch, entries=())),
                {FINAL: batch.state},
                expected_last=message.sequence,
                rollup=True,
                ttl_s=self._replay_window_s,
            )
        except Conflict:
            return  # archived twice, or expired
        if BLOB in message.headers:
            digests = (message.headers[BLOB],)
            await release(self._bus, self._clock, finished.tenant, batch.task, digests, keep_s=0)

    async def _reject(self, lease: Lease, reason: str) -> None:
        message = lease.message
        log.error("journal_rejected", subject=message.subject, sequence=message.sequence, reason=reason[:500])
        await self._store.apart(
            lambda: self._store.reject(
                subject=message.subject, sequence=message.sequence, reason=reason, body=message.body
            )
        )
        await lease.ack()


async def journal_on_bus(bus: Bus, tenant: str, task: str) -> JournalBatch | None:
    """The task's journal as one batch; None if there is none, or only the marker of an archived one.

    ``state`` is empty while the task has not ended, and of a dead one. Values that are blobs are read.

    Raises:
        BusError: something cannot be read.
    """
    batches: list[JournalBatch] = []
    async for stored in bus.streams.read(JOURNAL.name, subjects.journal(tenant, task)):
        batches.append(await _batch(bus, stored))
    entries = tuple(entry for batch in batches for entry in batch.entries)
    if not entries:
        return None
    found = replace(batches[-1], entries=entries)
    blobs = {digest: await read_blob(bus, digest) for digest in digests_of(found)}
    return whole(found, blobs.__getitem__)


async def find_journal(bus: Bus, store: Reader, tenant: str, task: str) -> JournalBatch:
    """The task's journal, from the bus while it is there, else from the store.

    Raises:
        UnknownTask: neither has it.
        ConfigurationError: there is no store here that this version reads.
        BusError: something on the bus cannot be read.
    """
    found = await journal_on_bus(bus, tenant, task)
    found = found or await asyncio.to_thread(store.journal, tenant, task)
    if found is None:
        raise UnknownTask(
            f"no journal of a task {task}, on the bus or in the store: it recorded nothing, is unknown to tenant "
            f"{tenant!r}, or its journal is older than what is kept (settings retention_days and retention_mb)",
            task=task,
        )
    return found


async def _batch(bus: Bus, stored: StoredMessage) -> JournalBatch:
    return decode_batch(await unpack(bus, stored.body, stored.headers))
