"""The order in which a reader is shown what arrives in any order. Pure."""

from typing import NamedTuple

from antiphon.schemas.task import Gap, Position, Progress, Restarted, StreamBatch, StreamEnd, Token

AHEAD = 64  # batches kept while one before them is missing; the nodes still have those that do not fit

Shown = Token | Progress | Restarted | Gap


class Seen(NamedTuple):
    """An event, and where a reader who has seen it is."""

    position: Position
    event: Shown


class Ordering:
    """From batches to events. A batch of an earlier attempt is stale; a later attempt begins with ``Restarted``."""

    def __init__(self, after: Position) -> None:
        self.position = after
        self.ended = False  # nothing follows in this attempt
        self._ahead: dict[tuple[int, int], StreamBatch] = {}

    @property
    def broken(self) -> bool:
        """Whether something is missing before what has arrived."""
        return bool(self._ahead)

    def take(self, batch: StreamBatch) -> list[Seen]:
        """What can be shown now that ``batch`` is there."""
        if self._missing_before(batch):
            if len(self._ahead) < AHEAD:
                self._ahead[batch.attempt, batch.n] = batch
            return []
        return [*self._show(batch), *self._catch_up()]

    def give_up(self) -> list[Seen]:
        """What is missing will not come: it is shown as a ``Gap``, and then what had arrived behind it."""
        if not self._ahead:
            return []
        return [*self._show(self._ahead.pop(min(self._ahead))), *self._catch_up()]

    def _catch_up(self) -> list[Seen]:
        seen: list[Seen] = []
        for key in sorted(self._ahead):
            if self._missing_before(self._ahead[key]):
                break
            seen += self._show(self._ahead.pop(key))
        return seen

    def _missing_before(self, batch: StreamBatch) -> bool:
        attempt, n = self.position
        if batch.attempt <= attempt:
            return batch.attempt == attempt and batch.n > n
        return batch.n > min(n, batch.void_from(attempt))

    def _show(self, batch: StreamBatch) -> list[Seen]:
        seen: list[Seen] = []
        if batch.attempt < self.position.attempt:
            return seen
        if batch.attempt > self.position.attempt:
            began, void_from = self.position.n > 0, batch.void_from(self.position.attempt)
            self._skip_to(void_from, seen)
            self.position, self.ended = Position(batch.attempt, void_from), False
            if began:
                seen.append(Seen(self.position, Restarted(attempt=batch.attempt, n=void_from)))
        self._skip_to(batch.n, seen)
        for item in batch.items[self.position.n - batch.n :]:
            self.position = Position(batch.attempt, self.position.n + 1)
            if isinstance(item, StreamEnd):
                self.ended = True
            else:
                seen.append(Seen(self.position, item))
        return seen

    def _skip_to(self, n: int, seen: list[Seen]) -> None:
        attempt, next = self.position
        if n > next:
            self.position = Position(attempt, n)
            seen.append(Seen(self.position, Gap(n=next, missed=n - next)))
