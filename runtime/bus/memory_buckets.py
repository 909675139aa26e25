"""Key-value buckets of the in-memory bus."""

import asyncio
from collections.abc import AsyncGenerator, Callable

from antiphon.runtime.bus.base import Entry
from antiphon.runtime.bus.keys import check_key
from antiphon.runtime.bus.refusals import key_conflict


class MemoryStore:
    """What a bucket holds, shared by all who opened it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.ttl_s = 0.0
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

    def tell(self, entry: Entry) -> None:
        """A change."""
        self._news.pop(entry.key, None)
        self._news[entry.key] = entry
        self._some.set()

    def wake(self) -> None:
        """Some client has closed; it may be the watcher's own."""
        self._some.set()

    async def next(self, check_open: Callable[[], None]) -> Entry:
        """The oldest unread change. Raises BusUnavailable once the bus is closed."""
        check_open()
        while not self._news:
            self._some.clear()
            await self._some.wait()
            check_open()
        return self._news.pop(next(iter(self._news)))


class MemoryBucket:
    """A bucket as one client sees it."""

    def __init__(self, store: MemoryStore, check_open: Callable[[], None]) -> None:
        self._store = store
        self._check_open = check_open

    async def get(self, key: str) -> Entry | None:
        """The key's entry, or None."""
        self._check_open()
        check_key(key)
        return self._store.live.get(key)

    async def put(self, key: str, value: bytes, *, revision: int | None = None) -> int:
        """Store and return the new revision. Raises Conflict."""
        self._check_open()
        check_key(key)
        return self._store.put(key, value, revision)

    async def delete(self, key: str) -> None:
        """Remove the key. Idempotent."""
        self._check_open()
        check_key(key)
        self._store.drop(key)

    async def entries(self) -> list[Entry]:
        """All live entries."""
        self._check_open()
        return list(self._store.live.values())

    async def watch(self) -> AsyncGenerator[Entry, None]:
        """Live entries first, then every change."""
        watcher = MemoryWatcher(list(self._store.live.values()))
        self._store.watchers[watcher] = None
        try:
            while True:
                yield await watcher.next(self._check_open)
        finally:
            self._store.watchers.pop(watcher, None)
