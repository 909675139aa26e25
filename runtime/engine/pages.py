"""The pool of cache pages: who refers to them, which one to take, which to evict, and where computed prefixes lie.

A page is *used* (referred to by sequences), *cached* (by none, but indexed: its keys and values are those of a known
prefix) or *empty*. Used and free pages, cached or empty, add up to the pool.
"""

import hashlib
import heapq
import json
import struct
from collections.abc import Iterable, Sequence
from typing import Final

from antiphon.runtime.engine.engine_config import PAGE_TOKENS

_IDS: Final = struct.Struct(f"<{PAGE_TOKENS}I")
_TAKEN, _EMPTY, _SPOKEN_FOR = b"\0", b"\1", b"\2"


def root_key(*extras: tuple[str, str]) -> bytes:
    """What a chain of page keys starts from: tagged, so that a salt is never taken for the digest of an adapter."""
    return hashlib.sha256(json.dumps(extras).encode()).digest()


def page_key(parent: bytes, ids: Sequence[int]) -> bytes:
    """The name of a page: SHA-256 over the name of the page before it and its own 64 token ids."""
    return hashlib.sha256(parent + _IDS.pack(*ids)).digest()


class PagePool:
    """Reference counts, placement, eviction and the prefix index of ``pages`` pages.

    Placement keeps a sequence's pages consecutive where it can: a sequence that grows gets the page after its last
    one, a new one the lowest run of empty pages that leaves it room. Eviction takes the page that was released the
    longest ago, the end of a prefix before its beginning; a page that is *held* counts as released in the future, so
    it goes when nothing else is left.
    """

    def __init__(self, pages: int) -> None:
        self.total = pages
        self.used = 0
        self.cached = 0
        self._references = [0] * pages
        self._map = bytearray(_EMPTY * pages)  # searched with find(): runs of empty pages at memchr's speed
        self._keys: list[bytes | None] = [None] * pages
        self._index: dict[bytes, int] = {}
        self._release: list[tuple[float, int, int] | None] = [None] * pages  # of cached pages: their entry in the heap
        self._order: list[tuple[float, int, int]] = []  # (released or held until, - position, page)

    @property
    def free(self) -> int:
        """Pages that no sequence refers to."""
        return self.total - self.used

    def find(self, key: bytes) -> int | None:
        """The computed page of that name."""
        return self._index.get(key)

    def match(self, keys: Sequence[bytes], most: int, multiple: int = 1) -> list[int]:
        """The pages of the longest computed prefix, at most ``most`` of them and a ``multiple``."""
        found: list[int] = []
        for key in keys[:most]:
            page = self._index.get(key)
            if page is None:
                break
            found.append(page)
        return found[: len(found) // multiple * multiple]

    def pin(self, pages: Iterable[int]) -> None:
        """Refer to pages once more."""
        for page in pages:
            if self._references[page] == 0:
                self._release[page] = None
                self.cached -= 1
                self.used += 1
            self._references[page] += 1

    def idle(self, pages: Iterable[int]) -> int:
        """How many of the pages no sequence refers to: so many fewer are free once they are pinned."""
        return sum(not self._references[page] for page in pages)

    def hold(self, pages: Sequence[int], until_s: float) -> None:
        """Those of the pages that are cached are kept until then, or longer if they were already."""
        for position, page in enumerate(pages):
            entry = self._release[page]
            if entry is not None and entry[0] < until_s:
                self._enqueue(page, until_s, position)

    def let_go(self, pages: Sequence[int], until_s: float, now_s: float) -> None:
        """Those of the pages that are held until exactly ``until_s`` are so no longer."""
        for position, page in enumerate(pages):
            entry = self._release[page]
            if entry is not None and entry[0] == until_s:
                self._enqueue(page, now_s, position)

    def take(self, count: int, *, after: int | None = None, room: int = 0, now_s: float) -> list[int] | None:
        """``count`` pages to write, or None if so many are not free.

        ``after`` is the page to continue from. ``room`` pages more are left to them to grow into, if that takes no
        held page; others get those only when nothing else is empty.
        """
        if count > self.free:
            return None
        while self._empty < count:
            self._evict()
        while self._empty < count + room and self._idle_before(now_s):
            self._evict()
        found: list[int] = []
        if after is not None:
            found = list(range(after + 1, after + 1 + self._growth(after, count)))
            self._occupy(found)
        while len(found) < count:
            start, length = self._run(count - len(found), room)
            run = list(range(start, start + length))
            found += run
            self._occupy(run)
        self._speak_for(found[-1], room)
        return found

    def release(self, pages: Sequence[int], until_s: float) -> None:
        """Refer to a sequence's pages once less. Those left without reference stay cached if they are indexed.

        ``until_s``: now, or the time until which they are held.
        """
        for position, page in enumerate(pages):
            self._references[page] -= 1
            if self._references[page]:
                continue
            self.used -= 1
            if self._keys[page] is None:
                self._map[page : page + 1] = _EMPTY
                continue
            self.cached += 1
            self._enqueue(page, until_s, position)
        if pages and not self._references[pages[-1]]:
            last = pages[-1]
            left = self._spoken_for(last)
            self._map[last + 1 : last + 1 + left] = _EMPTY * left

    def index(self, page: int, key: bytes) -> None:
        """A page is computed to its end and has that name. Of two pages of one name the first stays the known one."""
        if self._index.setdefault(key, page) == page:
            self._keys[page] = key

    def _enqueue(self, page: int, until_s: float, position: int) -> None:
        entry = self._release[page] = (until_s, -position, page)
        heapq.heappush(self._order, entry)
        if len(self._order) > 4 * self.total:  # most are of pages that were pinned, or held, since
            self._order = [entry for entry in self._release if entry is not None]
            heapq.heapify(self._order)

    @property
    def _empty(self) -> int:
        return self.total - self.used - self.cached

    def _idle_before(self, now_s: float) -> bool:
        while self._order and self._release[self._order[0][2]] is not self._order[0]:
            heapq.heappop(self._order)
        return bool(self._order) and self._order[0][0] <= now_s

    def _evict(self) -> None:
        while True:
            entry = heapq.heappop(self._order)
            page = entry[2]
            if self._release[page] is entry:
                break
        key = self._keys[page]
        assert key is not None  # only indexed pages are cached
        del self._index[key]
        self._keys[page] = self._release[page] = None
        self._map[page : page + 1] = _EMPTY
        self.cached -= 1

    def _growth(self, after: int, count: int) -> int:
        """How many of ``count`` pages can follow ``after`` directly."""
        following = self._map[after + 1 : after + 1 + count]
        return next((at for at, state in enumerate(following) if state == _TAKEN[0]), len(following))

    def _run(self, count: int, room: int) -> tuple[int, int]:
        """First page and length of the run to take for ``count`` pages: with room, else whole, else the longest half,
        quarter, … of it, else from the far end of what was left to somebody as room."""
        start = self._map.find(_EMPTY * (count + room))
        if start >= 0:
            return start, count
        while count:
            start = self._map.find(_EMPTY * count)
            if start >= 0:
                return start, count
            count //= 2
        return self._map.rfind(_SPOKEN_FOR), 1

    def _occupy(self, pages: Sequence[int]) -> None:
        for page in pages:
            self._references[page] = 1
            self._map[page : page + 1] = _TAKEN
        self.used += len(pages)

    def _spoken_for(self, last: int) -> int:
        rest = self._map[last + 1 :]
        return len(rest) - len(rest.lstrip(_SPOKEN_FOR))

    def _speak_for(self, last: int, room: int) -> None:
        following = self._map[last + 1 : last + 1 + room]
        length = len(following) - len(following.lstrip(_EMPTY + _SPOKEN_FOR))
        self._map[last + 1 : last + 1 + length] = _SPOKEN_FOR * length
