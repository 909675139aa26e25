"""Large bodies travel as blobs, and a blob lives as long as somebody may need it."""

from collections.abc import AsyncGenerator

import pytest

from antiphon.runtime.bus.base import BlobEntry, Bus
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.delivery.bodies import BUCKET, INLINE_MAX, Reference, keep_blob, pack, refer, release, unpack
from antiphon.runtime.errors import BusError, MessageTooLarge
from antiphon.runtime.testing import MemoryBus
from antiphon.runtime.virtual_time import ManualClock
from antiphon.schemas.envelope import BLOB

LARGE = b"x" * (INLINE_MAX + 1)


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    """A bus with its streams."""
    found = MemoryBus()
    await ensure_streams(found)
    yield found
    await found.close()


async def references(bus: Bus) -> list[Reference]:
    """All there are."""
    bucket = await bus.buckets.open(BUCKET)
    return [Reference.of(entry) for entry in await bucket.entries()]


async def test_a_small_body_travels_as_it_is(bus: MemoryBus) -> None:
    """At the threshold nothing is stored and nothing is added."""
    body = LARGE[:-1]
    assert await pack(bus, body, {"k": "v"}, "default", "t") == (body, {"k": "v"})
    assert await unpack(bus, body, {"k": "v"}) == body
    assert await bus.blobs.entries() == []


async def test_a_large_body_is_named_by_its_digest(bus: MemoryBus) -> None:
    """The message is empty but for the header, the owner is written down, and the receiver gets the bytes."""
    body, headers = await pack(bus, LARGE, {"k": "v"}, "default", "a:b-1")
    assert (body, headers["k"], len(headers[BLOB])) == (b"", "v", 64)
    assert await unpack(bus, body, headers) == LARGE
    assert await references(bus) == [Reference(tenant="default", digest=headers[BLOB], owner="a:b-1")]


async def test_what_is_read_at_once_has_no_owner(bus: MemoryBus) -> None:
    """An ask leaves no reference behind."""
    body, headers = await pack(bus, LARGE, {}, "default", None)
    assert await unpack(bus, body, headers) == LARGE
    assert await references(bus) == []


async def test_over_the_limit(bus: MemoryBus) -> None:
    """Refused at the caller, with both numbers, before anything is stored."""
    with pytest.raises(MessageTooLarge, match=r"262145 bytes is over the limit of 262144; .*max_body_mb") as refusal:
        await pack(bus, LARGE, {}, "default", "t", max_bytes=INLINE_MAX)
    assert refusal.value.details == {"size": "262145", "limit": "262144"}
    assert await bus.blobs.entries() == []


async def test_a_missing_blob_is_an_error(bus: MemoryBus) -> None:
    """It names the digest."""
    with pytest.raises(BusError, match="abcd"):
        await unpack(bus, b"", {BLOB: "abcd" * 16})


async def test_release_sets_an_end_once(bus: MemoryBus) -> None:
    """A second release does not move it; what is not referred to is left alone; a new reference takes it back."""
    digest = await keep_blob(bus, b"content", "default", "t")
    for keep_s in (10, 99):
        await release(bus, ManualClock(unix_s=1), "default", "t", (digest, "0" * 64), keep_s=keep_s)
    assert [found.expires_unix_ms for found in await references(bus)] == [11_000]
    await refer(bus, digest, "default", "t")
    assert [found.expires_unix_ms for found in await references(bus)] == [0]


async def test_entries_name_blobs(bus: MemoryBus) -> None:
    """A kept blob is listed with its size."""
    digest = await keep_blob(bus, b"content", "default", "t")
    (entry,) = await bus.blobs.entries()
    assert entry == BlobEntry(digest=digest, size=7, unix_ms=entry.unix_ms)
