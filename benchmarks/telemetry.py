"""What watching costs: detectors a span, their memory, the way from the bus into the store, and tracing an ask.

- detectors: the logging agent's core with every pattern on, on one core, for 10 million spans. With ``--quick`` it is
  one million, of which the first second, when it does not know yet how much comes, is a large part. More comes than it
  may analyse, so it samples whole traces while the streaming layers see every span. Beside it the raw limit (reading
  every batch and looking at each span's operation once) and the core with sampling off, which analyses everything.
- memory: how much the resident set of that process grows between the first tenth, when caches are full, and the end.
- bus to store: batches of 256 spans wait in the stream of an embedded server; timed until the last is on disk. Beside
  it the store alone and reading the stream alone.
- tracing: an ask on the in-memory bus with tracing on and off, in turns; beside it OpenTelemetry's SDK for two spans
  with as many attributes.
- tracing of slow calls: a small system on a real server whose calls take 50 ms, 16 at a time, with tracing on and off
  in turns; what a run takes longer, and what more of the processor it uses, as shares of the time of a run.
"""

import argparse
import asyncio
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table
from telemetry_cases.tracing import asks, sdk_us, share

from antiphon.agents.logging_agent.agent import TICK_S
from antiphon.agents.logging_agent.assembler import Limits
from antiphon.agents.logging_agent.core import LoggingCore
from antiphon.runtime.bus.base import ConsumerSpec
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.bus.topology import TELEMETRY, ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.store.writer import StoreWriter
from antiphon.runtime.telemetry import attributes as attr
from antiphon.runtime.telemetry.codec import decode, encode
from antiphon.runtime.whatif import facts
from antiphon.runtime.whatif.testing import Traced
from antiphon.schemas import subjects
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

BATCH = 256
TRACES = 2_000  # made once; later rounds are the same with other ids, later
ROUND_NS = 240_000_000  # traces of one round begin within it: 150,000 spans a second arrive
S = 1_000_000_000


def one(number: int) -> Traced:
    """A run of two agents: asks, model calls and tools, of which some repeat what other runs did."""
    rng = random.Random(number)
    trace = Traced(number, at_ms=number * ROUND_NS / TRACES / 1e6)
    root = trace.ask(None, "planner.plan", 0, 1_000)
    at_ms = 10
    for step in range(4):
        worker = trace.ask(root, f"worker{step % 2}.do", at_ms, at_ms + 150, causes=[])
        trace.model(worker, at_ms + 10, at_ms + 120, causes=[], content=f"q{rng.randrange(10**9)}")
        trace.tool(root, "fetch", at_ms + 190, at_ms + 220, effect="read", content=f"d{rng.randrange(1_000)}")
        at_ms += 230
    return trace


