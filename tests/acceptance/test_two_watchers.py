"""Two logging agents on a real server share the shards; one is killed, and the other goes on with what it knew."""

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon import connect
from antiphon.runtime.bus.base import Streams
from antiphon.runtime.directory import LEASE_S, RENEW_S
from antiphon.runtime.finding_log import FindingLog
from antiphon.runtime.telemetry.codec import encode
from antiphon.runtime.whatif.testing import Traced
from antiphon.schemas import subjects
from antiphon.schemas.telemetry import TelemetryBatch

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

WATCHERS = """from antiphon import System
from antiphon.agents.logging_agent.agent import logging_agent

system = System("watchers", agents=[logging_agent])
"""
SHARDS = 2
FIRST, MORE = 20, 10  # runs; a finding is said again when it has a quarter more
FOUND_S, POLL_S = 60.0, 0.2
CLOCKS_S = 0.5


class Watched:
    """A system whose runs in shard N use tool N twice at once, and what is said of it."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._log = FindingLog(streams, "default")
        self._sequence = 0
        self.said: list[tuple[str, int, int]] = []  # tool, support, unix ms

    async def runs(self, shard: int, first: int, count: int) -> None:
        """In one batch of the shard that the tracer would choose."""
        traces = [Traced(SHARDS * number + shard) for number in range(first, first + count)]
        for place, trace in enumerate(traces):
            trace.at_ns = time.time_ns() - (count - place) * 2_000_000_000
            root = trace.ask(None, f"planner{shard}.plan", 0, 800)
            for start_ms in (100, 200):
                trace.tool(
                    root, f"look{shard}", start_ms, start_ms + 500, causes=[], effect="pure", content=f"c{trace.number}"
                )
        self._sequence += 1
        batch = TelemetryBatch(node="n1", sequence=self._sequence, spans=[span for t in traces for span in t.spans])
        await self._streams.append(subjects.telemetry("default", "n1", shard), encode(batch))

    async def until(self, shard: int, support: int) -> int:
        """Wait until the duplicates of the shard's tool were reported from so many runs; when, in unix ms."""
        async with asyncio.timeout(FOUND_S):
            while True:
                for finding, unix_ms in await self._log.news():
                    if finding.pattern == "p3":
                        self.said.append((finding.subject, finding.support, unix_ms))
                for tool, found, unix_ms in self.said:
                    if tool == f"tool look{shard}" and found >= support:
                        return unix_ms
                await asyncio.sleep(POLL_S)  # a stream tells nobody


async def test_two_logging_agents_share_the_shards_and_one_takes_over(place: "Place", tmp_path: Path) -> None:
    """Each finds what is in its shard; the dead one's is read by the other, past included, and no run counts twice."""
    (tmp_path / "watchers.py").write_text(WATCHERS, encoding="utf-8")
    place.more = {"ANTIPHON_TRACE_SHARDS": str(SHARDS), "ANTIPHON_TRACE": "0"}
    nodes = [
        await asyncio.to_thread(place.node, "--name", name, target=f"{tmp_path / 'watchers.py'}:system")
        for name in ("a", "b")
    ]
    async with connect(settings=place.settings) as client:
        watched = Watched(client.host.bus.streams)
        for shard in range(SHARDS):
            await watched.runs(shard, 1, FIRST)
        for shard in range(SHARDS):
            await watched.until(shard, FIRST)
        nodes[0].process.kill()  # of sorted names the first has the first shard
        killed_ms = time.time_ns() // 1_000_000
        for shard in range(SHARDS):
            await watched.runs(shard, 1 + FIRST, MORE)
        await watched.until(1, FIRST + MORE)
        taken_ms = await watched.until(0, FIRST + MORE)
        assert taken_ms - killed_ms > (LEASE_S - RENEW_S - CLOCKS_S) * 1_000  # nobody else had read it until then
        assert max(support for _, support, _ in watched.said) == FIRST + MORE
