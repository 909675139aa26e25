"""What a batch of one callee takes, by its size: a straight line through what was seen."""

import statistics
from collections import deque

MIN_BATCHES = 5  # of two calls or more
_KEPT = 64  # single calls, and as many batches: the newest


class BatchCost:
    """Durations c0 + c1 * size, by least squares; c1 is at least 0."""

    def __init__(self) -> None:
        self._single: deque[tuple[int, int]] = deque(maxlen=_KEPT)
        self._batch: deque[tuple[int, int]] = deque(maxlen=_KEPT)

    def note(self, size: int, took_ns: int) -> None:
        """A batch of ``size`` calls, or a single call, took so long."""
        (self._batch if size > 1 else self._single).append((size, took_ns))

    def took_ns(self, size: int) -> tuple[int, int] | None:
        """What a batch of ``size`` takes, most and least: the line, and its standard error on either side.

        None where too few batches were seen, or all of one size.
        """
        seen = [*self._single, *self._batch]
        if len(self._batch) < MIN_BATCHES or len({size for size, _ in seen}) < 2:
            return None
        slope, base = statistics.linear_regression([size for size, _ in seen], [took for _, took in seen])
        if slope < 0:
            slope, base = 0.0, statistics.fmean(took for _, took in seen)
        error = statistics.fmean((took - base - slope * size) ** 2 for size, took in seen) ** 0.5
        line = base + slope * size
        return round(max(line + error, 0)), round(max(line - error, 0))
