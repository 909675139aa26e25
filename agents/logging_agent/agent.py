"""The logging agent on a node: telemetry in from the bus, findings out, and remedies that go up and down the ladder."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.agents.logging_agent.desk import Desk
from antiphon.agents.logging_agent.ladder import Move
from antiphon.agents.logging_agent.wishes import apply_finding, dismiss_finding
from antiphon.runtime.agent import Agent
from antiphon.runtime.errors import AgentError, BusError, ConfigurationError
from antiphon.runtime.finding_log import FindingLog
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.score_log import ScoreLog
from antiphon.schemas.finding import Finding
from antiphon.schemas.finding_request import ApplyFinding, DismissFinding
from antiphon.schemas.policy import Level

if TYPE_CHECKING:
    from antiphon.runtime.context import Context
    from antiphon.runtime.delivery.tap import TapContext
    from antiphon.runtime.host import Host
    from antiphon.runtime.telemetry.hashing import ContentHash
    from antiphon.schemas.telemetry import TelemetryBatch

SEED = 17  # of the bootstrap: the same record gives the same intervals
TICK_S = 1.0
TELL_NS = 60_000_000_000  # under load the share of traces changes every second

logging_agent = Agent(
    "logging-agent",
    description="Reads what nodes record, says what the system wastes, and tries remedies where it may.",
    observes=True,
)
log = structlog.get_logger()


@logging_agent.tap(tick_s=TICK_S)
def watch() -> "Callable[[TelemetryBatch | None, TapContext], Awaitable[None]]":
    """A node's own watcher."""
    watcher: Watcher | None = None

    async def see(batch: "TelemetryBatch | None", ctx: "TapContext") -> None:
        nonlocal watcher
        if watcher is None:
            watcher = await Watcher.open(ctx.host)
        if batch is not None:
            watcher.feed(batch, ctx.now_ns())
        elif ctx.past:
            await watcher.look(ctx.now_ns())
        else:
            await watcher.act(ctx.now_ns(), decides=ctx.first)

    return see


@logging_agent.handles
async def apply(wish: ApplyFinding, ctx: "Context") -> Finding:
    """Put a finding's remedy at a level, or take it back; the finding as it then is."""
    host = ctx.host
    return await apply_finding(wish, FindingLog(host.bus.streams, host.tenant), await _book(host), host.clock)


@logging_agent.handles
async def dismiss(wish: DismissFinding, ctx: "Context") -> Finding:
    """Say no to a finding; it is not reported again for a week."""
    host = ctx.host
    return await dismiss_finding(wish, FindingLog(host.bus.streams, host.tenant), await _book(host))


class Watcher:
    """A core and a desk, and the way from their word to the bus. What cannot be done is logged and tried again."""

    def __init__(
        self, said: FindingLog, book: PolicyBook, scores: ScoreLog, *, allowed: Level, content_hash: "ContentHash"
    ) -> None:
        self._said = said
        self._book = book
        self._scores = scores
        self._desk = Desk(rng=random.Random(SEED), allowed=allowed)
        self._core = LoggingCore(
            rng=random.Random(SEED), seen=self._desk.see, sighted=self._desk.sighted, content_hash=content_hash
        )
        self._missed = (0, 0, 0, 1.0)
        self._told_ns = 0

    @classmethod
    async def open(cls, host: "Host") -> "Watcher":
        """With what was said and applied before. Raises BusError."""
        said = FindingLog(host.bus.streams, host.tenant)
        scores = ScoreLog(host.bus, host.tenant)
        watcher = cls(said, await _book(host), scores, allowed=Level(host.apply), content_hash=host.content_hash)
        await watcher._hear()
        return watcher

    def feed(self, batch: "TelemetryBatch", now_ns: int) -> None:
        """Take a node's batch."""
        self._core.feed(batch, now_ns)

    async def look(self, now_ns: int) -> None:
        """Close the traces that are due, and note what they show. What could not be analysed is logged."""
        self._tick(now_ns)
        while self._core.is_behind:
            await asyncio.sleep(0)  # others have their turn between parts of some 50 ms
            self._tick(now_ns)
        stats = self._core.stats()
        missed = stats.evicted_traces, stats.gaps, stats.dropped, round(stats.share, 2)
        if missed != self._missed and abs(now_ns - self._told_ns) >= TELL_NS:
            self._missed, self._told_ns = missed, now_ns
            evicted, gaps, dropped, share = missed
            log.warning("telemetry_missed", evicted_traces=evicted, gaps=gaps, dropped=dropped, share=share)

    async def act(self, now_ns: int, *, decides: bool) -> None:
        """As ``look``; then do what follows. Raises BusError: the rest comes with the next call.

        Of replicas one ``decides``; the others say what they found.
        """
        await self._hear()
        await self.look(now_ns)
        for move in self._desk.moves(now_ns // 1_000_000):
            if decides or move.is_news:
                await self._make(move, now_ns // 1_000_000)

    def _tick(self, now_ns: int) -> None:
        for finding in self._core.tick(now_ns):
            self._desk.found(finding)

    async def _hear(self) -> None:
        """Policies first: a policy that is seen then has its finding's new state before it."""
        policies = await self._book.entries()
        for finding, unix_ms in await self._said.news():
            self._desk.learn(finding, unix_ms)
        self._desk.applied(policies)
        if self._desk.measures:
            for score in await self._scores.news():
                self._desk.scored(score)

    async def _make(self, move: Move, now_ms: int) -> None:
        try:
            if move.put is not None:
                await self._book.set(move.put)
                log.info("remedy_put", policy=move.put.id, at=move.put.level.value, reason=move.put.reason)
        except BusError:
            raise
        except (ConfigurationError, AgentError) as error:  # its agent has gone, or somebody set what contradicts it
            assert move.put is not None and move.put.finding is not None
            log.warning("remedy_refused", policy=move.put.id, finding=move.put.finding, error=error.message)
            self._desk.refused(move.put.finding, now_ms)
            return
        if move.say is not None:
            await self._said.append(move.say)
            self._desk.learn(move.say, now_ms)
        if move.remove:
            await self._book.remove(move.remove)
            log.info("remedy_removed", policy=move.remove, reason=move.say.note if move.say is not None else "")


async def _book(host: "Host") -> PolicyBook:
    return await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)
