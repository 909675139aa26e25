"""The journals of a run, from the bus while they are there, else from the store."""

import asyncio
from typing import Final

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.errors import Unanswerable
from antiphon.runtime.replay.record import RecordedRun, children_of, recorded
from antiphon.runtime.store.archive import journal_on_bus
from antiphon.runtime.store.query import Reader
from antiphon.schemas.journal import EntryKind, JournalBatch

MAX_TASKS = 1_000  # of one run; each journal is up to some megabytes, all of them are held
_SENDS: Final = {"call": 0, "submit": 1}  # which of ``children_of`` such an operation has


async def collect(bus: Bus | None, store: Reader | None, tenant: str, run: str) -> RecordedRun:
    """The run with every task that has a journal. Without ``bus`` or ``store`` what the other one has must do.

    The store knows tasks by their run; on the bus they are found from the first one along its calls.

    Raises:
        Unanswerable: no journal is left, one cannot be replayed, or there are too many.
        ConfigurationError: there is no store here that this version reads.
        BusError: something on the bus cannot be read.
    """
    waiting = {run: None}
    if store is not None:
        waiting |= dict.fromkeys(await asyncio.to_thread(store.journals, tenant, run, limit=MAX_TASKS + 1))
    found: dict[str, JournalBatch | None] = {}
    while waiting:
        task = next(iter(waiting))
        del waiting[task]
        batch = None if bus is None else await journal_on_bus(bus, tenant, task)
        if batch is None and store is not None:
            batch = await asyncio.to_thread(store.journal, tenant, task)
        found[task] = batch
        if batch is None:
            continue
        if sum(each is not None for each in found.values()) > MAX_TASKS:
            raise Unanswerable(f"run {run} has more than {MAX_TASKS:,} tasks: replay a smaller one")
        for entry in batch.entries:
            if entry.kind is EntryKind.OPERATION and entry.operation in _SENDS:
                child = children_of(task, entry.path)[_SENDS[entry.operation]]
                if child not in found:
                    waiting[child] = None
    return recorded(run, [batch for batch in found.values() if batch is not None])
