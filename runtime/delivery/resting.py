"""The end of a parking: it is made known, and what it waits for is looked at once more."""

from antiphon.runtime.delivery.outcome import read_result
from antiphon.runtime.errors import UnknownApproval
from antiphon.runtime.host import Host
from antiphon.schemas.approval import ApprovalState
from antiphon.schemas.parking import ParkedTask, Wait, WaitKind


async def rest(host: Host, parked: ParkedTask) -> None:
    """Make a parking known. What happened before that woke nobody, so look for it now. Repeatable. Raises BusError."""
    await host.parking.put(parked)
    for wait in parked.waits:
        if await _is_over(host, wait):
            await host.parking.wake_parked(parked)
            return
    # Whoever ended it, or its parent, meanwhile did not see that it is parked.
    for task in filter(None, (parked.task, parked.parent)):
        if await read_result(host.bus, host.tenant, task) is not None:
            await host.parking.wake_parked(parked)
            return


async def _is_over(host: Host, wait: Wait) -> bool:
    if wait.until_unix_ms is not None and wait.until_unix_ms <= host.clock.unix_ns() // 1_000_000:
        return True
    if wait.kind is WaitKind.TASK:
        return await read_result(host.bus, host.tenant, wait.id) is not None
    return wait.kind is WaitKind.APPROVAL and await _is_answered(host, wait.id)


async def _is_answered(host: Host, approval: str) -> bool:
    try:
        return (await host.approvals.get(approval)).state is not ApprovalState.OPEN
    except UnknownApproval:
        return True  # removed by hand: the handler asks again
