"""Large bodies: over 256 KiB a body travels as a blob, and a reference says who still needs it.

A reference is written before the message that refers, so that the collector (``collector.py``) never meets a blob that
a stored message needs and nobody has spoken for. Messages that are read at once (asks and their replies) need no
reference: a blob younger than the collector's grace is left alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from antiphon.runtime.bus.base import Bus, Entry, Headers
from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import Conflict, MessageTooLarge
from antiphon.schemas.envelope import BLOB

INLINE_MAX = 262_144  # bytes; Temporal's threshold for a claim check
MAX_BODY = 64 * 1024 * 1024  # bytes, unless the settings say otherwise (max_body_mb)
BUCKET = "antiphon_blob_refs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """That a task needs a blob. ``expires_unix_ms`` is 0 until the task has ended."""

    tenant: str
    digest: str
    owner: str
    expires_unix_ms: int = 0

    @classmethod
    def of(cls, entry: Entry) -> "Reference":
        """From the bucket."""
        tenant, digest, owner = entry.key.split(".")
        return cls(
            tenant=tenant, digest=digest, owner=owner.replace("=", ":"), expires_unix_ms=int(entry.value or b"0")
        )

    @property
    def key(self) -> str:
        """In the bucket. Task ids may have a colon, which keys may not, and never an equals sign."""
        return f"{self.tenant}.{self.digest}.{self.owner.replace(':', '=')}"

    @property
    def value(self) -> bytes:
        """In the bucket."""
        return str(self.expires_unix_ms).encode()


async def pack(
    bus: Bus, body: bytes, headers: Headers, tenant: str, owner: str | None, *, max_bytes: int = MAX_BODY
) -> tuple[bytes, dict[str, str]]:
    """The body and headers to send: a large body is stored as a blob for the task ``owner`` and named in a header.

    ``owner`` None: whoever gets the message reads it at once.

    Raises:
        MessageTooLarge: over ``max_bytes``, with both numbers.
        BusError: the blob or the reference could not be stored.
    """
    if len(body) > max_bytes:
        raise MessageTooLarge(
            f"a body of {len(body)} bytes is over the limit of {max_bytes}; send less, or raise max_body_mb everywhere",
            size=len(body),
            limit=max_bytes,
        )
    if len(body) <= INLINE_MAX:
        return body, dict(headers)
    digest = await bus.blobs.put(body) if owner is None else await keep_blob(bus, body, tenant, owner)
    return b"", {**headers, BLOB: digest}


async def unpack(bus: Bus, body: bytes, headers: Headers) -> bytes:
    """The body that was packed. What was read lately is not read again. Raises BusError if the blob is missing."""
    digest = headers.get(BLOB, "")
    return await read_blob(bus, digest) if digest else body


async def keep_blob(bus: Bus, content: bytes, tenant: str, owner: str) -> str:
    """Store a blob for the task ``owner``; its digest. Raises BusError."""
    digest = await bus.blobs.put(content)
    await refer(bus, digest, tenant, owner)
    return digest


async def read_blob(bus: Bus, digest: str) -> bytes:
    """The blob's content, checked. Raises BusError if it is missing or damaged."""
    return await bus.blobs.get(digest)


async def refer(bus: Bus, digest: str, tenant: str, owner: str) -> None:
    """The task needs this blob (again). Idempotent. Raises BusError."""
    bucket = await bus.buckets.open(BUCKET)
    reference = Reference(tenant=tenant, digest=digest, owner=owner)
    await bucket.put(reference.key, reference.value)


async def release(bus: Bus, clock: Clock, tenant: str, owner: str, digests: Iterable[str], *, keep_s: float) -> None:
    """The task has ended and its result is stored: its blobs may go ``keep_s`` from now (as long as results stay).

    Idempotent; whoever forgets it, or dies before, is made up for by the collector. Raises BusError.
    """
    bucket = await bus.buckets.open(BUCKET)
    expires = clock.unix_ns() // 1_000_000 + int(keep_s * 1000)
    for digest in digests:
        reference = Reference(tenant=tenant, digest=digest, owner=owner, expires_unix_ms=expires)
        entry = await bucket.get(reference.key)
        if entry is not None and entry.value == b"0":
            try:
                await bucket.put(reference.key, reference.value, revision=entry.revision)
            except Conflict:
                continue  # referred to again at this moment
