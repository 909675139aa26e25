"""From finished spans to batches on the bus."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest
import structlog

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.telemetry import feed as feed_module
from antiphon.runtime.telemetry.codec import BATCH_BYTES, decode
from antiphon.runtime.telemetry.feed import Feed
from antiphon.runtime.telemetry.tracer import LightTracer
from antiphon.schemas.telemetry import LogRecord, TelemetryBatch


class Bus:
    """Collects what is published; fails the next ``failures`` times; waits while ``gate`` is shut."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.failures = 0
        self.calls = 0
        self.ids: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.called = asyncio.Event()
        self._arrived = asyncio.Condition()

    async def publish(self, body: bytes, message_id: str, shard: int) -> None:
        self.calls += 1
        self.ids.append(message_id)
        self.called.set()
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise ConnectionError("bus is down")
        async with self._arrived:
            self.bodies.append(body)
            self._arrived.notify_all()

    @property
    def batches(self) -> list[TelemetryBatch]:
        return [decode(body) for body in self.bodies]

    @property
    def names(self) -> list[str]:
        return [span.name for batch in self.batches for span in batch.spans]

    async def until(self, met: Callable[[], bool]) -> None:
        async with asyncio.timeout(60), self._arrived:
            await self._arrived.wait_for(met)


def new_feed(publish: Callable[[bytes, str, int], Awaitable[None]], **options: object) -> Feed:
    return Feed(node="n", publish=publish, clock=SystemClock(), **options)  # type: ignore[arg-type]  # test options


@asynccontextmanager
async def running(bus: Bus, **options: object) -> AsyncIterator[tuple[Feed, LightTracer]]:
    feed = new_feed(bus.publish, **options)
    feed.start()
    try:
        yield feed, LightTracer(feed, Random(1))
    finally:
        await feed.close()


def work(tracer: LightTracer, count: int, size: int = 0) -> None:
    for number in range(count):
        tracer.begin(str(number), 4, None, {"text": "x" * size}).finish()


def log(event: str = "happened") -> LogRecord:
    return LogRecord(unix_ns=1, level="info", event=event)


async def test_spans_and_logs_arrive_by_themselves() -> None:
    """What ends is published within an interval, numbered from one."""
    bus = Bus()
    async with running(bus) as (feed, tracer):
        work(tracer, 3)
        feed.add_log(log())
        await bus.until(lambda: bus.names == ["0", "1", "2"])
        work(tracer, 1)
        await bus.until(lambda: len(bus.bodies) == 2)
    first, second = bus.batches
    assert (first.node, first.sequence, first.dropped, second.sequence) == ("n", 1, 0, 2)
    assert [record.event for record in first.logs] == ["happened"]


async def test_many_spans_do_not_wait_for_the_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    """512 waiting spans wake the feed."""
    monkeypatch.setattr(feed_module, "INTERVAL_S", 3600.0)
    bus = Bus()
    async with running(bus) as (_, tracer):
        work(tracer, 600)
        await bus.until(lambda: len(bus.names) == 600)


async def test_batches_are_cut_at_256_kib() -> None:
    """Large spans travel in several batches, in order, none of them above the limit."""
    bus = Bus()
    async with running(bus) as (feed, tracer):
        work(tracer, 300, size=6000)
        await feed.flush()
    assert len(bus.bodies) >= 7 and max(map(len, bus.bodies)) <= BATCH_BYTES
    assert bus.names == [str(number) for number in range(300)]
    assert [batch.sequence for batch in bus.batches] == list(range(1, len(bus.bodies) + 1))


async def test_a_full_buffer_refuses_the_newest_and_counts() -> None:
    """Beyond the limit records are dropped, and every later batch says how many."""
    bus = Bus()
    async with running(bus, limit=10) as (feed, tracer):
        work(tracer, 15)
        for _ in range(12):
            feed.add_log(log())
        await feed.flush()
        stats = feed.stats()
    assert bus.names == [str(number) for number in range(10)]
    assert bus.batches[-1].dropped == 7
    assert (stats.dropped, stats.spans, stats.logs, stats.waiting) == (7, 10, 10, 0)


