"""Which schedules there are."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

import structlog
from pydantic import ValidationError

from antiphon.runtime.agent import Handler
from antiphon.runtime.bus.base import Bucket, Bus, Entry
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import ConfigurationError, Conflict
from antiphon.runtime.patterns.ticks import check_cron
from antiphon.schemas.identity import InvalidName, check_name
from antiphon.schemas.message import Message
from antiphon.schemas.schedule import Missed, Schedule

In = TypeVar("In", bound=Message)
BUCKET = "antiphon_schedules"
LEAST_S = 1.0  # every tick is a task, and two small writes on each node


log = structlog.get_logger()


class Work(NamedTuple):
    """What every tick begins, as ``Schedule`` has it."""

    agent: str
    handler: str
    type: str
    version: int
    body: dict[str, Any]


def work_of(handler: Handler[In, Any], message: In) -> Work:
    """A message for a handler."""
    address, body = handler.address, message.model_dump(mode="json")
    return Work(address.agent, address.handler, message.message_name, message.message_version, body)


class Change(NamedTuple):
    """A schedule as it is now, or (None) that it has gone, or cannot be read."""

    name: str
    schedule: Schedule | None
    revision: int


class ScheduleBook:
    """The schedules of one tenant."""

    def __init__(self, bucket: Bucket, clock: Clock, tenant: str) -> None:
        self._bucket = bucket
        self._clock = clock
        self._prefix = f"{tenant}."

    @classmethod
    async def open(cls, bus: Bus, clock: Clock, tenant: str) -> "ScheduleBook":
        """The tenant's schedules on this bus. Raises BusError."""
        return cls(await bus.buckets.open(BUCKET), clock, tenant)

    async def add(
        self,
        name: str,
        work: Work,
        *,
        every: float | str | None = None,
        cron: str | None = None,
        start: datetime | None = None,
        missed: str = Missed.LATEST,
    ) -> Schedule:
        """Make a schedule, or change the one of that name. Saying the same again changes nothing.

        Ticks before now do not count. Without ``start`` the first tick of ``every`` is one such time from now.

        Raises:
            ConfigurationError: a name, a time or a policy that cannot be, or not exactly one of ``every`` and ``cron``.
            BusError: it was not stored.
        """
        wanted = self._wanted(name, work, every, cron, start, missed)
        entry = await self._bucket.get(self._key(name))
        change = None if entry is None else self._change(entry)
        if change is not None and change.schedule is not None:
            found = change.schedule
            kept = {"handled_unix_ms": found.handled_unix_ms}
            if start is None:
                kept["start_unix_ms"] = found.start_unix_ms
            if wanted.model_copy(update=kept) == found:
                return found
        await self._bucket.put(self._key(name), wanted.model_dump_json().encode())
        return wanted

    async def remove(self, name: str) -> bool:
        """Let no more ticks come; what they began goes on. False if there was no such schedule. Raises BusError."""
        key = self._key(name)
        there = await self._bucket.get(key) is not None
        await self._bucket.delete(key)
        return there

    async def all(self) -> list[Schedule]:
        """The schedules, by name. Raises BusError."""
        entries = [self._change(entry) for entry in await self._bucket.entries()]
        found = [change.schedule for change in entries if change is not None and change.schedule is not None]
        return sorted(found, key=lambda schedule: schedule.name)

    async def watch(self) -> AsyncGenerator[Change, None]:
        """Those there are, then every change. Raises BusError."""
        async with aclosing(self._bucket.watch()) as entries:
            async for entry in entries:
                change = self._change(entry)
                if change is not None:
                    yield change

    async def handled(self, schedule: Schedule, tick_unix_ms: int, *, revision: int) -> bool:
        """The ticks up to this one are done with. False if somebody has changed the entry since. Raises BusError."""
        done = schedule.model_copy(update={"handled_unix_ms": tick_unix_ms})
        try:
            await self._bucket.put(self._key(schedule.name), done.model_dump_json().encode(), revision=revision)
        except Conflict:
            return False
        return True

    def _change(self, entry: Entry) -> Change | None:
        if not entry.key.startswith(self._prefix):
            return None
        name, schedule = entry.key.removeprefix(self._prefix), None
        try:
            schedule = None if entry.value is None else Schedule.model_validate_json(entry.value)
        except ValidationError as error:  # of a newer version, perhaps; it must not stop the others
            log.error("schedule_unreadable", schedule=name, error=problems(error))
        return Change(name, schedule, entry.revision)

    def _wanted(
        self,
        name: str,
        work: Work,
        every: float | str | None,
        cron: str | None,
        start: datetime | None,
        missed: str,
    ) -> Schedule:
        now_ms = self._clock.unix_ns() // 1_000_000
        if (every is None) == (cron is None):
            raise ConfigurationError(
                f"schedule {name!r}: every is {every!r} and cron {cron!r}, expected one of the two"
            )
        every_ms = None if every is None else int(seconds("every", every) * 1000)
        if every_ms is not None and every_ms < LEAST_S * 1000:
            raise ConfigurationError(f"schedule {name!r}: every is {every!r}, expected {LEAST_S:g} s or more")
        if start is not None and start.tzinfo is None:
            raise ConfigurationError(f"schedule {name!r}: start is {start.isoformat()}, expected a time with its zone")
        if missed not in tuple(Missed):
            raise ConfigurationError(f"schedule {name!r}: missed is {missed!r}, expected {' or '.join(Missed)}")
        return Schedule(
            name=name,
            **work._asdict(),
            every_ms=every_ms,
            cron="" if cron is None else check_cron(cron, now_ms),
            start_unix_ms=now_ms if start is None else int(start.timestamp() * 1000),
            missed=Missed(missed),
            handled_unix_ms=now_ms,
        )

    def _key(self, name: str) -> str:
        try:
            return self._prefix + check_name("schedule", name)
        except InvalidName as error:
            raise ConfigurationError(str(error)) from None
