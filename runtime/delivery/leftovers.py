"""What tasks left behind when somebody died at their end: questions that no journal knows, parkings nobody would wake.

A question is asked before the journal says so, and a task may be cancelled by a process that dies before it could tell
anybody.
"""

import structlog

from antiphon.runtime.approvals import BUCKET as APPROVALS
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.delivery.outcome import read_result
from antiphon.runtime.delivery.parking import BUCKET as PARKED
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.delivery.payload import decode
from antiphon.schemas.approval import Approval
from antiphon.schemas.parking import ParkedTask

log = structlog.get_logger()


async def clear_leftovers(bus: Bus) -> int:
    """For all tenants: withdraw questions of ended tasks, wake parked tasks that have ended or whose parent has.

    Whoever gets such a wake-up tidies up after the task. Idempotent. How many there were. Raises BusError.
    """
    found = await _withdraw(bus) + await _wake(bus)
    if found:
        log.info("leftovers_cleared", count=found)
    return found


async def _withdraw(bus: Bus) -> int:
    bucket = await bus.buckets.open(APPROVALS)
    found = 0
    for entry in await bucket.entries():
        tenant = entry.key.partition(".")[0]
        if entry.value is not None and await read_result(bus, tenant, decode(Approval, entry.value).task) is not None:
            await bucket.delete(entry.key)
            found += 1
    return found


async def _wake(bus: Bus) -> int:
    bucket = await bus.buckets.open(PARKED)
    found = 0
    for entry in await bucket.entries():
        if entry.value is None:
            continue
        tenant, parked = entry.key.partition(".")[0], ParkedTask.model_validate_json(entry.value)
        for task in (parked.task, parked.parent):
            if task and await read_result(bus, tenant, task) is not None:
                await Parking(bus, bucket, tenant).wake_parked(parked)
                found += 1
                break
    return found
