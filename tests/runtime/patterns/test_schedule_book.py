"""Which schedules there are, and what makes one."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from typing import Any

import pytest

from antiphon import Agent, Context, Message
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.patterns.schedule_book import BUCKET, ScheduleBook, work_of
from antiphon.runtime.testing import ManualClock


class Report(Message, version=2):
    day: str


agent = Agent("clerk")


@agent.handles
async def write(message: Report, ctx: Context) -> Report:
    return message


WORK = work_of(write, Report(day="today"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def book(clock: ManualClock) -> AsyncGenerator[ScheduleBook, None]:
    """An empty book."""
    bus = MemoryBus(MemoryServer(clock=clock))
    yield await ScheduleBook.open(bus, clock, "default")
    await bus.close()


async def test_saying_the_same_again_changes_nothing(book: ScheduleBook, clock: ManualClock) -> None:
    """A program may say at every start what it wants; its ticks go on as they were."""
    first = await book.add("daily", WORK, every="1h")
    clock.advance(1800)
    assert await book.add("daily", WORK, every=3600) == first
    changed = await book.add("daily", WORK, every="2h")
    assert changed.start_unix_ms == first.start_unix_ms + 1_800_000
    assert await book.all() == [changed]


async def test_a_schedule_has_the_message_and_its_identity(book: ScheduleBook) -> None:
    """So that a node can send it without knowing its class."""
    found = await book.add("daily", WORK, cron="0 8 * * 1-5", missed="skip")
    assert (found.agent, found.handler, found.type, found.version) == ("clerk", "write", "Report", 2)
    assert found.body == {"day": "today"}


async def test_ticks_before_now_do_not_count(book: ScheduleBook, clock: ManualClock) -> None:
    """A start in the past only says where ticks lie."""
    found = await book.add("daily", WORK, every="1d", start=datetime(2020, 1, 1, 8, tzinfo=UTC))
    assert found.handled_unix_ms == clock.unix_ns() // 1_000_000
    assert found.start_unix_ms < found.handled_unix_ms


async def test_what_was_removed_is_gone(book: ScheduleBook) -> None:
    """The second time there is nothing to remove."""
    await book.add("daily", WORK, every="1h")
    assert await book.remove("daily")
    assert not await book.remove("daily")
    assert await book.all() == []


async def test_tenants_do_not_see_one_another(book: ScheduleBook, clock: ManualClock) -> None:
    """The bucket is shared, the schedules are not."""
    bus = MemoryBus(MemoryServer(clock=clock))
    mine, theirs = [await ScheduleBook.open(bus, clock, tenant) for tenant in ("mine", "theirs")]
    await mine.add("daily", WORK, every="1h")
    assert await theirs.all() == []
    await bus.close()


async def test_only_one_of_two_notes_a_tick(book: ScheduleBook) -> None:
    """The second finds that the entry has changed."""
    found = await book.add("daily", WORK, every="1h")
    changes = book.watch()
    revision = (await anext(changes)).revision
    assert await book.handled(found, found.start_unix_ms + 1, revision=revision)
    assert not await book.handled(found, found.start_unix_ms + 1, revision=revision)
    changed = (await anext(changes)).schedule
    assert changed is not None and changed.handled_unix_ms == found.start_unix_ms + 1
    await changes.aclose()


async def test_an_entry_that_cannot_be_read_does_not_hide_the_others(clock: ManualClock) -> None:
    """A newer version may have written it; saying it again in this one's words mends it."""
    bus = MemoryBus(MemoryServer(clock=clock))
    book = await ScheduleBook.open(bus, clock, "default")
    await (await bus.buckets.open(BUCKET)).put("default.daily", b'{"from": "the future"}')
    other = await book.add("other", WORK, every="1h")
    assert await book.all() == [other]
    daily = await book.add("daily", WORK, every="1h")
    assert await book.all() == [daily, other]
    await bus.close()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"name": "Daily", "every": "1h"}, "schedule name 'Daily'"),
        ({"name": "daily"}, "expected one of the two"),
        ({"name": "daily", "every": "1h", "cron": "0 8 * * *"}, "expected one of the two"),
        ({"name": "daily", "every": "1w"}, "every is '1w'"),
        ({"name": "daily", "every": 0.5}, "expected 1 s or more"),
        ({"name": "daily", "cron": "often"}, "five fields"),
        ({"name": "daily", "every": 1, "start": datetime(2026, 1, 1)}, "with its zone"),
        ({"name": "daily", "every": 1, "missed": "all"}, "expected latest or skip"),
    ],
)
async def test_what_cannot_be_is_refused(book: ScheduleBook, given: dict[str, Any], says: str) -> None:
    """With what was found and what is expected; nothing is stored."""
    with pytest.raises(ConfigurationError, match=says):
        await book.add(given.pop("name"), WORK, **given)
    assert await book.all() == []
