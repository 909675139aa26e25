"""Durable tasks: how many a second beside raw nats-py and FastStream, and what a million of them leave behind.

Rates: one process and 128 at a time, a body of 120 bytes, Antiphon typed and validated, traced at 100 % with spans
published and no store running. Every variant gets a burst of tasks at once and is timed from the first publish until
the server says that nothing is pending and nothing unacked. The variants take turns, and every ratio is that of
neighbours in one round: the speed of a shared machine changes by half within seconds. Medians over rounds.

- raw: the steps of one task with nothing around them: ``publish_async``, fetch, the function, one journal entry and
  the result (both fenced, so by request and reply), ack. Without headers it does not need, types or traces.
- raw, no journal: the same without the journal entry, for what durability of the operation itself costs.
- FastStream: the same steps by its pull subscriber: typed handler, one journal entry, the result, ack.
- FastStream, no journal: without the journal entry; the result is what its publisher decorator sends, unfenced.

Backlog: a million tasks lie in the stream, then a node in a process of its own works them off. Its memory is its peak
over what it had before the first task. The broker's disk is that of its store folder when tasks, journals and results
have lapsed; what stays are the streams' last blocks, which the server keeps (8 MB each at most), however many tasks
there were. The trace stream is kept by its own limits of time and bytes and is counted apart.
"""

import argparse
import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path

import nats
import nats.errors
from faststream import FastStream
from faststream.nats import JStream, NatsBroker, NatsMessage, PullSub
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import ConsumerConfig, StreamConfig
from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, track
from rich.table import Table

from antiphon import Agent, Context, Message
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import ServerAddress, embedded_server
from antiphon.runtime.bus.topology import JOURNAL, RESULTS, TASKS, TELEMETRY
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings

RAW, BARE, OURS = "raw nats-py", "raw, no journal", "antiphon"
FAST, FAST_BARE = "faststream", "faststream, no journal"
KINDS = ("task", "journal", "result")
WORKERS = 128
BURST = 512
BODY_BYTES = 120
TEXT = "x" * (BODY_BYTES - len('{"text":""}'))
IN_FLIGHT = 100_000
LIMIT_S = 60.0  # for a burst; a second is ordinary
STALLED_S = 30.0  # of a backlog in which nothing is finished any more
KEPT_S = 5  # results and journals of the backlog; long enough for a task that is delivered twice
RETURN_S = 60.0  # for the broker to give its disk back
FIRST = {"Nats-Expected-Last-Subject-Sequence": "0"}
MB = 1e6


class Work(Message):
    """A task."""

    text: str


class Worked(Message):
    """Its result."""

    text: str
    length: int


class PlainWork(BaseModel):
    """The same for FastStream."""

    text: str


class PlainEntry(BaseModel):
    """A journal entry for FastStream."""

    value: int


class PlainWorked(BaseModel):
    """The same for FastStream."""

    text: str
    length: int


@dataclass(slots=True)
class Tally:
    """Handlers that ended, and an event for when all of a burst have."""

    left: int = 0
    empty: asyncio.Event = field(default_factory=asyncio.Event)

    def expect(self, count: int) -> None:
        """A burst of so many begins."""
        self.left = count
        self.empty.clear()

    def one(self) -> None:
        """A handler ended."""
        self.left -= 1
        if self.left == 0:
            self.empty.set()


@dataclass(frozen=True, slots=True)
class Variant:
    """``publish`` stores so many tasks on ``stream``; whoever handles them counts in ``tally``."""

    stream: str
    publish: Callable[[int], Awaitable[None]]
    tally: Tally


async def measured(length: int) -> int:
    """The handler's one operation, alike everywhere."""
    return length


def raw(name: str, *, journal: bool) -> Callable[[AsyncExitStack, ServerAddress], Awaitable[Variant]]:
    """The steps in nats-py as it does them best (``publish_async``; a batch fetched and handled together)."""

    async def build(stack: AsyncExitStack, server: ServerAddress) -> Variant:
        connection = await nats.connect(server.url, token=server.token)
        stack.push_async_callback(connection.close)
        js = connection.jetstream()
        for kind in KINDS:
            await js.add_stream(_stream(f"{name}_{kind}", f"{name}.{kind}.>"))
        pull = await js.pull_subscribe(
            f"{name}.task.>", durable=name, stream=f"{name}_task", config=ConsumerConfig(max_ack_pending=IN_FLIGHT)
        )
        tally = Tally()
        body = Work(text=TEXT).model_dump_json().encode()

        async def handle(message: Msg) -> None:
            task = message.reply.split(".")[5]  # its sequence
            text = json.loads(message.data)["text"]
            length = await measured(len(text))
            if journal:
                await js.publish(f"{name}.journal.{task}", b'{"value":%d}' % length, headers=dict(FIRST))
            result = json.dumps({"text": text, "length": length}).encode()
            await js.publish(f"{name}.result.{task}", result, headers=dict(FIRST))
            await message.ack()
            tally.one()

        async def work() -> None:
            while True:
                try:
                    messages = await pull.fetch(WORKERS, timeout=5)
                except nats.errors.TimeoutError:
                    continue
                await asyncio.gather(*map(handle, messages))

        async def publish(count: int) -> None:
            await asyncio.gather(*[await js.publish_async(f"{name}.task.work", body) for _ in range(count)])

        _background(stack, work())
        return Variant(f"{name}_task", publish, tally)

    return build


