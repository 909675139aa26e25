"""The findings on the bus: said in order, read from where one was, found by the beginning of an id."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.finding_log import FindingLog
from antiphon.schemas import subjects
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    """With the streams."""
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)
    yield bus
    await bus.close()


def finding(id: str, **changes: Any) -> Finding:
    """Of pattern p3, open."""
    given = {
        "id": id,
        "pattern": "p3",
        "title": "twice",
        "cohort": "c",
        "subject": "tool look",
        "state": FindingState.OPEN,
        "grade": Grade.A,
        "support": 9,
        "required": 5,
        "remedy": Remedy(text="share"),
        "first_seen_unix_ms": 0,
        "last_seen_unix_ms": 0,
    }
    return Finding.model_validate({**given, **changes})


async def test_each_reader_hears_every_word_once(bus: MemoryBus) -> None:
    """All patterns in order, the first time from the beginning; other tenants' not."""
    log, other = FindingLog(bus.streams, "default"), FindingLog(bus.streams, "elsewhere")
    await log.append(finding("a"))
    await log.append(finding("b", pattern="p4"))
    assert [said.id for said, _ in await log.news()] == ["a", "b"]
    await log.append(finding("a", state=FindingState.DISMISSED))
    (word,) = await log.news()
    assert (word[0].state, word[1] > 0) == (FindingState.DISMISSED, True)
    assert await log.news() == await other.news() == []
    assert [said.id for said, _ in await FindingLog(bus.streams, "default").news()] == ["a", "b", "a"]


async def test_the_last_word_is_found_by_the_beginning_of_the_id(bus: MemoryBus) -> None:
    """None, several and no beginning are errors that say so."""
    log = FindingLog(bus.streams, "default")
    for said in (finding("ab1"), finding("ab2"), finding("ab1", support=10)):
        await log.append(said)
    assert (await log.find("ab1")).support == 10
    with pytest.raises(ConfigurationError, match="'ab' is the beginning of 2 findings"):
        await log.find("ab")
    for prefix in ("x", ""):
        with pytest.raises(ConfigurationError, match="no finding begins with"):
            await log.find(prefix)


async def test_what_is_no_finding_is_passed_over(bus: MemoryBus) -> None:
    """Of a newer version, or published by hand."""
    log = FindingLog(bus.streams, "default")
    await bus.streams.append(subjects.finding("default", "p3"), b'{"id": 7}')
    await log.append(finding("a"))
    assert [said.id for said, _ in await log.news()] == ["a"]
