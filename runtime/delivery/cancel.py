"""Stopping a task: its terminal record first, then the signal to whoever runs it or has it parked."""

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.outcome import store_result
from antiphon.runtime.delivery.parking import Parking
from antiphon.schemas import subjects
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState


class Canceller:
    """Cancels tasks of one tenant."""

    def __init__(self, bus: Bus, clock: Clock, parking: Parking, tenant: str, *, result_ttl_s: float) -> None:
        self._bus = bus
        self._clock = clock
        self._parking = parking
        self._tenant = tenant
        self._result_ttl_s = result_ttl_s

    async def __call__(self, task: str, *, reason: ErrorInfo | None = None) -> bool:
        """Cancel the task, wherever it is; False if it had ended before. Raises BusError.

        Repeating it sends the signal again: a first one may have died before it could.
        """
        now_ms = self._clock.unix_ns() // 1_000_000
        result = TaskResult(
            task=task,
            state=TaskState.CANCELLED,
            error=reason,
            attempts=0,
            started_unix_ms=now_ms,
            finished_unix_ms=now_ms,
        )
        stopped = await store_result(self._bus, self._tenant, result, ttl_s=self._result_ttl_s)
        await self.signal(task)
        await self._parking.wake(task)  # a parked task has nobody who hears the signal; its worker tidies up
        return stopped

    async def signal(self, task: str) -> None:
        """Tell the nodes that a task has ended: handlers of it and of its children stop. Raises BusError."""
        await self._bus.publish(subjects.control(self._tenant, "task", task), b"")