def faststream(name: str, *, journal: bool) -> Callable[[AsyncExitStack, ServerAddress], Awaitable[Variant]]:
    """FastStream's pull subscriber; a batch is handled together, as above."""

    async def build(stack: AsyncExitStack, server: ServerAddress) -> Variant:
        broker = NatsBroker(server.url, token=server.token, logger=None)
        tasks, journals, results = (JStream(f"{name}_{kind}", subjects=[f"{name}.{kind}.>"]) for kind in KINDS)
        tally = Tally()
        subscribe = broker.subscriber(
            f"{name}.task.>",
            durable=name,
            stream=tasks,
            pull_sub=PullSub(batch_size=WORKERS),
            config=ConsumerConfig(max_ack_pending=IN_FLIGHT),
        )
        if journal:

            @subscribe
            async def recorded(task: PlainWork, message: NatsMessage) -> None:
                sequence = message.raw_message.reply.split(".")[5]
                length = await measured(len(task.text))
                entry = PlainEntry(value=length)
                subject = f"{name}.journal.{sequence}"
                await broker.publish(entry, subject, stream=journals.name, headers=dict(FIRST))
                worked = PlainWorked(text=task.text, length=length)
                await broker.publish(worked, f"{name}.result.{sequence}", stream=results.name, headers=dict(FIRST))
                tally.one()

        else:

            @subscribe
            @broker.publisher(f"{name}.result.all", stream=results)
            async def work(task: PlainWork) -> PlainWorked:
                length = await measured(len(task.text))
                tally.one()
                return PlainWorked(text=task.text, length=length)

        app = FastStream(broker, logger=None)
        await broker.connect()
        js = await _jetstream(stack, server)
        for kind in KINDS[1:]:
            await js.add_stream(_stream(f"{name}_{kind}", f"{name}.{kind}.>"))
        await app.start()
        stack.push_async_callback(app.stop)
        message = PlainWork(text=TEXT)

        async def one() -> None:
            await broker.publish(message, f"{name}.task.work", stream=tasks.name)

        return Variant(tasks.name, lambda count: at_once(one, count), tally)

    return build


def _agent(tally: Tally | None) -> Agent:
    agent = Agent("durable", slots=WORKERS)

    @agent.handles
    async def work(task: Work, ctx: Context) -> Worked:
        length = await ctx.run("measure", lambda: measured(len(task.text)), effect="read")
        if tally is not None:
            tally.one()
        return Worked(text=task.text, length=length)

    return agent


async def antiphon(stack: AsyncExitStack, server: ServerAddress) -> Variant:
    """Antiphon's ``submit``; node and client share the process and a connection, as raw does."""
    tally = Tally()
    agent = _agent(tally)
    bus = await NatsBus.connect(server.url, server.token, name="durable")
    stack.push_async_callback(bus.close)
    settings = Settings(home=Path(tempfile.gettempdir()))
    host = await stack.enter_async_context(open_host(settings, node="node-durable", bus=bus))
    await stack.enter_async_context(Node(host, [agent]))
    client = Client(host)
    handler, message = agent.handlers["work"], Work(text=TEXT)

    async def one() -> None:
        await client.submit(handler, message)

    return Variant(TASKS.name, lambda count: at_once(one, count), tally)


def _stream(name: str, subject: str) -> StreamConfig:
    return StreamConfig(name=name, subjects=[subject], allow_direct=True)


def _background(stack: AsyncExitStack, work: Awaitable[None]) -> None:
    task = asyncio.ensure_future(work)

    async def stop() -> None:
        task.cancel()
        await asyncio.wait([task])

    stack.push_async_callback(stop)


async def at_once(one: Callable[[], Awaitable[None]], count: int) -> None:
    """``count`` times, by 128 loops."""
    turns: Iterator[int] = iter(range(count))

    async def loop() -> None:
        for _ in turns:
            await one()

    await asyncio.gather(*(loop() for _ in range(WORKERS)))


