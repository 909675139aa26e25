"""Tasks that wait without slot or lease: put aside, found again, woken."""

import structlog

from antiphon.runtime.bus.base import Bucket, Bus
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address
from antiphon.schemas.parking import ParkedTask

BUCKET = "antiphon_parked"

log = structlog.get_logger()


class Parking:
    """The parked tasks of one tenant. The journal says what they wait for; this says that they do, and until when."""

    def __init__(self, bus: Bus, bucket: Bucket, tenant: str) -> None:
        self._bus = bus
        self._bucket = bucket
        self._tenant = tenant

    @classmethod
    async def open(cls, bus: Bus, tenant: str) -> "Parking":
        """The tenant's parked tasks on this bus. Raises BusError."""
        return cls(bus, await bus.buckets.open(BUCKET), tenant)

    @property
    def bucket(self) -> Bucket:
        """Where the records lie, for whoever watches them."""
        return self._bucket

    async def put(self, parked: ParkedTask) -> None:
        """Make it known that a task waits. Its body and spans stay in the journal. Idempotent."""
        record = parked.model_copy(update={"body_base64": "", "headers": {}, "spans": ()})
        await self._bucket.put(self.key(parked.task), record.model_dump_json().encode())

    async def get(self, task: str) -> ParkedTask | None:
        """The record of a task that waits now."""
        entry = await self._bucket.get(self.key(task))
        return None if entry is None or entry.value is None else ParkedTask.model_validate_json(entry.value)

    async def all(self) -> list[ParkedTask]:
        """The records of all that wait now. Raises BusError."""
        own = f"{self._tenant}."
        entries = [entry for entry in await self._bucket.entries() if entry.key.startswith(own)]
        return [ParkedTask.model_validate_json(entry.value) for entry in entries if entry.value is not None]

    async def remove(self, task: str) -> None:
        """The task waits no more. Idempotent."""
        await self._bucket.delete(self.key(task))

    async def wake(self, task: str) -> bool:
        """Send a parked task on its way again; False if it is not parked. Twice for one parking is once."""
        parked = await self.get(task)
        if parked is None:
            return False
        await self.wake_parked(parked)
        return True

    async def wake_parked(self, parked: ParkedTask) -> None:
        """Store the wake-up of this parking; whoever fetches it goes on from the journal. Raises BusError."""
        envelope = Envelope(run=parked.run, task=parked.task, parent=parked.parent, wake=parked.number)
        await self._bus.streams.append(
            subjects.task(self._tenant, Address(parked.agent, parked.handler), parked.lane),
            b"",
            envelope.headers(),
            message_id=f"{parked.task}:wake:{parked.number}",
        )
        log.info("task_woken", task=parked.task, number=parked.number)

    def key(self, task: str) -> str:
        """Under which the task's record lies."""
        return f"{self._tenant}.{task.replace(':', '=')}"  # a key has no colon
