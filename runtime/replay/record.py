"""A run as its journals have it: what each task was given, what it did and what came of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from antiphon.runtime.errors import Unanswerable
from antiphon.schemas.identity import Address, derived_id
from antiphon.schemas.journal import Ended, Entry, EntryKind, JournalBatch


@dataclass(frozen=True, kw_only=True)
class RecordedTask:
    """One task that has ended. ``batch`` is its whole journal, with the values that were blobs."""

    batch: JournalBatch
    ended: Ended

    @property
    def id(self) -> str:
        """The task's id."""
        return self.batch.task

    @property
    def address(self) -> Address:
        """Who did it."""
        return Address(self.batch.agent, self.batch.handler)

    @cached_property
    def operations(self) -> Mapping[str, Entry]:
        """The last entry of each operation, by path, in the order in which they ended."""
        found: dict[str, Entry] = {}
        for entry in self.batch.entries:
            if entry.kind is EntryKind.OPERATION:
                found.pop(entry.path, None)
                found[entry.path] = entry
        return found

    @property
    def start_unix_ms(self) -> int:
        """When it began, as far as its journal says."""
        started = [entry.started_unix_ms for entry in self.batch.entries if entry.started_unix_ms]
        return min([*started, self.ended.started_unix_ms])

    @property
    def resumed_unix_ms(self) -> int:
        """When the handler began that came to the end: after a parking or another attempt, not at the beginning."""
        claims = [entry.started_unix_ms for entry in self.batch.entries if entry.kind is EntryKind.CLAIM]
        return max(claims, default=self.start_unix_ms)

    @property
    def took_s(self) -> float:
        """From its beginning to its end, waiting for people and children included."""
        return max(0, self.ended.ended_unix_ms - self.start_unix_ms) / 1000


@dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """The tasks of one run by id, callers first; never empty."""

    run: str
    tasks: Mapping[str, RecordedTask]

    @property
    def root(self) -> RecordedTask:
        """The task that somebody outside submitted; of a run that an event began, the first one."""
        return self.tasks.get(self.run) or next(iter(self.tasks.values()))

    def child(self, task: str, path: str) -> RecordedTask | None:
        """What the operation of ``task`` at ``path`` called or submitted; None if it has no journal."""
        return next((self.tasks[id] for id in children_of(task, path) if id in self.tasks), None)

    def below(self, task: RecordedTask) -> Iterator[RecordedTask]:
        """The task and everything it called."""
        yield task
        for path, entry in task.operations.items():
            found = self.child(task.id, path) if entry.operation == "call" else None
            if found is not None:
                yield from self.below(found)


def children_of(task: str, path: str) -> tuple[str, str]:
    """The ids that a called and a submitted child of an operation have."""
    return derived_id("child", task, path), derived_id("detached", task, path)


def recorded(run: str, journals: Iterable[JournalBatch]) -> RecordedRun:
    """The run that these journals are of.

    Raises:
        Unanswerable: there is none, or one that cannot be replayed: its task has not ended, or it was written by a
            version that did not keep what tasks are given.
    """
    tasks: list[RecordedTask] = []
    for batch in journals:
        if not batch.state:
            raise Unanswerable(f"task {batch.task} of run {run} has not ended, or is dead: only what ended is replayed")
        if batch.ended is None:
            raise Unanswerable(
                f"the journal of task {batch.task} does not say what the task was given: it was written by another "
                "version of antiphon, or the task was ended from outside; expected a task that its worker finished"
            )
        entries = tuple(replace(entry, digest="") if entry.digest else entry for entry in batch.entries)
        tasks.append(RecordedTask(batch=replace(batch, entries=entries), ended=batch.ended))
    if not tasks:
        raise Unanswerable(
            f"run {run} has no journal: only durable work (submit, call, events) is journaled, an ask is not, and a "
            "task that did nothing through ctx leaves none; older ones go with retention_days and retention_mb"
        )
    tasks.sort(key=lambda task: (task.id != run, task.start_unix_ms, task.id))
    return RecordedRun(run=run, tasks={task.id: task for task in tasks})