async def unsettled(js: JetStreamContext, stream: str) -> int:
    """Messages that no consumer of the stream has acked yet."""
    found = await js.consumers_info(stream)
    return sum((info.num_pending or 0) + (info.num_ack_pending or 0) for info in found)


async def settled(js: JetStreamContext, stream: str) -> None:
    """Return when every message of the stream is acked."""
    while True:
        if not await unsettled(js, stream):
            return
        await asyncio.sleep(0.001)


async def burst(variant: Variant, js: JetStreamContext) -> float:
    """Tasks per second of one burst. Raises TimeoutError: a task was lost."""
    variant.tally.expect(BURST)
    start = time.perf_counter()
    async with asyncio.timeout(LIMIT_S):
        await variant.publish(BURST)
        await variant.tally.empty.wait()
        await settled(js, variant.stream)
    return BURST / (time.perf_counter() - start)


async def rates(rounds: int) -> dict[str, list[float]]:
    """Tasks per second of every variant in each round."""
    variants = {
        RAW: raw("raw", journal=True),
        BARE: raw("bare", journal=False),
        OURS: antiphon,
        FAST: faststream("fast", journal=True),
        FAST_BARE: faststream("plain", journal=False),
    }
    found: dict[str, list[float]] = {name: [] for name in variants}
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = await stack.enter_async_context(embedded_server(home))
        js = await _jetstream(stack, server)
        built = {name: await build(stack, server) for name, build in variants.items()}
        for variant in built.values():
            await burst(variant, js)
        for _ in track(range(rounds), description="rounds", console=Console(stderr=True), transient=True):
            for name, variant in built.items():
                found[name].append(await burst(variant, js))
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a backlog took. Megabytes are 10^6 bytes; ``rss_mb`` is the node's before its first task."""

    submitted_per_s: float
    worked_per_s: float
    rss_mb: float
    rss_growth_mb: float
    broker_mb_before: float
    broker_mb_peak: float
    broker_mb_after: float
    messages_after: int
    telemetry_mb_after: float


async def backlog(count: int) -> Backlog:
    """Store ``count`` tasks, then have a node work them off."""
    async with AsyncExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        server = await stack.enter_async_context(embedded_server(home))
        js = await _jetstream(stack, server)
        node = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", __file__, "--serve", str(home)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert node.stdin is not None
        assert node.stdout is not None
        stack.push_async_callback(node.wait)
        stack.callback(node.stdin.close)  # it drains and ends
        await asyncio.wait_for(node.stdout.readline(), LIMIT_S)  # ready
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        shown = stack.enter_context(Progress(*columns, console=Console(stderr=True), transient=True))
        before = _broker_mb(home)
        begun = time.perf_counter()
        bar = shown.add_task("queued", total=count)
        await _submit(home, count, lambda: shown.advance(bar))
        submitted_s = time.perf_counter() - begun

        rss = _memory_mb(node.pid, "VmRSS")
        begun = last = time.perf_counter()
        peak = _broker_mb(home)
        node.stdin.write(b"\n")
        await asyncio.wait_for(node.stdout.readline(), LIMIT_S)  # working
        bar = shown.add_task("worked", total=count)
        left = count
        while left:
            await asyncio.sleep(0.25)
            peak = max(peak, _broker_mb(home))
            found = await unsettled(js, TASKS.name)
            if found != left:
                last, left = time.perf_counter(), found
                shown.update(bar, completed=count - left)
            elif time.perf_counter() - last > STALLED_S:
                raise TimeoutError(f"{left} tasks are left and none was finished in {STALLED_S:g} s")
        worked_s = time.perf_counter() - begun
        shown.add_task("forgotten", total=None)
        begun = time.perf_counter()
        while kept := await _kept(js):
            await asyncio.sleep(0.5)
            if time.perf_counter() - begun > RETURN_S:
                break
        return Backlog(
            submitted_per_s=count / submitted_s,
            worked_per_s=count / worked_s,
            rss_mb=rss,
            rss_growth_mb=_memory_mb(node.pid, "VmHWM") - rss,
            broker_mb_before=before,
            broker_mb_peak=peak,
            broker_mb_after=_broker_mb(home),
            messages_after=kept,
            telemetry_mb_after=_telemetry_mb(home),
        )


async def _kept(js: JetStreamContext) -> int:
    """Messages that tasks have left in the streams that owe work."""
    infos = [await js.stream_info(spec.name) for spec in (TASKS, JOURNAL, RESULTS)]
    return sum(info.state.messages for info in infos)


