"""Key-value buckets of the in-memory bus."""

import asyncio
from collections.abc import AsyncGenerator

from antiphon.runtime.bus.base import Entry
from antiphon.runtime.bus.keys import check_key
from antiphon.runtime.errors import Conflict


class MemoryStore:
    """What a bucket holds, shared by all who opened it."""

    def __init__(self, name: str, ttl_s: float) -> None:
        self.name = name
        self.ttl_s = ttl_s
        self.live: dict[str, Entry] = {}
        self.watchers: dict[MemoryWatcher, None] = {}
        self._revision = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def put(self, key: str, value: bytes, revision: int | None) -> int:
        """Store under the next revision. Raises Conflict."""
        found = self.live.get(key)
        if revision is not None and revision != (found.revision if found else 0):
            raise key_conflict(self.name, key, revision, found.revision if found else 0)
        self._revision += 1
        self.live[key] = entry = Entry(key, value, self._revision)
        self._disarm(key)
        if self.ttl_s:
            self._timers[key] = asyncio.get_running_loop().call_later(self.ttl_s, self.drop, key)
        self._tell(entry)
        return self._revision

    def drop(self, key: str) -> None:
        """Remove, by deletion or expiry."""
        self._disarm(key)
        if self.live.pop(key, None) is not None:
            self._revision += 1
            self._tell(Entry(key, None, self._revision))

    def _disarm(self, key: str) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _tell(self, entry: Entry) -> None:
        for watcher in self.watchers:
            watcher.tell(entry)


class MemoryWatcher:
    """What one watcher has not read yet: the newest entry a key, so it is bounded by the number of keys."""

    def __init__(self, entries: list[Entry]) -> None:
        self._news: dict[str, Entry] = {entry.key: entry for entry in entries}
        self._some = asyncio.Event()
        if entries:
            self._some.set()

    def tell(self, entry: Entry) -> None:
        """A change."""
        self._news.pop(entry.key, None)
        self._news[entry.key] = entry
        self._some.set()

    async def next(self) -> Entry:
        """The oldest unread change."""
        await self._some.wait()
        entry = self._news.pop(next(iter(self._news)))
        if not self._news:
            self._some.clear()
        return entry


class MemoryBucket:
    """A bucket as one client sees it."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def get(self, key: str) -> Entry | None:
        """The key's entry, or None."""
        check_key(key)
        return self._store.live.get(key)

    async def put(self, key: str, value: bytes, *, revision: int | None = None) -> int:
        """Store and return the new revision. Raises Conflict."""
        check_key(key)
        return self._store.put(key, value, revision)

    async def delete(self, key: str) -> None:
        """Remove the key. Idempotent."""
        check_key(key)
        self._store.drop(key)

    async def entries(self) -> list[Entry]:
        """All live entries."""
        return list(self._store.live.values())

    async def watch(self) -> AsyncGenerator[Entry, None]:
        """Live entries first, then every change."""
        watcher = MemoryWatcher(list(self._store.live.values()))
        self._store.watchers[watcher] = None
        try:
            while True:
                yield await watcher.next()
        finally:
            self._store.watchers.pop(watcher, None)


def key_conflict(bucket: str, key: str, expected: int, found: int) -> Conflict:
    """The error of a compare-and-set."""
    return Conflict(
        f"key {key!r} of bucket {bucket!r} is at revision {found}, expected {expected}; read it and decide again",
        last=found,
    )
