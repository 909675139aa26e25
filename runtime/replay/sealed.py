"""The journal of a task that is done again: it answers, and nothing that is added reaches anybody."""

from collections.abc import Callable

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal import Journal, Owner
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch

_BY_PATH = frozenset({EntryKind.OPERATION, EntryKind.DRAW, EntryKind.GROUP, EntryKind.INTENT, EntryKind.RESOLVED})


class SealedJournal(Journal):
    """What a handler adds to its record is kept in ``added``."""

    def __init__(self, bus: Bus, clock: Clock, owner: Owner, history: History) -> None:
        super().__init__(bus, clock, owner, history)
        self.added: list[Entry] = []

    def note(self, entry: Entry) -> None:
        """Keep it, and answer by it from now on."""
        self.history.entries[entry.path] = entry
        self.added.append(entry)

    async def commit(self, entry: Entry) -> None:
        """As ``note``, for what would have been stored at once."""
        self.added.append(entry)


def history_of(batch: JournalBatch, keeps: Callable[[str], bool] = lambda path: True) -> History:
    """What the journal says of the paths that ``keeps`` accepts; of the last attempt also the error that ended it."""
    history = History()
    history.version = batch.version
    for entry in batch.entries:
        if entry.kind not in _BY_PATH or keeps(entry.path):
            history.take(entry)
    return history