async def _submit(home: Path, count: int, on_each: Callable[[], None]) -> None:
    settings = Settings(home=home, trace=0)
    async with open_host(settings, node="client-durable") as host:
        client = Client(host)
        handler, message = _agent(None).handlers["work"], Work(text=TEXT)

        async def one() -> None:
            await client.submit(handler, message)
            on_each()

        await at_once(one, count)


async def serve(home: Path) -> None:
    """The node of the backlog: ready, a line on standard input, at work, until standard input ends."""
    agent = _agent(None)
    async with open_host(Settings(home=home, replay_window_s=KEPT_S, result_ttl_s=KEPT_S), node="node-durable") as host:
        await host.directory.register(agent.card())  # so that tasks for it are taken
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        async with Node(host, [agent]):
            print("working", flush=True)
            await asyncio.to_thread(sys.stdin.read)


async def _jetstream(stack: AsyncExitStack, server: ServerAddress) -> JetStreamContext:
    """The connection that asks how far everybody is."""
    connection = await nats.connect(server.url, token=server.token)
    stack.push_async_callback(connection.close)
    return connection.jetstream()


def _memory_mb(pid: int, field: str) -> float:
    """``VmRSS`` or its highest so far, ``VmHWM``."""
    status = Path(f"/proc/{pid}/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith(field)).split()[1]
    return int(kilobytes) * 1024 / MB


def _telemetry_mb(home: Path) -> float:
    return sum(_disk_mb(path) for path in home.glob(f"nats/store/**/{TELEMETRY.name}"))


def _broker_mb(home: Path) -> float:
    """What the server's store takes on disk, without the trace stream."""
    return _disk_mb(home / "nats" / "store") - _telemetry_mb(home)


def _disk_mb(folder: Path) -> float:
    blocks = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # the server removes files meanwhile
            blocks += path.stat().st_blocks
    return blocks * 512 / MB


def _ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Run both parts, print their tables, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a short form: 6 rounds and a backlog of 20,000 tasks")
    parser.add_argument("--serve", type=Path, metavar="HOME", help="be the node of the backlog; for the script itself")
    options = parser.parse_args()
    if options.serve is not None:
        asyncio.run(serve(options.serve))
        return
    found = asyncio.run(rates(6 if options.quick else 30))
    table = Table("variant", "tasks/s", "antiphon's part", "goal")
    for name, goal in ((RAW, "0.50"), (BARE, ""), (FAST, "1.70"), (FAST_BARE, ""), (OURS, "")):
        ratio = _ratio(found[OURS], found[name])
        table.add_row(name, f"{statistics.median(found[name]):,.0f}", f"{ratio:.2f}", goal)
    Console().print(table)
    count = 20_000 if options.quick else 1_000_000
    left = asyncio.run(backlog(count))
    table = Table(f"{count:,} queued tasks", "found", "goal")
    table.add_row("submitted", f"{left.submitted_per_s:,.0f} /s", "")
    table.add_row("worked off", f"{left.worked_per_s:,.0f} /s", "")
    table.add_row("node's memory", f"{left.rss_mb:.0f} MB", "")
    table.add_row("its growth", f"{left.rss_growth_mb:.1f} MB", "50 MB")
    table.add_row("broker's disk before", f"{left.broker_mb_before:.1f} MB", "")
    table.add_row("at its peak", f"{left.broker_mb_peak:.1f} MB", "")
    table.add_row("after", f"{left.broker_mb_after:.1f} MB", "a block")
    table.add_row("messages left", f"{left.messages_after:,}", "0")
    table.add_row("trace stream", f"{left.telemetry_mb_after:.1f} MB", "")
    Console().print(table)
    print(
        json.dumps(
            {
                "vs_raw": round(_ratio(found[OURS], found[RAW]), 4),
                "vs_faststream": round(_ratio(found[OURS], found[FAST]), 4),
                "vs_raw_without_journal": round(_ratio(found[OURS], found[BARE]), 4),
                "vs_faststream_without_journal": round(_ratio(found[OURS], found[FAST_BARE]), 4),
                "tasks_per_s": round(statistics.median(found[OURS]), 1),
                "raw_per_s": round(statistics.median(found[RAW]), 1),
                "raw_without_journal_per_s": round(statistics.median(found[BARE]), 1),
                "faststream_per_s": round(statistics.median(found[FAST]), 1),
                "faststream_without_journal_per_s": round(statistics.median(found[FAST_BARE]), 1),
                "queued": count,
                **{name: round(value, 1) for name, value in asdict(left).items()},
            }
        )
    )


if __name__ == "__main__":
    main()