async def test_a_stuck_bus_never_blocks_a_span() -> None:
    """While publishing hangs the buffer fills to its limit and no further."""
    bus = Bus()
    bus.gate.clear()
    async with running(bus, limit=100) as (feed, tracer):
        work(tracer, 1)
        flushing = asyncio.create_task(feed.flush())
        async with asyncio.timeout(60):
            await bus.called.wait()
        work(tracer, 150)
        assert feed.stats().waiting == 101 and feed.stats().dropped == 50
        bus.gate.set()
        await flushing
        await feed.flush()
    assert len(bus.names) == 101


async def test_a_failed_publish_is_tried_again() -> None:
    """An outage costs nothing while it is short; the bus can tell a batch that comes twice."""
    bus = Bus()
    bus.failures = 3
    async with running(bus) as (feed, tracer):
        work(tracer, 2)
        await feed.flush()
        assert feed.stats().failed == 0 and bus.names == ["0", "1"] and bus.calls == 4
        assert len(set(bus.ids)) == 1


async def test_a_batch_refused_for_long_is_lost_counted_and_logged_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage is one line in the log, a count, and a gap in the sequence."""
    monkeypatch.setattr(feed_module, "OUTAGE_S", 0.0)
    bus = Bus()
    bus.failures = 2
    with structlog.testing.capture_logs() as lines:
        async with running(bus) as (feed, tracer):
            for _ in range(3):
                work(tracer, 1)
                await feed.flush()
            assert feed.stats().failed == 2 and feed.stats().spans == 1
    assert [batch.sequence for batch in bus.batches] == [3]
    assert [line["event"] for line in lines] == ["telemetry_publish_failed"]


async def test_a_bus_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publishing has a deadline."""
    monkeypatch.setattr(feed_module, "ANSWER_S", 0.01)
    monkeypatch.setattr(feed_module, "OUTAGE_S", 0.0)
    bus = Bus()
    bus.gate.clear()
    with structlog.testing.capture_logs():
        async with running(bus) as (feed, tracer):
            work(tracer, 1)
            await feed.flush()
            assert feed.stats().failed == 1


async def test_closing_sends_the_rest() -> None:
    """Nothing that ended before is left behind; what ends later is counted."""
    bus = Bus()
    async with running(bus) as (feed, tracer):
        work(tracer, 700)
    await feed.close()
    assert len(bus.names) == 700
    work(tracer, 2)
    assert feed.stats().dropped == 2 and feed.stats().waiting == 0


async def test_closing_lets_a_batch_in_flight_arrive() -> None:
    """What the feed has in hand when it is closed is sent, not cancelled."""
    bus = Bus()
    bus.gate.clear()
    async with running(bus) as (feed, tracer):
        work(tracer, 600)
        async with asyncio.timeout(60):
            await bus.called.wait()
        work(tracer, 1)
        closing = asyncio.create_task(feed.close())
        await asyncio.sleep(0)
        assert feed.stats().waiting == 601
        bus.gate.set()
        await closing
    assert len(bus.names) == 601


