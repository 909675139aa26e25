"""A reader of a task: late, disconnected, slow, not alone; and a node that dies under it."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.runtime.agent import remote
from antiphon.runtime.bus.base import Bus, Delivery, Receiver
from antiphon.runtime.bus.memory import MemorySubscription
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.client import Client, Done
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery import following, inbox
from antiphon.runtime.delivery.following import Following
from antiphon.runtime.delivery.ordering import Shown
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.delivery.stream_buffers import StreamBuffers
from antiphon.runtime.delivery.streaming import Emitter
from antiphon.runtime.errors import BusUnavailable, UnknownTask
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas import subjects
from antiphon.schemas.message import Message
from antiphon.schemas.task import Gap, Position, Progress, Restarted, TaskResult, TaskState, Token

CLOCK = SystemClock()
Connect = Callable[..., Awaitable[NatsBus]]


class DeafBus(MemoryBus):
    """A connection that can be away: while ``deaf``, nothing arrives."""

    deaf = False

    async def subscribe(
        self, subject: str, receiver: Receiver, *, queue: str = "", concurrency: int = 1, limit: int = 65_536
    ) -> MemorySubscription:
        """As usual, but for the deafness."""

        async def hear(delivery: Delivery) -> None:
            if not self.deaf:
                await receiver(delivery)

        return await super().subscribe(subject, hear, queue=queue, concurrency=concurrency, limit=limit)


class Stage:
    """A server, readers and nodes."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack
        self._server = MemoryServer()
        self.bus = self.connect()

    def connect(self) -> DeafBus:
        """Another client."""
        bus = DeafBus(self._server)
        self._stack.push_async_callback(bus.close)
        return bus

    async def node(self) -> StreamBuffers:
        """Another node."""
        buffers = StreamBuffers(self.connect(), CLOCK, "default")
        await buffers.start()
        self._stack.push_async_callback(buffers.stop)
        return buffers


@pytest.fixture
async def stage() -> AsyncGenerator[Stage, None]:
    """An empty one."""
    async with AsyncExitStack() as stack:
        found = Stage(stack)
        await ensure_streams(found.bus)
        yield found


async def nothing() -> None:
    """What a reader of a task that somebody else has submitted begins with."""


def follow(bus: Bus, after: Position | None = None) -> Following[TaskResult]:
    """A reader of the task ``t``."""
    return Following(bus, CLOCK, "default", "t", begin=nothing, finish=lambda result: result, after=after)


async def finish(bus: Bus, shown: int | None) -> TaskResult:
    """Store the outcome of ``t``."""
    result = TaskResult(task="t", state=TaskState.SUCCEEDED, shown=shown, started_unix_ms=0, finished_unix_ms=0)
    await bus.streams.append(subjects.result("default", "t"), encode(result), expected_last=0)
    return result


async def take(reader: Following[TaskResult], count: int) -> list[Shown | TaskResult]:
    """The next events."""
    async with asyncio.timeout(60):
        return [await anext(reader) for _ in range(count)]


async def rest(reader: Following[TaskResult]) -> list[Shown | TaskResult]:
    """All further events."""
    async with asyncio.timeout(60):
        return [event async for event in reader]


async def show(emitter: Emitter, *values: int) -> None:
    """Emit each, and see it off."""
    for value in values:
        await emitter.emit(Progress(value=value))
    await emitter.leave()


def progress(*values: int) -> list[Shown]:
    """As a reader is shown them."""
    return [Progress(value=value) for value in values]


async def test_the_events_of_a_task_end_with_its_outcome(stage: Stage) -> None:
    """In order, with a position behind each; the iterator is then exhausted."""
    emitter = Emitter(await stage.node(), "t", "r")
    reader = follow(stage.bus, Position())
    await show(emitter, 1, 2)
    assert await take(reader, 1) == progress(1)
    assert reader.position == (1, 1)
    await emitter.emit(Token(text="a"))
    result = await finish(stage.bus, await emitter.end(TaskState.SUCCEEDED))
    assert await rest(reader) == [*progress(2), Token(text="a"), result]
    assert reader.position == (1, 4)  # behind the end


