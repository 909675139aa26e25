"""The scores on the bus: in order, from where one was, and only the newest at first."""

import pytest

from antiphon.runtime import score_log
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.score_log import ScoreLog
from antiphon.schemas import subjects
from antiphon.schemas.score import TOPIC, Score


async def test_scores_are_read_once_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other events, other tenants' scores and what is no score are left out."""
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)

    async def said(*values: float, tenant: str = "default", topic: str = TOPIC) -> None:
        for value in values:
            score = Score(task="t", name="helpful", value=value, unix_ms=1)
            await bus.streams.append(subjects.event(tenant, topic), encode(score))

    read = ScoreLog(bus, "default")
    assert await read.news() == []
    await said(0.1, 0.2)
    await said(0.9, tenant="other")
    await said(0.9, topic="weather")
    await bus.streams.append(subjects.event("default", TOPIC), b"no score")
    assert [score.value for score in await read.news()] == [0.1, 0.2]
    await said(0.3)
    assert [score.value for score in await read.news()] == [0.3]
    assert await read.news() == []
    monkeypatch.setattr(score_log, "AGAIN", 3)
    assert [score.value for score in await ScoreLog(bus, "default").news()] == [0.3]
    await bus.close()
