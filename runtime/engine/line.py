"""The requests that wait, in the order in which they are served."""

import heapq
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from antiphon.runtime.engine.entry import Entry, State

_AGAIN: Final = 4.0  # times

_Item = tuple[int, float, int, Entry]  # priority, highest first; key of the program; number


class Rank(NamedTuple):
    """What orders requests, least first."""

    later: bool  # its tenant is owed nothing
    batch: bool
    served: float  # what its tenant has had, see ``Tenant.turn``
    priority: int  # the higher, the less
    key: float  # of its program, in seconds


class Line:
    """Who is next: guaranteed tenants, then online before batch, then fair among tenants, then the order within one.

    Within a tenant higher priority goes first. Among tenants it counts for nothing, since everybody says it of
    themselves; that work is batch can only be said to one's own cost.

    ``order``: "programs", the program with the least key first; or "arrival", by number alone. To the key of its
    program a call adds four times what it would take to compute the tokens that are not cached, ``missing_s``: once
    for itself and the rest because its pages push out others, who then compute theirs again. Without that, near
    saturation all programs take turns and none finds its pages; with it, mean program time was a third less. So a call
    with R seconds to compute, of a program that has had S, is overtaken by programs that come up to (S + 4 R) / AGING
    after its own, and by no later ones.
    """

    def __init__(self, order: Literal["programs", "arrival"], missing_s: Callable[[Entry], float]) -> None:
        self._programs = order == "programs"
        self._missing_s = missing_s
        self._heaps: dict[str, list[_Item]] = {}

    def push(self, entry: Entry) -> None:
        """In line, or in line again."""
        entry.state = State.WAITING
        name = entry.tenant.name if self._programs else ""
        heapq.heappush(self._heaps.setdefault(name, []), self._item(entry))

    def first(self, now_s: float) -> Entry | None:
        """Whose turn it is."""
        best: tuple[Rank, Entry] | None = None
        for name in list(self._heaps):
            item = self._head(name)
            if item is None:
                del self._heaps[name]
                continue
            rank = self._rank(item, now_s)
            if best is None or rank < best[0]:
                best = rank, item[3]
        return best[1] if best else None

    def pop(self, entry: Entry) -> None:
        """Take the one that ``first`` found, and that waits no longer, out of the line.

        Whoever was put back for it since may stand before it; then it is dropped when its turn comes, by its state.
        """
        heap = self._heaps[entry.tenant.name if self._programs else ""]
        if heap[0][3] is entry:
            heapq.heappop(heap)

    def rank(self, entry: Entry, now_s: float) -> Rank:
        """How little a request matters: in line the least goes first, and of those that run the most is put back."""
        return self._rank(self._item(entry), now_s)

    def _rank(self, item: _Item, now_s: float) -> Rank:
        later, served = item[3].tenant.turn(now_s) if self._programs else (False, 0.0)
        return Rank(later, item[0] > 0, served, item[0], item[1])

    def _item(self, entry: Entry) -> _Item:
        if not self._programs:
            return 0, float(entry.number), entry.number, entry
        key = entry.program.key
        if entry.state is not State.RUNNING:
            key += _AGAIN * self._missing_s(entry)
        return -entry.sequence.request.priority, key, entry.number, entry

    def _head(self, name: str) -> _Item | None:
        """The first of a tenant, after dropping who has ended and putting back who has had service or lost pages."""
        heap = self._heaps[name]
        while heap:
            item = heap[0]
            if item[3].state is not State.WAITING:
                heapq.heappop(heap)
                continue
            current = self._item(item[3])
            if current[1] <= item[1]:
                return item
            heapq.heapreplace(heap, current)
        return None
