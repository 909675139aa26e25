"""Which sequence lies in which pages: found in the prefix cache, copied from another, or new."""

from enum import Enum, auto
from typing import Final

from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.entry import Entry, State
from antiphon.runtime.engine.pages import PagePool
from antiphon.runtime.engine.sharing import Sharing

INVARIANT_PAGES: Final = 4  # with batch_invariant, prompts are cut and found at multiples of this only
_ROOM_PAGES: Final = 4  # left behind a new sequence for its output, at most


class Placed(Enum):
    """What became of a request that was to get pages."""

    RUNNING = auto()  # it has them
    FOLLOWING = auto()  # another computes pages that it can use: it waits for those
    FULL = auto()  # so many are not free


class Placement:
    """Gives sequences their pages and takes them back."""

    def __init__(self, pool: PagePool, *, prefix_cache: bool, invariant: bool) -> None:
        self._pool = pool
        self._prefix_cache = prefix_cache
        self._invariant = invariant
        self._multiple = INVARIANT_PAGES if invariant else 1
        self._sharing = Sharing()

    def place(self, entry: Entry, reserve: int, now_s: float) -> Placed:
        """Find what is computed of the sequence, and get pages for the rest of its tokens.

        One token at least is left to compute. ``reserve`` pages stay free, for those that run to grow into.
        """
        sequence, pool = entry.sequence, self._pool
        found = self._found(entry)
        computed = len(found) * PAGE_TOKENS
        copy = self._last(entry, len(found))
        shared = self._sharing.common(entry, len(found), whole=self._multiple) if copy is None else None
        if shared is not None:
            other, position = shared
            if other.sequence.computed < position or other.copy is not None:
                entry.state = State.FOLLOWING
                other.followers.append((max(position, other.sequence.computed + 1), entry))
                return Placed.FOLLOWING
            if not self._invariant:
                copy = other.sequence.pages[len(found)], position
        new = -(-len(sequence.tokens) // PAGE_TOKENS) - len(found)
        left = pool.free - pool.idle(found) - new - reserve
        if left < 0:
            return Placed.FULL
        pool.pin(found)
        if copy is not None and pool.idle(copy[:1]) > left:  # the page to copy is one of those to take
            copy = None
        if copy is not None:
            pool.pin(copy[:1])
            computed = copy[1]
        self.let_go(entry, now_s)
        room = min(_ROOM_PAGES, -(-entry.limit // PAGE_TOKENS) - len(found) - new)
        taken = pool.take(new, after=found[-1] if found else None, room=room, now_s=now_s)
        assert taken is not None
        sequence.pages = found + taken
        sequence.computed = computed
        entry.copy = None if copy is None else (copy[0], taken[0])
        entry.indexed = len(found)
        entry.state = State.RUNNING
        if self._prefix_cache:
            self._sharing.offer(entry)
        return Placed.RUNNING

    def missing(self, entry: Entry) -> int:
        """How many tokens of a sequence without pages would have to be computed as things are."""
        return len(entry.sequence.tokens) - len(self._found(entry)) * PAGE_TOKENS

    def hold(self, entry: Entry, until_s: float) -> None:
        """Keep what is computed of a sequence without pages until then, or until it is let go."""
        entry.held_until_s = until_s
        self._pool.hold(self._computed(entry), until_s)

    def let_go(self, entry: Entry, now_s: float) -> None:
        """The sequence does not need its hold any more."""
        self._pool.let_go(self._computed(entry), entry.held_until_s, now_s)

    def grow(self, entry: Entry, now_s: float) -> None:
        """One page more, which must be free."""
        pages = entry.sequence.pages
        taken = self._pool.take(1, after=pages[-1], room=1, now_s=now_s)
        assert taken is not None
        pages += taken

    def computed(self, entry: Entry, now_s: float) -> list[Entry]:
        """The sequence's ``computed`` has advanced: its copy is done, its whole pages can be found by others.

        Returns who waited for them.
        """
        sequence = entry.sequence
        if entry.copy is not None:
            self._pool.release(entry.copy[:1], now_s)
            entry.copy = None
        if not self._prefix_cache:
            return []
        whole = sequence.computed // PAGE_TOKENS
        if self._invariant:  # what was computed as output, or in a shorter last chunk, has other roundings
            whole = min(whole, self._cut(len(sequence.request.prompt)))
        if whole > entry.indexed:
            names = entry.names(whole)
            for page in range(entry.indexed, whole):
                self._pool.index(sequence.pages[page], names[page])
            entry.indexed = whole
        if not entry.followers:
            return []
        woken = [other for position, other in entry.followers if position <= sequence.computed]
        entry.followers = [item for item in entry.followers if item[0] > sequence.computed]
        return woken

    def leave(self, entry: Entry, until_s: float, now_s: float) -> list[Entry]:
        """The sequence gives its pages back; those in the prefix cache are kept until ``until_s`` if possible.

        Returns who waited for what it was computing.
        """
        sequence = entry.sequence
        if entry.copy is not None:
            self._pool.release(entry.copy[:1], now_s)
            entry.copy = None
        self._pool.release(sequence.pages, until_s)
        self._sharing.withdraw(entry)
        sequence.pages = []
        sequence.computed = entry.indexed = 0
        woken = [other for _, other in entry.followers]
        entry.followers = []
        return woken

    def _computed(self, entry: Entry) -> list[int]:
        """All pages of the sequence that are in the cache, beyond gaps too."""
        names = entry.names(len(entry.sequence.tokens) // PAGE_TOKENS) if self._prefix_cache else []
        return [page for name in names if (page := self._pool.find(name)) is not None]

    def _found(self, entry: Entry) -> list[int]:
        """The computed pages of the sequence's beginning."""
        if not self._prefix_cache:
            return []
        tokens = len(entry.sequence.tokens)
        most = (tokens - 1) // PAGE_TOKENS
        if self._invariant:
            most = min(most, self._cut(len(entry.sequence.request.prompt)))
        return self._pool.match(entry.names(tokens // PAGE_TOKENS), most, self._multiple)

    def _last(self, entry: Entry, found: int) -> tuple[int, int] | None:
        """Where all is computed: the last page, to be copied and its last token computed again for what follows it."""
        tokens = len(entry.sequence.tokens)
        if self._invariant or not self._prefix_cache or (found + 1) * PAGE_TOKENS != tokens:
            return None
        page = self._pool.find(entry.keys[found + 1])
        return None if page is None else (page, tokens - 1)

    def _cut(self, tokens: int) -> int:
        """Pages of whole chunks in the first ``tokens``."""
        return tokens // (INVARIANT_PAGES * PAGE_TOKENS) * INVARIANT_PAGES
