"""A mapping that forgets what was used longest ago: the memory of detectors."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """At most ``limit`` values by key. Reading or writing a key makes it the newest."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._known)

    def get(self, key: K) -> V | None:
        """The value; None where there is none or it is forgotten."""
        if key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, key: K, value: V) -> None:
        """Keep a value, in place of an earlier one."""
        self._known[key] = value
        self._known.move_to_end(key)
        if len(self._known) > self._limit:
            self._known.popitem(last=False)

    def make(self, key: K, new: Callable[[], V]) -> V:
        """The value, ``new()`` where there is none."""
        found = self._known.get(key)
        if found is None:
            found = new()
            self.put(key, found)
        else:
            self._known.move_to_end(key)
        return found
