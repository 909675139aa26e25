"""What the writer has just written of runs, so that the next spans of a run need not read it back."""

from collections import OrderedDict
from typing import Any

from antiphon.runtime.store.runs import Run

LIMIT = 8_192  # of each; about 8 MB


class Recent:
    """Runs, traces' runs and facets that the file has, the least recently used forgotten first.

    There is one writer, so what it knows is what is stored. It knows nothing any more after a transaction that was
    rolled back, and after rows were deleted.
    """

    def __init__(self) -> None:
        self.runs: OrderedDict[str, Run] = OrderedDict()
        self.traces: OrderedDict[bytes, str] = OrderedDict()
        self.mapped: OrderedDict[tuple[bytes, str], None] = OrderedDict()
        self.last: OrderedDict[bytes, int] = OrderedDict()  # when a trace was last seen, as the file has it
        self.facets: OrderedDict[tuple[str, str, str], None] = OrderedDict()

    def clear(self) -> None:
        """Know nothing."""
        for known in (self.runs, self.traces, self.mapped, self.last, self.facets):
            known.clear()

    def trim(self) -> None:
        """Down to the limit; between transactions, so that nothing in use goes."""
        for known in (self.runs, self.traces, self.mapped, self.last, self.facets):
            _trim(known)


def _trim(known: OrderedDict[Any, Any]) -> None:
    while len(known) > LIMIT:
        known.popitem(last=False)
