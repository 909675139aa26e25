"""When a schedule is due. Pure: every node that looks at the same schedule comes to the same ticks."""

from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from antiphon.runtime.errors import ConfigurationError
from antiphon.schemas.identity import derived_id
from antiphon.schemas.schedule import Missed, Schedule

LATE_MS: Final = 60_000  # a tick that is not later than this was not missed: a node restarts, a clock is behind


class Due(NamedTuple):
    """The newest tick that has come. ``fires``: it is to be sent; else it was missed and is passed over."""

    tick_unix_ms: int
    fires: bool


def check_cron(expression: str, now_unix_ms: int) -> str:
    """The expression itself, if it has five fields and a time that ever comes.

    Raises:
        ConfigurationError: anything else.
    """
    from cronsim import CronSimError

    problem = "it has not five fields" if len(expression.split()) != 5 else ""
    try:
        if not problem and _cron_tick(expression, now_unix_ms, forward=True) is None:
            problem = "no such time comes in the next fifty years"
    except CronSimError as error:
        problem = str(error)
    if problem:
        raise ConfigurationError(
            f"cron is {expression!r}: {problem}; expected minute, hour, day of month, month and day of week, in UTC, "
            'such as "0 8 * * 1-5"'
        )
    return expression


def next_tick(schedule: Schedule) -> int | None:
    """The first tick that has not been handled, in unix ms; None: none will come."""
    after_ms = max(schedule.handled_unix_ms, schedule.start_unix_ms - 1)
    if schedule.every_ms is None:
        return _cron_tick(schedule.cron, after_ms, forward=True)
    return schedule.start_unix_ms + ((after_ms - schedule.start_unix_ms) // schedule.every_ms + 1) * schedule.every_ms


def due(schedule: Schedule, now_unix_ms: int) -> Due | None:
    """What is to be done at a moment: at most one tick, however many have passed. None: none has come."""
    first_ms = next_tick(schedule)
    if first_ms is None or first_ms > now_unix_ms:
        return None
    tick_ms = _latest_tick(schedule, now_unix_ms)
    return Due(tick_ms, schedule.missed is Missed.LATEST or now_unix_ms - tick_ms <= LATE_MS)


def tick_id(tenant: str, schedule: Schedule, tick_unix_ms: int) -> str:
    """The task that a tick is: the same on every node, so that it is one task whoever stores it."""
    return derived_id("tick", tenant, schedule.name, str(tick_unix_ms))


def instant(unix_ms: int) -> str:
    """``2026-01-31T08:00:00Z``; milliseconds where there are some."""
    spec = "seconds" if unix_ms % 1000 == 0 else "milliseconds"
    return _moment(unix_ms).isoformat(timespec=spec).replace("+00:00", "Z")


def _latest_tick(schedule: Schedule, now_unix_ms: int) -> int:
    """The newest tick at or before now, of a schedule that has one."""
    if schedule.every_ms is None:
        tick_ms = _cron_tick(schedule.cron, now_unix_ms, forward=False)
        assert tick_ms is not None  # there is one that has not been handled
        return tick_ms
    passed = (now_unix_ms - schedule.start_unix_ms) // schedule.every_ms
    return schedule.start_unix_ms + passed * schedule.every_ms


def _cron_tick(expression: str, unix_ms: int, *, forward: bool) -> int | None:
    """The first tick after ``unix_ms``, or (not ``forward``) the last one at or before it."""
    from cronsim import CronSim

    moment = _moment(unix_ms)
    if not forward:  # cronsim looks at what lies strictly before
        moment = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
    found = next(CronSim(expression, moment, reverse=not forward), None)
    return None if found is None else int(found.timestamp()) * 1000


def _moment(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=unix_ms)
