"""What the bus says after the run, or while it goes on: every task, its journal and its outcome."""

from collections import Counter
from dataclasses import dataclass, field

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.topology import JOURNAL, RESULTS, TASKS
from antiphon.runtime.client import Client
from antiphon.runtime.delivery.bodies import unpack
from antiphon.runtime.delivery.journal_codec import decode_batch
from antiphon.runtime.delivery.payload import decode
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address
from antiphon.schemas.journal import Entry
from antiphon.schemas.task import TaskResult


@dataclass(frozen=True, slots=True)
class Stored:
    """A task as it was first stored. ``parent`` empty: a root, or an event's."""

    task: str
    address: Address
    parent: str


@dataclass(frozen=True, slots=True)
class Ended:
    """An outcome, and when the stream took it."""

    result: TaskResult
    unix_ms: int


@dataclass(slots=True)
class Record:
    """All that was stored. ``outcomes`` counts the messages on each task's result subject: one, if all is well."""

    tasks: dict[str, Stored] = field(default_factory=dict)
    ends: dict[str, Ended] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    journals: dict[str, list[Entry]] = field(default_factory=dict)
    parked: set[str] = field(default_factory=set)
    owed: int = 0  # messages that a consumer has not settled
    _read: dict[str, int] = field(default_factory=dict)

    @property
    def open(self) -> set[str]:
        """Tasks without outcome."""
        return self.tasks.keys() - self.ends.keys()

    async def advance(self, bus: Bus) -> None:
        """Read what tasks and outcomes there are since last time. Raises BusError."""
        async for stored in bus.streams.read(
            TASKS.name, subjects.every(subjects.Kind.TASK), after=self._read.get(TASKS.name, 0)
        ):
            self._read[TASKS.name] = stored.sequence
            envelope = Envelope.from_headers(stored.headers)
            if not envelope.wake:
                address = subjects.parse_task(stored.subject)
                self.tasks.setdefault(envelope.task, Stored(envelope.task, address, envelope.parent))
        async for stored in bus.streams.read(
            RESULTS.name, subjects.every(subjects.Kind.RESULT), after=self._read.get(RESULTS.name, 0)
        ):
            self._read[RESULTS.name] = stored.sequence
            result = decode(TaskResult, await unpack(bus, stored.body, stored.headers))
            self.outcomes[result.task] += 1
            self.ends[result.task] = Ended(result, stored.unix_ms)

    async def complete(self, client: Client) -> None:
        """Read the rest, once nothing happens any more. Raises BusError."""
        bus = client.host.bus
        await self.advance(bus)
        async for stored in bus.streams.read(JOURNAL.name, subjects.every(subjects.Kind.JOURNAL)):
            task = subjects.parse_journal(stored.subject)
            batch = decode_batch(await unpack(bus, stored.body, stored.headers))
            self.journals.setdefault(task, []).extend(batch.entries)
        self.parked = {task for task in self.open if await client.host.parking.get(task) is not None}
        self.owed = sum(state.pending + state.held for state in await bus.inspector.consumers(TASKS.name))
