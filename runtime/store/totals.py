"""Sums over everything since this process began to write, by agent, operation and model: counters that only grow."""

import threading
from collections.abc import Mapping
from typing import Final

from antiphon.runtime.store.rollups import Cell, Key

MOST: Final = 2_000  # kinds of work; further ones are counted together

Kind = tuple[str, str, str]


class Totals:
    """Filled from roll-ups by one thread, read by others. The observability system's own work is left out."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._kinds: dict[Kind, Cell] = {}

    def add(self, cells: Mapping[Key, Cell]) -> None:
        """Take in what was just counted."""
        with self._guard:
            for key, cell in cells.items():
                if not key.obs:
                    self._of((key.agent, key.operation, key.model)).merge(cell)

    def read(self) -> dict[Kind, Cell]:
        """What was counted so far, as it is now."""
        with self._guard:
            return {kind: _copy(cell) for kind, cell in self._kinds.items()}

    def _of(self, kind: Kind) -> Cell:
        if kind not in self._kinds and len(self._kinds) >= MOST:
            kind = ("", "other", "")
        return self._kinds.setdefault(kind, Cell())


def _copy(cell: Cell) -> Cell:
    found = Cell()
    found.merge(cell)
    return found
