"""Key-value buckets: revisions, expiry, watching."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from antiphon.runtime.bus.base import Bucket, Bus, Entry
from antiphon.runtime.errors import BusError, BusUnavailable, Conflict

Connect = Callable[[], Awaitable[Bus]]


@pytest.fixture
async def bucket(bus: Bus) -> Bucket:
    """An empty bucket."""
    return await bus.buckets.open("state")


async def _next(watch: AsyncGenerator[Entry, None], timeout_s: float = 5.0) -> tuple[str, bytes | None]:
    entry = await asyncio.wait_for(anext(watch), timeout_s)
    return entry.key, entry.value


class TestEntries:
    """``get``, ``put``, ``delete``, ``entries``."""

    async def test_put_and_get(self, connect: Connect) -> None:
        """A value is there for every client, with its revision."""
        one, two = await connect(), await connect()
        ours, theirs = await one.buckets.open("state"), await two.buckets.open("state")
        revision = await ours.put("a.b", b"1")
        assert await theirs.get("a.b") == Entry("a.b", b"1", revision)
        assert await theirs.put("a.b", b"") > revision
        found = await ours.get("a.b")
        assert found is not None and found.value == b""
        assert await ours.get("none") is None

    async def test_who_has_closed_reads_and_writes_no_more(self, connect: Connect) -> None:
        """What a node still does after its end, in a ``finally``, reaches nobody."""
        one, two = await connect(), await connect()
        bucket = await one.buckets.open("state")
        await bucket.put("k", b"1")
        await one.close()
        for late in (bucket.put("k", b"2"), bucket.delete("k"), bucket.get("k"), bucket.entries()):
            with pytest.raises(BusUnavailable):
                await late
        found = await (await two.buckets.open("state")).get("k")
        assert found is not None and found.value == b"1"

    async def test_compare_and_set(self, bucket: Bucket) -> None:
        """``revision`` must be the present one; 0 means that the key is not there."""
        first = await bucket.put("k", b"1", revision=0)
        second = await bucket.put("k", b"2", revision=first)
        with pytest.raises(Conflict) as refusal:
            await bucket.put("k", b"3", revision=first)
        assert refusal.value.details["last"] == str(second)
        with pytest.raises(Conflict):
            await bucket.put("k", b"3", revision=0)
        with pytest.raises(Conflict):
            await bucket.put("other", b"3", revision=second)

    async def test_delete(self, bucket: Bucket) -> None:
        """A deleted key is gone, may be created again, and deleting twice is fine."""
        await bucket.put("k", b"1")
        await bucket.put("stays", b"1")
        await bucket.delete("k")
        await bucket.delete("k")
        await bucket.delete("never")
        assert await bucket.get("k") is None
        assert [entry.key for entry in await bucket.entries()] == ["stays"]
        await bucket.put("k", b"2", revision=0)
        found = await bucket.get("k")
        assert found is not None and found.value == b"2"

    async def test_entries(self, bucket: Bucket) -> None:
        """All live entries, newest value each."""
        assert await bucket.entries() == []
        for key, value in (("a", b"1"), ("b", b"2"), ("a", b"3")):
            await bucket.put(key, value)
        assert {entry.key: entry.value for entry in await bucket.entries()} == {"a": b"3", "b": b"2"}

    async def test_expiry(self, bus: Bus) -> None:
        """An entry goes ``ttl_s`` after its last put."""
        bucket = await bus.buckets.open("leases", ttl_s=1.0)
        loop = asyncio.get_running_loop()
        await bucket.put("k", b"1")
        watch = bucket.watch()
        assert await _next(watch) == ("k", b"1")
        await asyncio.sleep(0.6)  # the behaviour is about time that passes
        put = loop.time()
        await bucket.put("k", b"2")
        assert await _next(watch) == ("k", b"2")
        assert await _next(watch, 10) == ("k", None)
        assert loop.time() - put > 0.9
        await watch.aclose()
        assert await bucket.get("k") is None
        assert await bucket.entries() == []
        await bucket.put("k", b"3", revision=0)

    async def test_ttl_stays(self, connect: Connect) -> None:
        """Who opens a bucket without a time to live leaves the one it has."""
        one, two = await connect(), await connect()
        await one.buckets.open("leases", ttl_s=1.0)
        bucket = await two.buckets.open("leases")
        await bucket.put("k", b"1")
        watch = bucket.watch()
        assert [await _next(watch, 10) for _ in range(2)] == [("k", b"1"), ("k", None)]
        await watch.aclose()

    async def test_buckets_are_apart(self, bus: Bus, bucket: Bucket) -> None:
        """The same key in another bucket is another key."""
        await bucket.put("k", b"1")
        other = await bus.buckets.open("other")
        assert await other.get("k") is None

    @pytest.mark.parametrize("key", ["", ".a", "a.", "a..b", "a b", "a*", ">", "ü"])
    async def test_illegal_key(self, bucket: Bucket, key: str) -> None:
        """A key NATS would not take is refused."""
        with pytest.raises(BusError):
            await bucket.put(key, b"")

    async def test_illegal_name(self, bus: Bus) -> None:
        """So is a bucket's name."""
        with pytest.raises(BusError):
            await bus.buckets.open("a.b")


class TestWatch:
    """``watch``."""

    async def test_live_first_then_changes(self, bucket: Bucket) -> None:
        """What is there, then every change, deletions with the value None."""
        await bucket.put("a", b"1")
        await bucket.put("gone", b"1")
        await bucket.delete("gone")
        watch = bucket.watch()
        assert await _next(watch) == ("a", b"1")
        await bucket.put("b", b"2")
        assert await _next(watch) == ("b", b"2")
        await bucket.put("a", b"3")
        assert await _next(watch) == ("a", b"3")
        await bucket.delete("b")
        assert await _next(watch) == ("b", None)
        await watch.aclose()

    async def test_empty_bucket(self, bucket: Bucket) -> None:
        """Watching an empty bucket waits for the first change."""
        watch = bucket.watch()
        first = asyncio.ensure_future(_next(watch))
        await asyncio.sleep(0.1)
        await bucket.put("a", b"1")
        assert await first == ("a", b"1")
        await watch.aclose()

    async def test_many_changes_end_with_the_newest(self, bucket: Bucket) -> None:
        """A watcher that is slow may skip values of a key, never the newest."""
        watch = bucket.watch()
        for number in range(600):
            await bucket.put("k", str(number).encode())
        async with asyncio.timeout(60):
            while (await anext(watch)).value != b"599":
                pass
        await watch.aclose()

    async def test_closing_ends_it(self, bus: Bus, bucket: Bucket) -> None:
        """A watcher of a bus that closes gets BusUnavailable."""
        watch = bucket.watch()
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0.1)
        await bus.close()
        with pytest.raises(BusUnavailable):
            await asyncio.wait_for(waiting, 60)

    async def test_two_watchers(self, connect: Connect) -> None:
        """Each watcher sees everything."""
        one, two = await connect(), await connect()
        bucket = await one.buckets.open("state")
        watches = [bucket.watch(), (await two.buckets.open("state")).watch()]
        await bucket.put("k", b"1")
        assert [await _next(watch) for watch in watches] == [("k", b"1")] * 2
        for watch in watches:
            await watch.aclose()
