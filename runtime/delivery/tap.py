"""Gives an agent every telemetry batch of its tenant, in order, and carries its findings out."""

import asyncio

import structlog

from antiphon.runtime.agent import Tap, Watcher
from antiphon.runtime.bus.base import Consumer, ConsumerSpec
from antiphon.runtime.bus.topology import TELEMETRY
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.errors import BusError, MessageError
from antiphon.runtime.host import Host
from antiphon.runtime.telemetry.codec import decode
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.finding import Finding
from antiphon.schemas.telemetry import TelemetryBatch

BATCHES = 64  # fetched at once; a batch is at most 256 KiB
ACK_WAIT_S = 30.0
RETRY_S = 0.5  # after the bus failed

log = structlog.get_logger()


class TapContext:
    """What a tap may do."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def now_ns(self) -> int:
        """Unix nanoseconds."""
        return self._host.clock.unix_ns()

    async def report(self, finding: Finding) -> None:
        """Store a finding on ``finding.{pattern}``. Raises BusError."""
        subject = subjects.finding(self._host.tenant, finding.pattern)
        headers = Envelope(type=Finding.message_name).headers()
        await self._host.bus.streams.append(subject, encode(finding), headers)


class TapRunner:
    """One tap on one node; replicas of the agent share the batches."""

    def __init__(self, host: Host, agent: str, index: int, tap: Tap) -> None:
        self._host = host
        self._tap = tap
        self._spec = ConsumerSpec(
            stream=TELEMETRY.name,
            name=f"{host.tenant}_{agent}_tap{index}",
            subjects=(f"{subjects.every(subjects.Kind.TELEMETRY, host.tenant)}",),
            ack_wait_s=ACK_WAIT_S,
        )
        self._loop: asyncio.Task[None] | None = None
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Begin. Raises BusError."""
        self._consumer = await self._host.bus.streams.consume(self._spec)
        self._loop = asyncio.create_task(self._run(self._consumer, self._tap.make()))

    async def stop(self) -> None:
        """End after the batch in hand."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.wait([self._loop])
        if self._consumer is not None:
            await self._consumer.stop()

    async def _run(self, consumer: Consumer, watch: Watcher) -> None:
        ctx = TapContext(self._host)
        last_tick_s = self._host.clock.monotonic_s()
        while True:
            try:
                leases = await consumer.fetch(BATCHES, self._tap.tick_s)
                for lease in leases:
                    batch = _decode(lease.message.body)
                    if batch is not None:
                        await self._give(watch, batch, ctx)
                    await lease.ack()
                now_s = self._host.clock.monotonic_s()
                if not leases or now_s - last_tick_s >= self._tap.tick_s:
                    last_tick_s = now_s
                    await self._give(watch, None, ctx)
            except BusError as error:
                log.warning("tap_interrupted", consumer=self._spec.name, error=error.message)
                await asyncio.sleep(RETRY_S)

    async def _give(self, watch: Watcher, batch: TelemetryBatch | None, ctx: TapContext) -> None:
        try:
            await watch(batch, ctx)
        except BusError:
            raise
        except Exception:
            # One batch that a detector cannot take must not stop the others from being read.
            log.exception("tap_failed", consumer=self._spec.name, node=batch.node if batch else None)


def _decode(body: bytes) -> TelemetryBatch | None:
    try:
        return decode(body)
    except MessageError as error:
        log.warning("telemetry_batch_unreadable", error=error.message, bytes=len(body))
        return None