async def test_nothing_is_asked_or_waited_for_when_nothing_was_shown(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The outcome says that there was no stream."""
    monkeypatch.setattr(following, "_ask", None)
    result = await finish(stage.bus, 0)
    assert await rest(follow(stage.bus)) == [result]


async def test_a_late_reader_gets_what_the_node_has_kept(stage: Stage) -> None:
    """Also a task that has ended, and only what lies behind the position."""
    emitter = Emitter(await stage.node(), "t", "r")
    await show(emitter, 1, 2, 3)
    result = await finish(stage.bus, await emitter.end(TaskState.SUCCEEDED))
    assert await rest(follow(stage.bus, Position())) == [*progress(1, 2, 3), result]
    assert await rest(follow(stage.bus, Position(1, 2))) == [*progress(3), result]


async def test_what_no_node_has_any_more_is_shown_as_a_gap(stage: Stage) -> None:
    """While the task runs and when it has ended; never silently."""
    node = await stage.node()
    await show(Emitter(node, "t", "r"), 1, 2)
    await node.stop()
    other = Emitter(await stage.node(), "t", "r", shown=2)
    reader = follow(stage.bus, Position())
    first = asyncio.create_task(take(reader, 2))
    await show(other, 3)
    assert await first == [Gap(n=0, missed=2), *progress(3)]
    result = await finish(stage.bus, 5)
    assert await rest(reader) == [Gap(n=3, missed=2), result]


async def test_a_lost_connection_is_repaired_from_the_ring(stage: Stage) -> None:
    """Whether or not anything comes afterwards that shows the gap."""
    connection = stage.connect()
    emitter = Emitter(await stage.node(), "t", "r")
    reader = follow(connection, Position())
    await show(emitter, 1)
    assert await take(reader, 1) == progress(1)
    connection.deaf = True
    await show(emitter, 2, 3)
    connection.deaf = False
    await show(emitter, 4)
    assert await take(reader, 3) == progress(2, 3, 4)
    connection.deaf = True
    await show(emitter, 5)
    connection.deaf = False
    assert await take(reader, 1) == progress(5)  # the silence made it ask
    await reader.aclose()


async def test_a_node_killed_in_the_middle(stage: Stage) -> None:
    """Another one begins anew where the journal ends: Restarted says from where on what was shown is void."""
    doomed = await stage.node()
    reader = follow(stage.bus, Position())
    await show(Emitter(doomed, "t", "r"), 1, 2, 3)
    assert await take(reader, 3) == progress(1, 2, 3)
    await doomed.stop()
    emitter = Emitter(await stage.node(), "t", "r", starts=(0, 2), shown=2)
    await show(emitter, 30, 40)
    result = await finish(stage.bus, await emitter.end(TaskState.SUCCEEDED))
    assert await rest(reader) == [Restarted(attempt=2, n=2), *progress(30, 40), result]


async def test_a_wake_up_goes_on_under_the_same_attempt(stage: Stage) -> None:
    """On another node too: no Restarted, no gap, and a late reader gets both parts."""
    reader = follow(stage.bus, Position())
    first = Emitter(await stage.node(), "t", "r")
    await show(first, 1, 2)
    second = Emitter(await stage.node(), "t", "r", shown=first.shown)
    await show(second, 3)
    result = await finish(stage.bus, await second.end(TaskState.SUCCEEDED))
    assert await rest(reader) == [*progress(1, 2, 3), result]
    assert await rest(follow(stage.bus, Position())) == [*progress(1, 2, 3), result]


async def test_a_slow_reader_stalls_nobody(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The node goes on, a quick reader sees all at once; the slow one gets it from the ring, in pieces."""
    monkeypatch.setattr(inbox, "INBOX_BYTES", 4_000)  # a dozen batches
    emitter = Emitter(await stage.node(), "t", "r")
    slow, quick = follow(stage.bus, Position()), follow(stage.bus, Position())
    await show(emitter, 0)
    assert await take(slow, 1) == await take(quick, 1) == progress(0)
    async with asyncio.timeout(60):
        for value in range(1, 100):
            await show(emitter, value)
            assert await take(quick, 1) == progress(value)
    result = await finish(stage.bus, await emitter.end(TaskState.SUCCEEDED))
    assert await rest(quick) == [result]
    assert await rest(slow) == [*progress(*range(1, 100)), result]


async def test_bytes_that_are_no_batch_are_passed_over(stage: Stage) -> None:
    """Somebody else's message on the subject does not end the reading."""
    reader = follow(stage.bus, Position())
    emitter = Emitter(await stage.node(), "t", "r")
    await show(emitter, 1)
    assert await take(reader, 1) == progress(1)
    await stage.bus.publish("antiphon.default.stream.t", b"{")
    await show(emitter, 2)
    assert await take(reader, 1) == progress(2)
    await reader.aclose()


async def test_an_error_at_the_beginning_or_in_the_outcome_ends_the_iteration(stage: Stage) -> None:
    """As an exception of its own type; nothing is left behind."""

    async def unknown() -> None:
        raise UnknownTask("no such task")

    with pytest.raises(UnknownTask):
        await rest(
            Following(stage.bus, CLOCK, "default", "t", begin=unknown, finish=lambda result: result, after=Position())
        )

    def fail(result: TaskResult) -> TaskResult:
        raise ValueError(result.task)

    await finish(stage.bus, 0)
    with pytest.raises(ValueError, match="t"):
        await rest(Following(stage.bus, CLOCK, "default", "t", begin=nothing, finish=fail))


async def test_a_bus_that_stays_away_is_an_error(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever: after AWAY_S the reader is told."""
    monkeypatch.setattr(following, "AWAY_S", 0.1)
    connection = stage.connect()
    reader = follow(connection, Position())
    emitter = Emitter(await stage.node(), "t", "r")
    await show(emitter, 1)
    assert await take(reader, 1) == progress(1)
    await connection.close()
    with pytest.raises(BusUnavailable):
        await rest(reader)


class Echo(Message):
    """What the handler of the task takes and returns."""

    text: str = ""


async def test_a_client_follows_a_task_of_another_process(stage: Stage) -> None:
    """From the id and a position alone: the typed reply in the end, or a typed error for an id nobody knows."""
    host: Any = SimpleNamespace(bus=stage.bus, clock=CLOCK, tenant="default")
    client, handler = Client(host), remote("echo.echo", Echo, Echo)
    emitter = Emitter(await stage.node(), "t", "r")
    await show(emitter, 1, 2)
    shown = await emitter.end(TaskState.SUCCEEDED)
    result = TaskResult(
        task="t",
        state=TaskState.SUCCEEDED,
        value={"text": "a"},
        run="r",
        shown=shown,
        started_unix_ms=0,
        finished_unix_ms=0,
    )
    await stage.bus.streams.append(subjects.result("default", "t"), encode(result))
    async with asyncio.timeout(60):
        events = [event async for event in client.follow("t", handler, after=(1, 1))]
        assert events == [Progress(value=2), Done(Echo(text="a"), run="r")]
        with pytest.raises(UnknownTask, match="nowhere"):
            await anext(client.follow("nowhere", handler))


class Proxy:
    """Between a client and its server, to cut the wire."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writers: list[asyncio.StreamWriter] = []
        self._pumps: list[asyncio.Task[None]] = []
        self._open = True

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client to the server, or hang up."""
        self._writers.append(writer)
        if not self._open:
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(far_writer)
        self._pumps += [asyncio.create_task(_pump(*ends)) for ends in ((reader, far_writer), (far_reader, writer))]

    def set(self, *, open: bool) -> None:
        """Cut all wires, or let the client in again."""
        self._open = open
        if not open:
            for writer in self._writers:
                writer.transport.abort()

    async def close(self) -> None:
        """Cut all wires for good."""
        self.set(open=False)
        await asyncio.gather(*self._pumps)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass  # cut, as the test wants it
    writer.close()


@pytest.fixture
async def dial(tmp_path: Path) -> AsyncGenerator[tuple[Connect, Proxy, int], None]:
    """A real server: how to connect to it, and a proxy before it with its port."""
    async with AsyncExitStack() as stack:
        address = await stack.enter_async_context(embedded_server(tmp_path))
        proxy = Proxy(int(address.url.rpartition(":")[2]))
        listener = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
        stack.callback(listener.close)
        stack.push_async_callback(proxy.close)
        port = listener.sockets[0].getsockname()[1]

        async def connect(url: str = address.url) -> NatsBus:
            bus = await NatsBus.connect(url, address.token)
            stack.push_async_callback(bus.close)
            return bus

        yield connect, proxy, port


@pytest.mark.nats
async def test_a_cut_wire_on_a_real_server(dial: tuple[Connect, Proxy, int]) -> None:
    """The reader's connection is cut while the task goes on and ends; it comes back and misses nothing."""
    connect, proxy, port = dial
    bus = await connect()
    await ensure_streams(bus)
    buffers = StreamBuffers(bus, CLOCK, "default")
    await buffers.start()
    emitter = Emitter(buffers, "t", "r")
    reader = follow(await connect(f"nats://127.0.0.1:{port}"), Position())
    await show(emitter, 1)
    assert await take(reader, 1) == progress(1)
    proxy.set(open=False)
    await show(emitter, 2, 3)
    result = await finish(bus, await emitter.end(TaskState.SUCCEEDED))
    proxy.set(open=True)
    assert await rest(reader) == [*progress(2, 3), result]
    await buffers.stop()


@pytest.mark.nats
async def test_two_readers_and_two_nodes_on_a_real_server(dial: tuple[Connect, Proxy, int]) -> None:
    """One was there from the beginning, one comes after the end; both see the restart on the second node."""
    connect, _, _ = dial
    bus, other = await connect(), await connect()
    await ensure_streams(bus)
    nodes = [StreamBuffers(each, CLOCK, "default") for each in (bus, other)]
    for node in nodes:
        await node.start()
    early = follow(await connect(), Position())
    await show(Emitter(nodes[0], "t", "r"), 1, 2)
    assert await take(early, 2) == progress(1, 2)
    emitter = Emitter(nodes[1], "t", "r", starts=(0, 1), shown=1)
    await show(emitter, *range(20, 600))
    result = await finish(other, await emitter.end(TaskState.SUCCEEDED))
    again: list[Shown | TaskResult] = [Restarted(attempt=2, n=1), *progress(*range(20, 600)), result]
    assert await rest(early) == again
    assert await rest(follow(bus, Position())) == [*progress(1, 2), *again]
    for node in nodes:
        await node.stop()
