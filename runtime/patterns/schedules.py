"""Begins scheduled work: every node watches all schedules, and a tick is one task whoever stores it."""

import asyncio
import contextlib
from typing import NamedTuple

import msgspec
import structlog
from pydantic import create_model

from antiphon.runtime.agent import Handler
from antiphon.runtime.delivery.outcome import read_result
from antiphon.runtime.errors import AntiphonError, BusError
from antiphon.runtime.host import Host
from antiphon.runtime.patterns.schedule_book import Change, ScheduleBook
from antiphon.runtime.patterns.ticks import due, instant, next_tick, tick_id
from antiphon.runtime.policies.chain import Operation, OperationKind, Scope
from antiphon.schemas.identity import Address
from antiphon.schemas.message import Message
from antiphon.schemas.schedule import Schedule

RETRY_S = 1.0  # after the bus refused
IDLE_S = 60.0  # the longest wait between two looks: a clock may have been set

log = structlog.get_logger()


class _Held(NamedTuple):
    schedule: Schedule
    revision: int
    tick_unix_ms: int | None


class Schedules:
    """What is due on this node. The order is task, then entry: a node that dies between the two loses no tick.

    Whoever comes later finds the same task id, which the stream refuses for two minutes and the result record for as
    long as results are kept.
    """

    def __init__(self, host: Host, book: ScheduleBook) -> None:
        self._host = host
        self._book = book
        self._held: dict[str, _Held] = {}  # by name
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Watch, and begin what is due, until cancelled."""
        async with asyncio.TaskGroup() as both:
            both.create_task(self._watch())
            both.create_task(self._ring())

    async def _watch(self) -> None:
        while True:
            self._held.clear()  # what was removed while nobody watched is not told
            try:
                async with contextlib.aclosing(self._book.watch()) as changes:
                    async for change in changes:
                        self._take(change)
            except BusError as error:
                log.warning("schedules_not_watched", error=error.message)
            await asyncio.sleep(RETRY_S)

    def _take(self, change: Change) -> None:
        if change.schedule is None:
            self._held.pop(change.name, None)
            return
        self._held[change.name] = _Held(change.schedule, change.revision, next_tick(change.schedule))
        self._changed.set()

    async def _ring(self) -> None:
        while True:
            self._changed.clear()
            wait_s = IDLE_S
            for held in list(self._held.values()):
                if held.tick_unix_ms is None:
                    continue
                left_s = held.tick_unix_ms / 1000 - self._host.clock.unix_ns() / 1e9
                try:
                    if left_s <= 0:
                        await self._do(held)
                    else:
                        wait_s = min(wait_s, left_s)
                except AntiphonError as error:
                    log.warning("schedule_not_fired", schedule=held.schedule.name, error=error.message)
                    wait_s = min(wait_s, RETRY_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def _do(self, held: _Held) -> None:
        """Fire or pass over what has come, and note it. Raises AntiphonError for what is worth another try."""
        schedule = held.schedule
        found = due(schedule, self._host.clock.unix_ns() // 1_000_000)
        if found is None:  # the clock was set back meanwhile
            return
        if found.fires:
            await self._fire(schedule, found.tick_unix_ms)
        else:
            log.warning("schedule_ticks_skipped", schedule=schedule.name, until=instant(found.tick_unix_ms))
        await self._book.handled(schedule, found.tick_unix_ms, revision=held.revision)
        if self._held.get(schedule.name) is held:  # changed now, by us or by another node: the watch brings the new one
            del self._held[schedule.name]

    async def _fire(self, schedule: Schedule, tick_ms: int) -> None:
        """Store the tick's task. One that would be refused every time is logged, and passed over."""
        host = self._host
        task = tick_id(host.tenant, schedule, tick_ms)
        if await read_result(host.bus, host.tenant, task) is not None:
            return
        message: type[Message] = create_model(
            schedule.type, __base__=Message, __cls_kwargs__={"name": schedule.type, "version": schedule.version}
        )
        handler = Handler(Address(schedule.agent, schedule.handler), message, message)
        operation = Operation(
            kind=OperationKind.SUBMIT,
            path="1",
            target=str(handler.address),
            scope=Scope(host.tenant, task, labels={"schedule": schedule.name, "tick": instant(tick_ms)}),
            body=msgspec.json.encode(schedule.body),
            request=(handler, task),
        )
        try:
            await host.perform(operation)
        except AntiphonError as error:
            if error.retryable:
                raise
            log.error("schedule_cannot_fire", schedule=schedule.name, tick=instant(tick_ms), error=error.message)
            return
        log.info("schedule_fired", schedule=schedule.name, tick=instant(tick_ms), task=task)
