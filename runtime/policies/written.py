"""What runs have written, in order: a result from before that must not answer them."""

from collections import OrderedDict
from typing import Final

KEEP: Final = 4_096  # runs; of those forgotten the latest write counts for all


class Written:
    """Numbers the writes of all runs, as far as this process sees them: its own, and peers elsewhere it waited for.

    What another node of the run wrote before it asked this one is not known here; a ttl is the tool's author's word
    that a read may be that old.
    """

    def __init__(self, keep: int = KEEP) -> None:
        self.count = 0
        """Writes so far: what begins now has seen all those up to this number."""
        self._keep = keep
        self._last: OrderedDict[str, int] = OrderedDict()
        self._floor = 0

    def note(self, run: str) -> None:
        """The run writes: said when a write begins and when it has ended."""
        self.count += 1
        self._last[run] = self.count
        self._last.move_to_end(run)
        if len(self._last) > self._keep:
            self._floor = self._last.popitem(last=False)[1]

    def last(self, run: str) -> int:
        """The number of the run's last write, or of one that may have been later; 0: it never wrote."""
        return self._last.get(run, self._floor)
