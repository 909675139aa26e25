"""What running tasks have shown, as far as it fits: one ring of encoded batches a task, bounded as a whole. Pure."""

from collections import OrderedDict, deque
from typing import NamedTuple

from antiphon.schemas.task import Position

TASK_BYTES = 1 << 20  # of one task: minutes of text from one model
NODE_BYTES = 64 << 20  # of all tasks of a node; the task that was silent longest loses first
OVERHEAD_BYTES = 256  # of the objects around a batch, so that many small ones are bounded too
KEEP_S = 15.0  # after this node has done with a task: time enough for a reader to reconnect


class _Kept(NamedTuple):
    end: Position
    body: bytes


class _Ring:
    __slots__ = ("batches", "bytes", "left_s")

    def __init__(self) -> None:
        self.batches: deque[_Kept] = deque()
        self.bytes = 0
        self.left_s: float | None = None

    def drop(self) -> int:
        """Forget the oldest batch; what that frees."""
        freed = len(self.batches.popleft().body) + OVERHEAD_BYTES
        self.bytes -= freed
        return freed


class Rings:
    """The newest batches of each task, in the order in which they were shown."""

    def __init__(self) -> None:
        self._rings: OrderedDict[str, _Ring] = OrderedDict()  # the one silent longest first
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._rings)

    def add(self, task: str, end: Position, body: bytes) -> None:
        """Keep a batch; ``end`` is the position of a reader who has seen it.

        An attempt lower than the last one begins the task anew: somebody sent it on its way again after it was dead.
        """
        ring = self._rings.get(task)
        if ring is not None and ring.batches and end.attempt < ring.batches[-1].end.attempt:
            self._forget(task)
            ring = None
        if ring is None:
            ring = self._rings[task] = _Ring()
        self._rings.move_to_end(task)
        ring.left_s = None
        ring.batches.append(_Kept(end, body))
        size = len(body) + OVERHEAD_BYTES
        ring.bytes += size
        self.bytes += size
        while ring.bytes > TASK_BYTES:
            self.bytes -= ring.drop()
        while self.bytes > NODE_BYTES:
            silent, oldest = next(iter(self._rings.items()))
            self.bytes -= oldest.drop()
            if not oldest.batches:
                del self._rings[silent]

    def behind(self, task: str, position: Position) -> tuple[bytes, ...]:
        """All batches with something that a reader at ``position`` has not seen."""
        ring = self._rings.get(task)
        return () if ring is None else tuple(kept.body for kept in ring.batches if kept.end > position)

    def leave(self, task: str, now_s: float) -> None:
        """This node has done with the task, for now or for ever: ``sweep`` forgets it after KEEP_S."""
        ring = self._rings.get(task)
        if ring is not None:
            ring.left_s = now_s

    def sweep(self, now_s: float) -> None:
        """Forget what was left KEEP_S ago."""
        for task, ring in list(self._rings.items()):
            if ring.left_s is not None and now_s - ring.left_s >= KEEP_S:
                self._forget(task)

    def _forget(self, task: str) -> None:
        self.bytes -= self._rings.pop(task).bytes
