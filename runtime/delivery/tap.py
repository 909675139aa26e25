"""Gives an agent the telemetry of its tenant, first that from before it began; replicas share it out by shards."""

import asyncio
from contextlib import aclosing

import structlog

from antiphon.runtime.agent import Tap, Watcher
from antiphon.runtime.bus.topology import TELEMETRY
from antiphon.runtime.errors import BusError, MessageError
from antiphon.runtime.host import Host
from antiphon.runtime.telemetry.codec import decode
from antiphon.schemas import subjects
from antiphon.schemas.telemetry import TelemetryBatch

POLL_S = 0.5
RETRY_S = 0.5  # after the bus failed
SHARE_S = 3.0  # between two looks at who shares the shards
AGAIN_BYTES = 32 * 1024 * 1024  # about 100,000 spans, some seconds of work; of any age: experiments last for days

log = structlog.get_logger()


class TapContext:
    """What a tap may do.

    ``past``: the batch came before this process read it first, and ``now_ns`` says when; it is shown so that the tap
    knows what it would know had it run all the time, and not for it to act upon. ``first``: it has the first shard; of
    replicas one does, so what only one may do is for this one.
    """

    def __init__(self, host: Host, *, first: bool, past_ns: int | None = None) -> None:
        self._host = host
        self._past_ns = past_ns
        self.first = first

    @property
    def host(self) -> Host:
        """The process's facilities."""
        return self._host

    @property
    def past(self) -> bool:
        """Whether this is read again."""
        return self._past_ns is not None

    def now_ns(self) -> int:
        """Unix nanoseconds."""
        return self._host.clock.unix_ns() if self._past_ns is None else self._past_ns


class TapRunner:
    """One tap on one node.

    A trace lies in one shard, and of the replicas that are alive each reads its share of the shards, whole traces
    therefore. A shard is read from a place in the stream that is kept here alone: whoever begins, and whoever takes
    one over, reads its newest past again, AGAIN_BYTES of the stream at most. While replicas come and go two may read a
    shard for some seconds; neither sees anything twice.
    """

    def __init__(self, host: Host, agent: str, tap: Tap) -> None:
        self._host = host
        self._agent = agent
        self._tap = tap
        self._loop: asyncio.Task[None] | None = None
        self._after: dict[int, int] = {}  # shard -> the last sequence of it that was shown
        self._live: dict[int, int] = {}  # shard -> the first sequence that is not the past
        self._ticked_ns = 0
        self._shared_s: float | None = None  # when it was last looked at who shares

    async def start(self) -> None:
        """Begin."""
        self._loop = asyncio.create_task(self._run(self._tap.make()))

    async def stop(self) -> None:
        """End after the batch in hand."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])

    async def _run(self, watch: Watcher) -> None:
        while True:
            try:
                await self._share()
                for shard in sorted(self._after):
                    await self._show(shard, watch)
                await self._tick(watch, self._context())
            except BusError as error:
                log.warning("tap_interrupted", agent=self._agent, error=error.message)
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(POLL_S)

    async def _share(self) -> None:
        """Take the shards that are this node's now, each from where it is to be read."""
        now_s = self._host.clock.monotonic_s()
        if self._shared_s is not None and now_s - self._shared_s < SHARE_S:
            return
        host = self._host
        alive = {card.node for card in await host.directory.nodes() if self._agent in card.agents} | {host.node}
        usage = await host.bus.inspector.usage(TELEMETRY.name)
        place, replicas = sorted(alive).index(host.node), len(alive)
        mine = set(range(place, host.trace_shards, replicas))
        kept = max(1, AGAIN_BYTES * usage.messages // max(usage.bytes, 1))
        for shard in mine - set(self._after):
            self._after[shard] = max(usage.first, usage.last - kept + 1) - 1
            self._live[shard] = usage.last + 1
        for shard in set(self._after) - mine:
            del self._after[shard], self._live[shard]
        for shard, after in self._after.items():
            if after > usage.last:  # the stream was made anew
                self._after[shard], self._live[shard] = 0, 0
        self._shared_s = now_s

    async def _show(self, shard: int, watch: Watcher) -> None:
        """What came in the shard since it was last read."""
        subject = subjects.telemetry_shard(self._host.tenant, shard)
        streams = self._host.bus.streams
        async with aclosing(streams.read(TELEMETRY.name, subject, after=self._after[shard])) as messages:
            async for message in messages:
                is_past = message.sequence < self._live[shard]
                ctx = self._context(message.unix_ms * 1_000_000 if is_past else None)
                batch = _decode(message.body)
                await self._tick(watch, ctx)
                if batch is not None:
                    await self._give(watch, batch, ctx)
                self._after[shard] = message.sequence

    def _context(self, past_ns: int | None = None) -> TapContext:
        return TapContext(self._host, first=0 in self._after, past_ns=past_ns)

    async def _tick(self, watch: Watcher, ctx: TapContext) -> None:
        """Every ``tick_s``: of the past, at the pace at which it came."""
        now_ns = ctx.now_ns()
        if abs(now_ns - self._ticked_ns) < self._tap.tick_s * 1e9:
            return
        self._ticked_ns = now_ns
        await self._give(watch, None, ctx)
        await asyncio.sleep(0)  # what is read from memory, or faster than it is analysed, never waits

    async def _give(self, watch: Watcher, batch: TelemetryBatch | None, ctx: TapContext) -> None:
        try:
            await watch(batch, ctx)
        except BusError:
            raise
        except Exception:
            # One batch that a detector cannot take must not stop the others from being read.
            log.exception("tap_failed", agent=self._agent, node=batch.node if batch else None)


def _decode(body: bytes) -> TelemetryBatch | None:
    try:
        return decode(body)
    except MessageError as error:
        log.warning("telemetry_batch_unreadable", error=error.message, bytes=len(body))
        return None