def batches(rounds: int) -> Iterator[TelemetryBatch]:
    """The stream: spans of overlapping runs in order of their ends, 256 a batch; other ids and times in each round."""
    spans = sorted((span for n in range(1, TRACES + 1) for span in one(n).spans), key=lambda span: span.end_ns)
    sequence = 0
    for number in range(rounds):
        rng = random.Random(number)
        second = (spans[0].start_ns + number * ROUND_NS) // S
        ids = {span.trace_id: second.to_bytes(4, "big") + rng.randbytes(12) for span in spans}  # as the tracer does
        for start in range(0, len(spans), BATCH):
            sequence += 1
            part = [_later(span, ids[span.trace_id], number * ROUND_NS) for span in spans[start : start + BATCH]]
            yield TelemetryBatch(node=f"n{sequence % 4}", sequence=sequence // 4 + 1, spans=part)


def _later(span: SpanRecord, trace_id: bytes, by_ns: int) -> SpanRecord:
    attributes = dict(span.attributes)
    for key in (attr.QUEUE_ENTER_NS, attr.QUEUE_DEQUEUE_NS):
        if key in attributes:
            attributes[key] += by_ns
    return SpanRecord(
        trace_id=trace_id,
        span_id=span.span_id,
        parent_id=span.parent_id,
        name=span.name,
        kind=span.kind,
        start_ns=span.start_ns + by_ns,
        end_ns=span.end_ns + by_ns,
        attributes=attributes,
    )


def run_core(core: LoggingCore, rounds: int) -> tuple[int, float, list[int]]:
    """Spans, CPU seconds of the core alone, and the resident set in KiB at each tenth."""
    spans, cpu_s, resident = 0, 0.0, list[int]()
    total = rounds * len(one(1).spans) * TRACES
    now_ns = next_ns = 0
    for batch in batches(rounds):
        now_ns = max(now_ns, batch.spans[-1].end_ns)
        began_s = time.process_time()
        core.feed(batch, now_ns)
        if now_ns >= next_ns:
            next_ns = now_ns + int(TICK_S * S)
            _close(core, now_ns)
        cpu_s += time.process_time() - began_s
        spans += len(batch.spans)
        if spans * 10 >= total * (len(resident) + 1):
            resident.append(_resident_kib())
    began_s = time.process_time()
    _close(core, now_ns + 60 * S)  # what is still open is work too
    return spans, cpu_s + time.process_time() - began_s, resident


def _close(core: LoggingCore, now_ns: int) -> None:
    core.tick(now_ns)
    while core.is_behind:
        core.tick(now_ns)


def raw_limit(rounds: int) -> float:
    """Spans a second of CPU when each is only looked at once."""
    spans, cpu_s, seen = 0, 0.0, dict[str, int]()
    for batch in batches(rounds):
        began_s = time.process_time()
        for span in batch.spans:
            operation = facts.operation(span)
            seen[operation] = seen.get(operation, 0) + 1
        cpu_s += time.process_time() - began_s
        spans += len(batch.spans)
    return spans / cpu_s


def detectors(rounds: int) -> tuple[float, float]:
    """Spans a second of CPU, and MB that the resident set grows after the first tenth. In this process: call it in a
    fresh one."""
    spans, cpu_s, resident = run_core(LoggingCore(rng=random.Random(1)), rounds)
    return spans / cpu_s, (resident[-1] - resident[0]) * 1024 / 1e6


def beside(rounds: int) -> tuple[float, float]:
    """Spans a second of CPU with everything analysed, and the raw limit."""
    limits = Limits(analysed_spans_per_s=1 << 40, spans_per_tick=1 << 30)
    spans, cpu_s, _ = run_core(LoggingCore(rng=random.Random(1), limits=limits), rounds)
    return spans / cpu_s, raw_limit(rounds)


async def bus_to_store(count: int) -> tuple[float, float, float]:
    """Spans a second: from the stream onto the disk, the store alone, and reading the stream alone."""
    waiting: list[TelemetryBatch] = []
    spans = 0
    for batch in batches(count // (TRACES * len(one(1).spans)) + 1):
        waiting.append(batch)
        spans += len(batch.spans)
        if spans >= count:
            break
    retention = Retention(max_age_s=1e9, max_bytes=1 << 40)
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-", ignore_cleanup_errors=True) as folder:  # server lingers
        home = Path(folder)
        alone = Store.open(home / "alone.db", clock=SystemClock(), retention=retention)
        began_s = time.perf_counter()
        for start in range(0, len(waiting), 4):
            alone.write([Received(batch=batch) for batch in waiting[start : start + 4]])
        alone_s = time.perf_counter() - began_s
        alone.close()
        async with embedded_server(home) as address:
            bus = await NatsBus.connect(address.url, address.token, name="bench")
            try:
                await ensure_streams(bus)
                subject = subjects.telemetry("default", "bench")
                for batch in waiting:
                    await bus.streams.append(subject, encode(batch))
                reading_s = await _read(bus, len(waiting))
                store = Store.open(home / "store.db", clock=SystemClock(), retention=retention)
                writer = StoreWriter(store, bus.streams, SystemClock())
                began_s = time.perf_counter()
                task = asyncio.create_task(writer.run())
                done = await writer.settle(600.0)
                through_s = time.perf_counter() - began_s
                task.cancel()
                await asyncio.wait([task])
                store.close()
                if not done:
                    raise RuntimeError("the store did not take everything within ten minutes")
            finally:
                await bus.close()
    return spans / through_s, spans / alone_s, spans / reading_s


async def _read(bus: NatsBus, count: int) -> float:
    consumer = await bus.streams.consume(
        ConsumerSpec(stream=TELEMETRY.name, name="bench_reader", subjects=TELEMETRY.subjects)
    )
    began_s, read = time.perf_counter(), 0
    while read < count:
        for lease in await consumer.fetch(16, 5.0):
            decode(lease.message.body)
            await lease.ack()
            read += 1
    took_s = time.perf_counter() - began_s
    await consumer.stop()
    return took_s


def _resident_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Run, print a table, then the figures as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the spans")
    parser.add_argument("--detectors", action="store_true", help=argparse.SUPPRESS)  # the process that is measured
    options = parser.parse_args()
    per_round = len(one(1).spans) * TRACES
    long = (1_000_000 if options.quick else 10_000_000) // per_round + 1
    if options.detectors:
        print(*detectors(long))
        return
    command = [sys.executable, __file__, "--detectors", *(["--quick"] if options.quick else [])]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=3_600).stdout
    ours, grown = map(float, said.split())
    whole, raw = beside(2)
    through, alone, reading = asyncio.run(bus_to_store(100_000 if options.quick else 400_000))
    added, plain = asyncio.run(asks(20 if options.quick else 60, 200))
    slower, busier = asyncio.run(share(8 if options.quick else 40))
    table = Table("what", "seen", "beside it", "reach")
    table.add_row(
        "detectors", f"{ours:,.0f} spans/s", f"all analysed {whole:,.0f}; each looked at {raw:,.0f}", "150,000"
    )
    table.add_row("memory", f"{grown:+.1f} MB", f"over {long * per_round:,} spans", "flat")
    table.add_row("bus to store", f"{through:,.0f} spans/s", f"store {alone:,.0f}; reading {reading:,.0f}", "30,000")
    table.add_row("tracing", f"{added:.1f} us an ask", f"of {plain:.0f}; the SDK's two spans {sdk_us():.0f}", "8")
    table.add_row("tracing, calls of 50 ms", f"{slower} longer", f"{busier} of the time in CPU", "2 %")
    Console().print(table)
    figures = {
        "detector_spans_per_s": ours,
        "rss_growth_mb": grown,
        "bus_to_store_spans_per_s": through,
        "tracing_us_per_ask": added,
        "tracing_share_50ms": slower.point,
        "tracing_share_50ms_low": slower.low,
        "tracing_share_50ms_high": slower.high,
        "tracing_cpu_share_50ms": busier.point,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
