"""Deletes blobs that nobody needs. One node at a time does it, by a key that expires."""

from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from antiphon.runtime.bus.base import BlobEntry, Bus
from antiphon.runtime.bus.topology import DEAD
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.bodies import BUCKET, Reference, release
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import Conflict, InvalidMessage
from antiphon.schemas import subjects
from antiphon.schemas.envelope import BLOB
from antiphon.schemas.task import DeadLetter

GRACE_S = 600.0  # from a blob's last put to the message that refers to it or reads it
PERIOD_S = 600.0
TURN_BUCKET = "antiphon_collector"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Buried:
    """What dead letters need: blobs they name, and everything of their tasks, as (tenant, task)."""

    digests: frozenset[str]
    tasks: frozenset[tuple[str, str]]

    def needs(self, reference: Reference) -> bool:
        """Whether a person may still send that work on its way again."""
        return reference.digest in self.digests or (reference.tenant, reference.owner) in self.tasks


NOBODY = Buried(digests=frozenset(), tasks=frozenset())


@dataclass(frozen=True, slots=True, kw_only=True)
class Garbage:
    """What may go."""

    references: tuple[Reference, ...]
    blobs: tuple[BlobEntry, ...]


def garbage(
    blobs: Iterable[BlobEntry], references: Iterable[Reference], buried: Buried, *, now_unix_ms: int
) -> Garbage:
    """References whose time has passed, and blobs past their grace without any; dead letters excepted.

    A blob outlives its last reference by a round, so that it is never judged by a reference that has just changed.
    """
    live = set(buried.digests)
    expired: list[Reference] = []
    for reference in references:
        live.add(reference.digest)
        if 0 < reference.expires_unix_ms <= now_unix_ms and not buried.needs(reference):
            expired.append(reference)
    oldest = now_unix_ms - int(GRACE_S * 1000)
    unused = tuple(blob for blob in blobs if blob.unix_ms < oldest and blob.digest not in live)
    return Garbage(references=tuple(expired), blobs=unused)


async def take_turn(bus: Bus, node: str) -> bool:
    """Whether this node is to collect now: one does, every PERIOD_S. Raises BusError."""
    bucket = await bus.buckets.open(TURN_BUCKET, ttl_s=PERIOD_S)
    try:
        await bucket.put("turn", node.encode(), revision=0)
    except Conflict:
        return False
    return True


async def collect(bus: Bus, clock: Clock, *, result_ttl_s: float) -> int:
    """Delete what nobody needs; how many blobs went. Raises BusError.

    Blobs are listed before references: one that is put now is not on the list, and one that is on it has long had
    its reference. What has changed since it was listed stays.
    """
    bucket = await bus.buckets.open(BUCKET)
    for entry in await bucket.entries():
        reference = Reference.of(entry)
        if not reference.expires_unix_ms:
            await _release_ended(bus, clock, reference, result_ttl_s)
    blobs = await bus.blobs.entries()
    references = [Reference.of(entry) for entry in await bucket.entries()]
    now_ms = clock.unix_ns() // 1_000_000
    found = garbage(blobs, references, NOBODY, now_unix_ms=now_ms)
    if found.references or found.blobs:  # only then is it worth reading the dead letters
        found = garbage(blobs, references, await _buried(bus), now_unix_ms=now_ms)
    for reference in found.references:
        current = await bucket.get(reference.key)
        if current is not None and current.value == reference.value:
            await bucket.delete(reference.key)
    unchanged = set(await bus.blobs.entries()) if found.blobs else set()
    gone = [blob for blob in found.blobs if blob in unchanged]
    for blob in gone:
        await bus.blobs.delete(blob.digest)
    if gone or found.references:
        log.info("blobs_collected", blobs=len(gone), references=len(found.references))
    return len(gone)


async def _release_ended(bus: Bus, clock: Clock, reference: Reference, result_ttl_s: float) -> None:
    """For a worker that died between the result and the release, and for tasks cancelled from outside."""
    if await bus.streams.last(subjects.result(reference.tenant, reference.owner)) is not None:
        await release(bus, clock, reference.tenant, reference.owner, (reference.digest,), keep_s=result_ttl_s)


async def _buried(bus: Bus) -> Buried:
    digests: set[str] = set()
    tasks: set[tuple[str, str]] = set()
    async for stored in bus.streams.read(DEAD.name, subjects.every(subjects.Kind.DEAD)):
        try:
            letter = decode(DeadLetter, stored.body)
        except InvalidMessage:
            continue  # published by somebody else: it names no blob of ours
        digests.update(filter(None, (letter.body_sha256, letter.headers.get(BLOB))))
        if letter.task:
            tasks.add((subjects.parse(stored.subject).tenant, letter.task))
    return Buried(digests=frozenset(digests), tasks=frozenset(tasks))
