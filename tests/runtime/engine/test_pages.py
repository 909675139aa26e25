"""The page pool: references, placement, eviction and the prefix index."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from antiphon.runtime.engine.engine_config import PAGE_TOKENS
from antiphon.runtime.engine.pages import PagePool, page_key, root_key


def keys(name: str, count: int) -> list[bytes]:
    """The names of the pages of one prompt."""
    found = [root_key(("salt", name))]
    for page in range(count):
        found.append(page_key(found[-1], [page] * PAGE_TOKENS))
    return found[1:]


def indexed(pool: PagePool, name: str, count: int, now_s: float = 0.0) -> list[int]:
    """A sequence that has computed ``count`` pages, which can be found by that name."""
    pages = pool.take(count, now_s=now_s)
    assert pages is not None
    for page, key in zip(pages, keys(name, count), strict=True):
        pool.index(page, key)
    return pages


def test_keys_tell_apart_what_differs() -> None:
    """A page's name depends on its ids, on all pages before it, and on tagged extras."""
    ids = list(range(PAGE_TOKENS))
    root = root_key(("salt", "a"))
    names = {
        root_key(),
        root,
        root_key(("adapter", "a")),
        root_key(("salt", "a"), ("salt", "")),
        page_key(root, ids),
        page_key(root, ids[::-1]),
        page_key(page_key(root, ids), ids),
        page_key(root_key(("salt", "b")), ids),
    }
    assert len(names) == 8


def test_a_sequence_gets_consecutive_pages_and_grows_into_its_room() -> None:
    """New sequences lie in one run each, with room between them for what they will need next."""
    pool = PagePool(32)
    first = pool.take(3, room=4, now_s=0.0)
    second = pool.take(2, room=4, now_s=0.0)
    assert (first, second) == ([0, 1, 2], [7, 8])
    assert pool.take(1, after=2, now_s=0.0) == [3]
    assert pool.take(1, after=8, now_s=0.0) == [9]


def test_room_is_given_up_before_anybody_goes_without() -> None:
    """Room is a wish: with nothing else empty its pages are taken, from the far end."""
    pool = PagePool(8)
    assert pool.take(2, room=6, now_s=0.0) == [0, 1]
    assert pool.take(2, now_s=0.0) == [7, 6]
    assert pool.take(1, after=1, now_s=0.0) == [2]
    pool.release([0, 1, 2], 0.0)
    assert pool.take(6, now_s=0.0) == [0, 1, 2, 3, 4, 5]
    assert pool.take(1, now_s=0.0) is None


def test_a_run_that_is_too_short_is_used_in_pieces() -> None:
    """Pages are found wherever they are empty."""
    pool = PagePool(7)
    pages = pool.take(7, now_s=0.0)
    assert pages is not None
    pool.release([0, 2, 3, 5], 0.0)
    assert sorted(pool.take(4, now_s=0.0) or []) == [0, 2, 3, 5]


def test_computed_pages_are_found_until_they_are_evicted() -> None:
    """A prefix is found as far as it is indexed; eviction takes what was released first, from its end."""
    pool = PagePool(6)
    old, new = indexed(pool, "old", 3), indexed(pool, "new", 3)
    pool.release(old, 1.0)
    pool.release(new, 2.0)
    assert (pool.used, pool.cached, pool.free) == (0, 6, 6)
    assert pool.match(keys("old", 3), 9) == old
    assert pool.match(keys("old", 3), 2) == old[:2]
    assert pool.match(keys("old", 3), 3, multiple=2) == old[:2]
    taken = pool.take(2, now_s=3.0)
    assert taken is not None and set(taken) == set(old[1:])
    assert pool.match(keys("old", 3), 9) == old[:1]
    assert pool.match(keys("new", 3), 9) == new


def test_a_held_page_goes_last() -> None:
    """Held pages outlast all others, even later ones, but not a need for pages; room is not such a need."""
    pool = PagePool(4)
    held, other = indexed(pool, "held", 2), indexed(pool, "other", 2)
    pool.release(held, 60.0)
    pool.release(other, 5.0)
    taken = pool.take(1, room=3, now_s=6.0)
    assert taken is not None and set(taken) < set(other)
    assert pool.match(keys("held", 2), 2) == held
    assert pool.take(2, now_s=7.0) is not None
    assert pool.match(keys("held", 2), 2) == held[:1]
    pool.pin(held[:1])
    assert pool.take(1, now_s=7.0) is None


