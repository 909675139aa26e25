"""What a task's journal says, read back: a pure view of its batches.

Whose turn it is, how often it was tried, what it waits for, and the recorded result of each operation by path.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.parking import ParkedTask, Wait, WaitKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Who took a task over. ``counts``: as another attempt (not after a wake-up, a redrive or a drained node)."""

    node: str
    origin: int
    wake: int
    counts: bool

    def encode(self) -> bytes:
        """As the value of a CLAIM entry."""
        return msgspec.json.encode(self)


class History:
    """A journal's meaning. ``attempt`` is the last one that began; ``version`` that of the code which began it."""

    def __init__(self) -> None:
        self.version = ""
        self.origin = 0  # the TASKS message that owns the task; 0: none yet, or a redrive waits for its message
        self.attempt = 1
        self.shown = 0  # what the task has emitted
        self.starts: tuple[int, ...] = (0,)  # what it had when each attempt began, a drained node's included
        self.state = ""  # terminal, when the journal is closed
        self.number = 0  # of the last parking
        self.parked: ParkedTask | None = None  # the last parking; None if there was none
        self.is_parked = False
        self.entries: dict[str, Entry] = {}  # operations, draws and groups, by path
        self.intents: dict[str, Entry] = {}
        self.resolved: dict[str, Entry] = {}
        self.waited: dict[str, Wait] = {}  # children and approvals that it waited for when it parked, by id
        self.settled: set[str] = set()  # paths of errors that the handler had caught when the task parked
        self.blocks: set[str] = set()
        self.all: list[Entry] = []

    @classmethod
    def of(cls, batches: Iterable[JournalBatch]) -> "History":
        """Read batches in the order of the stream; errors that no later operation followed are left out."""
        history = cls()
        for batch in batches:
            history.add(batch)
        history._drop_unsettled()
        return history

    def add(self, batch: JournalBatch) -> None:
        """Take one more batch into account."""
        if not self.version:
            self.version, self.origin = batch.version, batch.origin
        self.state = batch.state
        self.shown = max(self.shown, batch.shown)
        for entry in batch.entries:
            self.take(entry)

    def take(self, entry: Entry) -> None:
        """Take one entry into account."""
        self.all.append(entry)
        kind = entry.kind
        if kind is EntryKind.CLAIM:
            self._drop_unsettled()  # as the one who claimed it did
            claim = msgspec.json.decode(entry.value, type=Claim)
            self.origin, self.is_parked = claim.origin, False
            self.attempt += claim.counts
            if claim.counts:
                self.starts = (*self.starts, self.shown)
        elif kind is EntryKind.RELEASE:
            self.attempt -= 1
        elif kind is EntryKind.PARK:
            self.parked = ParkedTask.model_validate_json(entry.value)
            self.number, self.is_parked = self.parked.number, True
            self.waited.update({wait.id: wait for wait in self.parked.waits if wait.id})
            self.settled.update(path for path, entry in self.entries.items() if entry.error)
        elif kind is EntryKind.REDRIVE:
            self.attempt, self.origin, self.is_parked = 1, 0, False
        elif kind is EntryKind.INTENT:
            self.intents[entry.path] = entry
            self.resolved.pop(entry.path, None)
        elif kind is EntryKind.RESOLVED:
            self.resolved[entry.path] = entry
        else:
            self.entries[entry.path] = entry
            if entry.blocks:
                self.blocks.update(entry.blocks)

    def left_open(self) -> tuple[list[str], list[str]]:
        """Children that the task waited for when it parked, without a recorded outcome; and its approvals."""
        done = {entry.path for entry in self.all} | self.entries.keys()
        children = [id for id, wait in self.waited.items() if wait.kind is WaitKind.TASK and wait.path not in done]
        approvals = [id for id, wait in self.waited.items() if wait.kind is WaitKind.APPROVAL]
        approvals += [
            msgspec.json.decode(entry.value)["id"] for entry in self.all if entry.operation == "approve" and entry.value
        ]
        return children, approvals

    def reached(self) -> dict[str, int]:
        """How far the handler had come: the highest counter of each branch (by its prefix, the main one's is empty)."""
        if not self.all:
            return {}
        waits = [wait.path for wait in self.parked.waits] if self.parked is not None else []
        found: dict[str, int] = {}
        for path in (*self.entries, *self.intents, *waits):
            steps = path.rstrip("~").split(".")
            for index in range(0, len(steps), 2):
                prefix = "".join(f"{step}." for step in steps[:index])
                found[prefix] = max(found.get(prefix, 0), int(steps[index]))
        return found

    def _drop_unsettled(self) -> None:
        """An error with nothing after it, not even a parking, ended its attempt: the next one tries again.

        One of a write without idempotency key stays: that write is never repeated.
        """
        paths = [(split(entry.path), entry.kind is EntryKind.GROUP) for entry in self.all if entry.path]
        for path, entry in list(self.entries.items()):
            if entry.error and path not in self.intents and path not in self.settled:
                mine = split(path)
                if not any(follows(other, mine, is_group=is_group) for other, is_group in paths):
                    del self.entries[path]


def split(path: str) -> tuple[int | str, ...]:
    """``3.b.1`` as (3, "b", 1); a mark after the counter (``3~``, the deadline of operation 3) is left out."""
    return tuple(int(step.rstrip("~")) if index % 2 == 0 else step for index, step in enumerate(path.split(".")))


def follows(later: tuple[int | str, ...], earlier: tuple[int | str, ...], *, is_group: bool) -> bool:
    """Whether the handler reached ``later`` only after it was done with ``earlier``.

    True in the same branch or one that encloses it, with a higher counter; and for a group that encloses it.
    """
    for index, (a, b) in enumerate(zip(later, earlier, strict=False)):
        if a != b:
            return index % 2 == 0 and int(a) > int(b)
    return is_group and len(later) < len(earlier)
