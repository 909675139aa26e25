"""Blobs: content by its digest."""

import asyncio
import hashlib
import random
from collections.abc import Awaitable, Callable

import pytest

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.errors import BusError

Connect = Callable[[], Awaitable[Bus]]


@pytest.mark.parametrize("size", [0, 1, 131_072, 131_073, 3_000_000])
async def test_round_trip(connect: Connect, size: int) -> None:
    """Content of any size comes back to another client by the hex digest of its SHA-256."""
    one, two = await connect(), await connect()
    content = random.Random(size).randbytes(size)
    digest = await one.blobs.put(content)
    assert digest == hashlib.sha256(content).hexdigest()
    assert await two.blobs.get(digest) == content
    assert await one.blobs.get(digest) == content


async def test_stored_once(connect: Connect) -> None:
    """The same content put by several at once is stored once."""
    clients = [await connect() for _ in range(3)]
    content = random.Random(1).randbytes(300_000)
    digests = await asyncio.gather(*(client.blobs.put(content) for client in clients for _ in range(2)))
    assert len(set(digests)) == 1
    stored = [message async for message in clients[0].streams.read("OBJ_antiphon-blobs", "$O.antiphon-blobs.>")]
    assert len(stored) == 4  # three chunks and their record


async def test_entries_and_delete(connect: Connect) -> None:
    """What is stored is listed; what is deleted is gone with its chunks, and can be stored again."""
    one, two = await connect(), await connect()
    assert await one.blobs.entries() == []
    contents = [random.Random(seed).randbytes(200_000 + seed) for seed in (1, 2)]
    digests = [await one.blobs.put(content) for content in contents]
    listed = await two.blobs.entries()
    assert sorted((entry.digest, entry.size) for entry in listed) == sorted(
        zip(digests, (200_001, 200_002), strict=True)
    )
    await two.blobs.delete(digests[0])
    await two.blobs.delete(digests[0])
    assert [entry.digest for entry in await one.blobs.entries()] == [digests[1]]
    assert len([chunk async for chunk in one.streams.read("OBJ_antiphon-blobs", "$O.antiphon-blobs.C.>")]) == 2
    with pytest.raises(BusError, match=digests[0]):
        await two.blobs.get(digests[0])
    assert await one.blobs.put(contents[0]) == digests[0]
    assert await two.blobs.get(digests[0]) == contents[0]


async def test_put_again_counts_as_new(bus: Bus) -> None:
    """Another put of the same content moves its time, so that a collector leaves it alone."""
    digest = await bus.blobs.put(b"content")
    (first,) = await bus.blobs.entries()
    async with asyncio.timeout(60):
        while (await bus.blobs.entries())[0].unix_ms == first.unix_ms:
            assert await bus.blobs.put(b"content") == digest
    assert len(await bus.blobs.entries()) == 1


async def test_missing(bus: Bus) -> None:
    """A digest nobody stored is an error that names it."""
    with pytest.raises(BusError, match="abcd"):
        await bus.blobs.get("abcd" * 16)


async def test_damaged(connect: Connect) -> None:
    """Content that does not match its digest is not returned."""
    one, two = await connect(), await connect()
    digest = await one.blobs.put(random.Random(2).randbytes(200_000))
    async for chunk in one.streams.read("OBJ_antiphon-blobs", "$O.antiphon-blobs.C.>"):
        await one.streams.append(chunk.subject, b"more")
        break
    with pytest.raises(BusError, match="damaged"):
        await two.blobs.get(digest)
