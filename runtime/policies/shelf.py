"""A bounded store of results: the least recently used go first, by number and by bytes."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Shelf(Generic[Item]):
    """Holds at most ``most`` items of together at most ``max_bytes``."""

    def __init__(self, *, most: int, max_bytes: int) -> None:
        self._most = most
        self._max_bytes = max_bytes
        self._items: OrderedDict[Hashable, tuple[Item, int]] = OrderedDict()
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: Hashable) -> Item | None:
        """The item, which is then the most recently used."""
        found = self._items.get(key)
        if found is None:
            return None
        self._items.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, item: Item, size: int) -> None:
        """Keep an item of ``size`` bytes in the place of the key's older one; one larger than all bytes is not kept."""
        self.drop(key)
        if size > self._max_bytes:
            return
        self._items[key] = item, size
        self.bytes += size
        while len(self._items) > self._most or self.bytes > self._max_bytes:
            self.bytes -= self._items.popitem(last=False)[1][1]

    def drop(self, key: Hashable) -> None:
        """Forget the item, if there is one."""
        found = self._items.pop(key, None)
        if found is not None:
            self.bytes -= found[1]