def test_a_hold_is_only_made_longer_and_only_its_owner_lets_go() -> None:
    """Of two that hold a page the longer counts; letting go of the shorter changes nothing."""
    pool = PagePool(4)
    pages, other = indexed(pool, "held", 2), indexed(pool, "other", 2)
    pool.release(pages, 1.0)
    pool.release(other, 2.0)
    pool.hold(pages, 90.0)
    pool.hold(pages, 50.0)
    pool.let_go(pages, 50.0, 3.0)
    assert set(pool.take(2, now_s=4.0) or []) == set(other)
    pool.let_go(pages, 90.0, 3.0)
    assert not pool.idle(other) and pool.idle(pages) == 2
    assert set(pool.take(2, now_s=6.0) or []) == set(pages)


def test_of_two_pages_of_one_name_the_first_is_known() -> None:
    """Two sequences that computed the same leave one page in the index; the other is empty once released."""
    pool = PagePool(4)
    first = indexed(pool, "same", 1)
    second = indexed(pool, "same", 1)
    assert pool.match(keys("same", 1), 1) == first
    pool.release(first, 0.0)
    pool.release(second, 0.0)
    assert (pool.used, pool.cached) == (0, 1)


class Pool(RuleBasedStateMachine):
    """Sequences that come, share, grow and go, against counts kept by hand."""

    @initialize(total=st.integers(1, 24))
    def begin(self, total: int) -> None:
        """An empty pool."""
        self.pool = PagePool(total)
        self.sequences: list[list[int]] = []
        self.names: dict[bytes, tuple[int, int]] = {}  # key -> (page, what was written there)
        self.written: dict[int, int] = {}
        self.now_s = 0.0
        self.writes = 0

    def write(self, pages: list[int]) -> None:
        """Give pages new contents."""
        for page in pages:
            self.writes += 1
            self.written[page] = self.writes

    @rule(count=st.integers(1, 8), room=st.integers(0, 5), kept=st.integers(0, 8), chain=st.sampled_from("abc"))
    def arrive(self, count: int, room: int, kept: int, chain: str) -> None:
        """A sequence takes what is found of its chain, and new pages, all of which it computes."""
        self.now_s += 1
        names = keys(chain, kept)
        found = self.pool.match(names, kept)
        self.pool.pin(found)
        free = self.pool.free
        taken = self.pool.take(count, after=found[-1] if found else None, room=room, now_s=self.now_s)
        assert (taken is None) == (count > free)
        if taken is None:
            self.pool.release(found, self.now_s)
            return
        assert len(set(taken)) == count
        self.write(taken)
        pages = found + taken
        for page, key in list(zip(pages, names, strict=False))[len(found) :]:
            self.pool.index(page, key)
            if self.pool.find(key) == page:
                self.names[key] = page, self.written[page]
        self.sequences.append(pages)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data(), held_s=st.sampled_from([0.0, 3.0, 30.0]))
    def leave(self, data: st.DataObject, held_s: float) -> None:
        """A sequence ends, and holds its pages or not."""
        self.now_s += 1
        at = data.draw(st.integers(0, len(self.sequences) - 1))
        self.pool.release(self.sequences.pop(at), self.now_s + held_s)

    @rule(chain=st.sampled_from("abc"), until_s=st.sampled_from([5.0, 50.0, 500.0]), owner=st.booleans())
    def hold(self, chain: str, until_s: float, owner: bool) -> None:
        """Somebody holds what is computed of a chain, or lets go of it."""
        pages = [page for key in keys(chain, 8) if (page := self.pool.find(key)) is not None]
        if owner:
            self.pool.hold(pages, until_s)
        else:
            self.pool.let_go(pages, until_s, self.now_s)

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def grow(self, data: st.DataObject) -> None:
        """A sequence takes one page more."""
        pages = data.draw(st.sampled_from(self.sequences))
        free = self.pool.free
        taken = self.pool.take(1, after=pages[-1], room=1, now_s=self.now_s)
        assert (taken is None) == (free == 0)
        if taken is not None:
            self.write(taken)
            pages += taken

    @invariant()
    def counts_agree(self) -> None:
        """References are those of live sequences; used and free add up; nobody writes to a page that another has."""
        live = [page for pages in self.sequences for page in pages]
        assert self.pool.used == len(set(live))
        assert self.pool.used + self.pool.free == self.pool.total
        assert 0 <= self.pool.cached <= self.pool.free

    @invariant()
    def indexed_pages_keep_what_they_hold(self) -> None:
        """What is found by a name is what was written there when it got that name."""
        for key, (page, written) in self.names.items():
            if self.pool.find(key) == page:
                assert self.written[page] == written


Pool.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestPool = Pool.TestCase