async def test_closing_sends_again_what_a_broker_took_to_its_grave(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch on its way when a broker is killed is never answered: it goes out again, also from a node that ends."""
    assert feed_module.ANSWER_S + feed_module.RETRY_S < feed_module.CLOSE_S
    monkeypatch.setattr(feed_module, "ANSWER_S", 0.02)
    bus = Bus()

    async def publish(body: bytes, message_id: str, shard: int) -> None:
        if bus.calls == 0:
            bus.gate.clear()
        elif bus.calls == 1:
            bus.gate.set()  # started again
        await bus.publish(body, message_id, shard)

    feed = new_feed(publish)
    feed.start()
    work(LightTracer(feed, Random(1)), 3)
    await feed.close()
    assert bus.names == ["0", "1", "2"] and bus.calls == 2 and len(set(bus.ids)) == 1


async def test_a_record_that_cannot_be_encoded_stops_nobody() -> None:
    """A mistake in the runtime is logged, and later spans arrive."""
    bus = Bus()
    with structlog.testing.capture_logs() as lines:
        async with running(bus) as (feed, tracer):
            tracer.begin("bad", 4, None, {}, links=[object()]).finish()  # type: ignore[list-item]  # the mistake
            await feed.flush()
            work(tracer, 1)
            await bus.until(lambda: bus.names == ["0"])
            assert feed.stats().dropped == 1 and feed.stats().waiting == 0
    assert [line["event"] for line in lines] == ["telemetry_encode_failed"]


async def test_closing_has_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bus that hangs does not keep the process, and the loss is logged."""
    monkeypatch.setattr(feed_module, "CLOSE_S", 0.02)
    bus = Bus()
    bus.gate.clear()
    with structlog.testing.capture_logs() as lines:
        async with running(bus) as (_, tracer):
            work(tracer, 1)
    assert [line["event"] for line in lines] == ["telemetry_lost"]


async def test_a_long_span_is_announced_once() -> None:
    """A watched span that runs at an interval leaves a start record, then its end; a quick one only its end."""
    bus = Bus()
    async with running(bus) as (feed, tracer):
        long = tracer.begin("long", 4, None, {"a": 1}, announce=True)
        tracer.begin("quick", 4, None, {}, announce=True).finish()
        unannounced = tracer.begin("plain", 4, None, {})
        await bus.until(lambda: bus.names == ["long", "quick"])
        await feed.flush()
        long.finish({"b": 2})
        unannounced.finish()
        await feed.flush()
    start, quick, end, _ = (span for batch in bus.batches for span in batch.spans)
    assert (start.end_ns, start.attributes) == (0, {"a": 1}) and quick.end_ns > 0
    assert (end.span_id, end.attributes) == (start.span_id, {"a": 1, "b": 2}) and end.end_ns > end.start_ns


async def test_readers_in_the_process_get_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sinks see every batch as a value, also when the bus refuses it, and one that raises harms nobody."""
    monkeypatch.setattr(feed_module, "OUTAGE_S", 0.0)
    seen: list[TelemetryBatch] = []

    def broken(batch: TelemetryBatch) -> None:
        raise ValueError("sink")

    bus = Bus()
    with structlog.testing.capture_logs() as lines:
        async with running(bus, sinks=[broken, seen.append]) as (feed, tracer):
            work(tracer, 2)
            await feed.flush()
            bus.failures = 1
            work(tracer, 1)
            await feed.flush()
    assert seen[:1] == bus.batches and len(seen) == 2
    assert [line["event"] for line in lines].count("telemetry_sink_failed") == 2


async def test_spans_may_end_in_any_thread() -> None:
    """Worker threads lose nothing while the feed empties the buffer."""
    bus = Bus()
    async with running(bus) as (feed, _):
        tracers = [LightTracer(feed, Random(seed)) for seed in range(4)]
        threads = [threading.Thread(target=work, args=(tracer, 2000)) for tracer in tracers]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            await feed.flush()
        await feed.flush()
    assert len(bus.names) == 8000 and feed.stats().dropped == 0
    assert len({span.span_id for batch in bus.batches for span in batch.spans}) == 8000


async def test_all_spans_of_a_trace_go_to_one_shard() -> None:
    """Also those that had to be made to fit; the shards are all used, and logs are in the first."""
    shards: list[tuple[int, TelemetryBatch]] = []

    async def publish(body: bytes, message_id: str, shard: int) -> None:
        shards.append((shard, decode(body)))

    feed = new_feed(publish, shards=4)
    feed.start()
    tracer = LightTracer(feed, Random(1))
    for number in range(64):
        root = tracer.begin("root", 4, None, {})
        tracer.begin("child", 0, root, {"text": "x" * (100_000 if number % 16 == 0 else 1)}).finish()
        root.finish()
    feed.add_log(log())
    await feed.close()
    homes: dict[bytes, set[int]] = {}
    for shard, batch in shards:
        for span in batch.spans:
            homes.setdefault(span.trace_id, set()).add(shard)
    assert len(homes) == 64
    assert all(len(home) == 1 for home in homes.values())
    assert set.union(*homes.values()) == {0, 1, 2, 3}
    assert [shard for shard, batch in shards if batch.logs] == [0]
    assert sorted(batch.sequence for _, batch in shards) == list(range(1, len(shards) + 1))
