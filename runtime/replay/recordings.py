"""Recorded answers by request: for operations that are made again somewhere else."""

from collections.abc import Iterable

from antiphon.runtime.delivery.recorded import fingerprint
from antiphon.runtime.policies.chain import Operation
from antiphon.runtime.replay.record import RecordedRun
from antiphon.schemas.journal import Entry

_Key = tuple[str, str, str]


class Recordings:
    """The operations of a run by kind, target and request. Equal requests are answered in their order, then the last.

    The nearest recording of a request is that of the same request: one that merely resembles it would be a guess.
    """

    def __init__(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Of ``entries``, each with its task."""
        self._found: dict[_Key, list[tuple[str, Entry]]] = {}
        for task, entry in entries:
            self._found.setdefault((entry.operation, entry.target, entry.request), []).append((task, entry))
        self._given: dict[_Key, int] = {}

    @classmethod
    def of(cls, run: RecordedRun) -> "Recordings":
        """Everything that the run's journals have."""
        return cls((task.id, entry) for task in run.tasks.values() for entry in task.operations.values())

    def find(self, operation: Operation) -> Entry | None:
        """The recording of the same request: at the same place if there is one; None if it was never made."""
        key = (operation.kind.value, operation.target, fingerprint(operation.body))
        known = self._found.get(key)
        if known is None:
            return None
        return self._next(operation, key, known)

    def stand_in(self, operation: Operation) -> Entry | None:
        """What another request to the same target was answered: at the same place if there is one, else in order."""
        key = (operation.kind.value, operation.target, "")
        known = [
            each for (kind, target, _), found in self._found.items() if (kind, target) == key[:2] for each in found
        ]
        return self._next(operation, key, known) if known else None

    def _next(self, operation: Operation, key: _Key, known: list[tuple[str, Entry]]) -> Entry:
        given = self._given[key] = self._given.get(key, 0) + 1
        here = (operation.scope.task, operation.path)
        same = next((entry for task, entry in known if (task, entry.path) == here), None)
        return same or known[min(given, len(known)) - 1][1]
