"""What never arrived: gaps in the nodes' batch numbers, and what nodes had to drop."""

from collections import OrderedDict
from dataclasses import dataclass, field

_NODES = 1_024
_LATE = 64  # a batch this far behind the newest is of a node that began again, not a late one


@dataclass(slots=True)
class _Node:
    newest: int
    dropped: int
    missing: set[int] = field(default_factory=set)


class Sequences:
    """Counts over all nodes; a late batch closes its gap again."""

    def __init__(self) -> None:
        self._nodes: OrderedDict[str, _Node] = OrderedDict()
        self.gaps = 0
        self.dropped = 0

    def note(self, node: str, sequence: int, dropped: int) -> None:
        """A batch came."""
        known = self._nodes.get(node)
        if known is None:
            known = self._nodes[node] = _Node(sequence, 0)
            if len(self._nodes) > _NODES:
                self._nodes.popitem(last=False)
        elif sequence in known.missing:
            known.missing.discard(sequence)
            self.gaps -= 1
        elif sequence > known.newest:
            gap = sequence - known.newest - 1
            self.gaps += gap
            known.missing |= set(range(max(known.newest + 1, sequence - _LATE), sequence))
            known.missing = {n for n in known.missing if n > sequence - _LATE}
            known.newest = sequence
        elif sequence < known.newest - _LATE or (sequence == 1 and known.newest > 1):
            known.newest, known.dropped, known.missing = sequence, 0, set()
        self._nodes.move_to_end(node)
        self.dropped += max(dropped - known.dropped, 0)
        known.dropped = max(dropped, known.dropped)
