"""Work that the server will not hand out again: buried, and given its outcome, though no worker could.

Our consumers have no delivery limit and our workers never terminate a message, so this is for what others do: a person
with ``+TERM``, a consumer edited by hand, a worker in another language. The server says so in advisories, which a
stream keeps (topology.ADVISORIES).
"""

import msgspec
import structlog

from antiphon.runtime.bus.base import Bus, ConsumerSpec, Lease, StoredMessage
from antiphon.runtime.bus.topology import ADVISORIES, TASKS
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.dead_letter import bury
from antiphon.runtime.delivery.outcome import read_result, store_result
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.delivery.slots import Slot
from antiphon.runtime.errors import TaskDead
from antiphon.schemas import subjects
from antiphon.schemas.envelope import PARENT, RUN, TASK
from antiphon.schemas.identity import InvalidName, check_name, check_task, derived_id
from antiphon.schemas.task import TaskResult, TaskState

log = structlog.get_logger()


class _Advisory(msgspec.Struct):
    """``io.nats.jetstream.advisory.v1.max_deliver`` and ``.terminated``, as far as they are needed."""

    consumer: str
    stream_seq: int
    deliveries: int
    reason: str = ""


def consumer_spec(tenant: str) -> ConsumerSpec:
    """The durable that all nodes of a tenant share; each tenant's skips what is not its own."""
    return ConsumerSpec(
        stream=ADVISORIES.name, name=f"{check_name('tenant', tenant)}_advisories", subjects=ADVISORIES.subjects
    )


class AdvisoryProcessor:
    """Turns one advisory into a dead letter and an outcome. ``Worker`` calls it."""

    def __init__(self, bus: Bus, clock: Clock, parking: Parking, tenant: str, *, result_ttl_s: float) -> None:
        self._bus = bus
        self._clock = clock
        self._parking = parking
        self._tenant = tenant
        self._result_ttl_s = result_ttl_s

    async def __call__(self, lease: Lease, slot: Slot) -> None:
        """End the task that the advisory is about, unless it has ended. Every step may be repeated. Raises BusError."""
        try:
            advisory = msgspec.json.decode(lease.message.body, type=_Advisory)
        except msgspec.DecodeError as error:
            log.warning("advisory_unreadable", sequence=lease.message.sequence, error=str(error))
            await lease.ack()
            return
        message = await self._bus.inspector.get(TASKS.name, advisory.stream_seq)
        if message is not None and subjects.parse(message.subject).tenant == self._tenant:
            await self._end(message, advisory)
        await lease.ack()

    async def _end(self, message: StoredMessage, advisory: _Advisory) -> None:
        task = _task_of(message)
        if await read_result(self._bus, self._tenant, task) is not None:
            return
        address = subjects.parse_task(message.subject)
        error = TaskDead(
            f"the server hands task {task} out no more: consumer {advisory.consumer} "
            + (f"had it terminated ({advisory.reason})" if advisory.reason else "gave it up")
            + f" after {advisory.deliveries} deliveries; find out who did it, then `antiphon dead redrive`",
            task=task,
        ).info()
        await bury(
            self._bus,
            self._clock,
            self._tenant,
            address.agent,
            message,
            reason=error,
            attempts=advisory.deliveries,
            task=task,
        )
        now_ms = self._clock.unix_ns() // 1_000_000
        result = TaskResult(
            task=task,
            run=message.headers.get(RUN, task),
            agent=address.agent,
            handler=address.handler,
            state=TaskState.DEAD,
            error=error,
            attempts=advisory.deliveries,
            started_unix_ms=message.unix_ms,
            finished_unix_ms=now_ms,
        )
        await store_result(self._bus, self._tenant, result, ttl_s=self._result_ttl_s)
        await self._parking.remove(task)
        if PARENT in message.headers:
            await self._parking.wake(message.headers[PARENT])
        log.warning("task_given_up_by_server", task=task, consumer=advisory.consumer, reason=advisory.reason)


def _task_of(message: StoredMessage) -> str:
    """The id in the header, or the one that a bare body has."""
    try:
        return check_task(message.headers.get(TASK, ""))
    except InvalidName:
        return derived_id(TASKS.name, str(message.sequence))
