"""When schedules are due: pure sums, the same on every node."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.patterns.ticks import LATE_MS, Due, check_cron, due, instant, next_tick, tick_id
from antiphon.schemas.schedule import Missed, Schedule

MIDNIGHT = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
MINUTE = 60_000
HOUR = 60 * MINUTE


def schedule(
    *,
    every_ms: int | None = None,
    cron: str = "",
    start: int = MIDNIGHT,
    handled: int = MIDNIGHT,
    missed: str = "latest",
) -> Schedule:
    """A schedule with nothing said that does not matter here."""
    return Schedule(
        name="s",
        agent="a",
        handler="h",
        type="T",
        version=1,
        body={},
        every_ms=every_ms,
        cron=cron,
        start_unix_ms=start,
        missed=Missed(missed),
        handled_unix_ms=handled,
    )


@given(
    every_ms=st.integers(1000, 10**9),
    start=st.integers(0, 10**13),
    handled=st.integers(0, 10**13),
)
def test_ticks_of_an_interval_are_its_multiples_after_the_start(every_ms: int, start: int, handled: int) -> None:
    """The next is the first that was not handled."""
    tick = next_tick(schedule(every_ms=every_ms, start=start, handled=handled))
    assert tick is not None
    assert tick > handled and tick >= start and (tick - start) % every_ms == 0
    assert tick - every_ms <= handled or tick == start


@given(
    rule=st.sampled_from([{"every_ms": 90_000}, {"cron": "*/7 3-5 * * *"}, {"cron": "30 8 1 * *"}]),
    handled=st.integers(MIDNIGHT, MIDNIGHT + 90 * 24 * HOUR),
    later_ms=st.integers(0, 90 * 24 * HOUR),
)
def test_what_is_due_is_the_newest_tick_that_has_come(rule: dict[str, object], handled: int, later_ms: int) -> None:
    """Between it and now there is no other, and once it is handled nothing is due."""
    found = schedule(handled=handled, **rule)  # type: ignore[arg-type]  # one of three rules
    now = handled + later_ms
    first, what = next_tick(found), due(found, now)
    assert first is not None
    if first > now:
        assert what is None
        return
    assert what is not None and first <= what.tick_unix_ms <= now
    after = found.model_copy(update={"handled_unix_ms": what.tick_unix_ms})
    following = next_tick(after)
    assert following is not None and following > now
    assert due(after, now) is None


def test_the_newest_missed_tick_is_made_up_for_once_or_passed_over() -> None:
    """After three hours without a node: one tick, fired or not; one that is hardly late always counts."""
    now = MIDNIGHT + 3 * HOUR + 10 * MINUTE
    assert due(schedule(every_ms=HOUR), now) == Due(MIDNIGHT + 3 * HOUR, True)
    assert due(schedule(every_ms=HOUR, missed="skip"), now) == Due(MIDNIGHT + 3 * HOUR, False)
    assert due(schedule(every_ms=HOUR, missed="skip"), MIDNIGHT + HOUR + LATE_MS) == Due(MIDNIGHT + HOUR, True)


def test_cron_is_read_in_utc_and_to_the_minute() -> None:
    """A tick at the very moment counts, for the schedule's start too."""
    eight = MIDNIGHT + 8 * HOUR
    daily = schedule(cron="0 8 * * *")
    assert next_tick(daily) == eight
    assert due(daily, eight - 1) is None
    assert due(daily, eight) == Due(eight, True)
    assert next_tick(schedule(cron="0 8 * * *", start=eight)) == eight
    assert next_tick(schedule(cron="0 8 * * *", start=eight + 1)) == eight + 24 * HOUR
    assert next_tick(schedule(cron="0 8 * * *", handled=eight)) == eight + 24 * HOUR


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("0 8 * *", "it has not five fields"),
        ("0 0 8 * * *", "it has not five fields"),
        ("61 8 * * *", "Bad minute"),
        ("0 0 30 2 *", "Bad day-of-month"),
    ],
)
def test_a_cron_expression_that_cannot_be_is_refused(expression: str, says: str) -> None:
    """With what is wrong with it and what is expected."""
    with pytest.raises(ConfigurationError, match=f"{says}.*expected minute, hour"):
        check_cron(expression, MIDNIGHT)


def test_the_task_of_a_tick_is_the_same_everywhere() -> None:
    """It depends on tenant, name and time alone: not on what the schedule sends."""
    other = schedule(every_ms=1000).model_copy(update={"body": {"n": 1}})
    assert tick_id("t", schedule(every_ms=HOUR), MIDNIGHT) == tick_id("t", other, MIDNIGHT)
    assert tick_id("t", other, MIDNIGHT) != tick_id("t", other, MIDNIGHT + 1)
    assert tick_id("t", other, MIDNIGHT) != tick_id("u", other, MIDNIGHT)


def test_instants_are_written_as_people_do() -> None:
    """ISO 8601 in UTC."""
    assert instant(MIDNIGHT) == "2026-01-01T00:00:00Z"
    assert instant(MIDNIGHT + 5) == "2026-01-01T00:00:00.005Z"
