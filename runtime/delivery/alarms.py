"""Wakes parked tasks when their time has come, or an answer: every node watches them all, whoever is first wakes.

Whoever stores an answer wakes the task himself, at once. He may die in between: the nodes see the answer too.
"""

import asyncio
import contextlib
import heapq
from collections.abc import Callable

import structlog

from antiphon.runtime import approvals
from antiphon.runtime.bus.base import Bucket, Bus, Entry
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.errors import BusError
from antiphon.schemas.approval import Approval, ApprovalState
from antiphon.schemas.parking import ParkedTask, WaitKind

RETRY_S = 1.0  # after the bus refused a wake-up
IDLE_S = 60.0  # with no alarm set

log = structlog.get_logger()


class Alarms:
    """The times and answers at which parked tasks wake. Holds a few hundred bytes for each, and no body."""

    def __init__(self, bus: Bus, parking: Parking, clock: Clock, tenant: str) -> None:
        self._bus = bus
        self._parking = parking
        self._clock = clock
        self._prefix = f"{tenant}."
        self._heap: list[tuple[int, str, int]] = []  # when, key, revision
        self._waiting: dict[str, tuple[int, ParkedTask]] = {}  # key -> revision, record
        self._answered: set[str] = set()  # approvals that are not open, of tasks that have not ended
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        """Begin to watch. Raises BusError."""
        answers = await self._bus.buckets.open(approvals.BUCKET)
        works = (self._watch(self._parking.bucket, self._take), self._watch(answers, self._hear), self._ring())
        self._tasks = [asyncio.create_task(work) for work in works]

    async def stop(self) -> None:
        """Wake nobody any more."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def wake_children(self, parent: str) -> None:
        """Wake the parked tasks that were called by ``parent``: it has ended."""
        for key, (revision, parked) in self._waiting.items():
            if parked.parent == parent:
                self._set(0, key, revision)

    async def _watch(self, bucket: Bucket, take: Callable[[Entry], None]) -> None:
        while True:
            try:
                async with contextlib.aclosing(bucket.watch()) as entries:
                    async for entry in entries:
                        if entry.key.startswith(self._prefix):
                            take(entry)
            except BusError as error:
                log.warning("alarms_not_watched", error=error.message)
            await asyncio.sleep(RETRY_S)

    def _take(self, entry: Entry) -> None:
        if entry.value is None:
            self._waiting.pop(entry.key, None)
            return
        parked = ParkedTask.model_validate_json(entry.value)
        self._waiting[entry.key] = (entry.revision, parked)
        when = parked.wake_unix_ms()
        if self._has_answer(parked):
            when = 0
        if when is not None:
            self._set(when, entry.key, entry.revision)

    def _hear(self, entry: Entry) -> None:
        """Of an approval."""
        id = entry.key[len(self._prefix) :]
        if entry.value is None:
            self._answered.discard(id)
            return
        approval = Approval.model_validate_json(entry.value)
        if approval.state is ApprovalState.OPEN:
            return
        self._answered.add(id)
        key = self._parking.key(approval.task)
        revision, parked = self._waiting.get(key, (0, None))
        if parked is not None and self._has_answer(parked):
            self._set(0, key, revision)

    def _has_answer(self, parked: ParkedTask) -> bool:
        return any(wait.kind is WaitKind.APPROVAL and wait.id in self._answered for wait in parked.waits)

    def _set(self, when_unix_ms: int, key: str, revision: int) -> None:
        heapq.heappush(self._heap, (when_unix_ms, key, revision))
        self._changed.set()

    async def _ring(self) -> None:
        while True:
            self._changed.clear()
            now_ms = self._clock.unix_ns() // 1_000_000
            while self._heap and self._heap[0][0] <= now_ms:
                _, key, revision = heapq.heappop(self._heap)
                held = self._waiting.get(key)
                if held is None or held[0] != revision:
                    continue
                try:
                    await self._parking.wake_parked(held[1])
                except BusError as error:
                    log.warning("task_not_woken", task=held[1].task, error=error.message)
                    heapq.heappush(self._heap, (now_ms + int(RETRY_S * 1000), key, revision))
            # At least what the clock is read in: a shorter wait might end before it has moved.
            left_s = IDLE_S if not self._heap else max(0.001, self._heap[0][0] / 1000 - self._clock.unix_ns() / 1e9)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, IDLE_S)):
                    await self._changed.wait()
