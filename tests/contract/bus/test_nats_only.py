"""What only a real server can do to us: go away, come back, refuse, be slow."""

import asyncio
import os
import resource
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import nats
import pytest
from nats.aio.client import Client as Foreign
from nats.js.api import DiscardPolicy, StreamConfig
from nats.protocol.parser import Parser

from antiphon.runtime.bus.base import ConsumerSpec, Delivery, StreamSpec
from antiphon.runtime.bus.client import Client
from antiphon.runtime.bus.connect import open_bus
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.parser import QuickParser
from antiphon.runtime.bus.server import EmbeddedServer, acquire
from antiphon.runtime.errors import BusUnavailable, ConfigurationError, NoResponders

pytestmark = pytest.mark.nats
Dial = Callable[[], Awaitable[NatsBus]]
SPEC = StreamSpec(name="S", subjects=("s.>",), max_bytes=1_000_000, owes_work=True)


class Server:
    """A server that can be killed and started again on the same port and store."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.held: list[EmbeddedServer] = [acquire(home)]

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.held[0].url

    @property
    def token(self) -> str:
        """What it asks for."""
        return self.held[0].token

    @property
    def _pid(self) -> int:
        (ports,) = (self._home / "nats").glob("*.ports")
        return int(ports.stem.rpartition("_")[2])

    def kill(self) -> None:
        """As the kernel would."""
        os.kill(self._pid, signal.SIGKILL)

    def limit_files(self, size: int) -> None:
        """No file may grow beyond ``size`` bytes: as good as a full disk."""
        resource.prlimit(self._pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    async def restart(self) -> None:
        """The next user finds it dead and starts it anew."""
        self.held.append(await asyncio.to_thread(acquire, self._home))
        assert self.held[-1].url == self.url


@pytest.fixture
async def server(tmp_path: Path) -> AsyncGenerator[Server, None]:
    """A running server."""
    found = await asyncio.to_thread(Server, tmp_path)
    yield found
    for held in found.held:
        held.release()


@pytest.fixture
async def bus(server: Server) -> AsyncGenerator[NatsBus, None]:
    """A client of it."""
    found = await NatsBus.connect(server.url, server.token)
    yield found
    await found.close()


@pytest.fixture
async def other(server: Server) -> AsyncGenerator[Dial, None]:
    """``await other()``: one more client, closed also when the test fails, so that its rubbish fails no later one."""
    async with AsyncExitStack() as stack:

        async def connect() -> NatsBus:
            found = await NatsBus.connect(server.url, server.token)
            stack.push_async_callback(found.close)
            return found

        yield connect


@pytest.fixture
async def foreign(server: Server) -> AsyncGenerator[Foreign, None]:
    """A bare client of nats-py."""
    client = await nats.connect(server.url, token=server.token)
    yield client
    await client.close()


async def _ask_until_answered(bus: NatsBus, subject: str) -> Delivery:
    async with asyncio.timeout(60):
        while True:
            try:
                return await bus.request(subject, b"again", timeout_s=0.5)
            except (BusUnavailable, NoResponders):
                await asyncio.sleep(0.05)


class TestRestart:
    """The server is killed and comes back."""

    async def test_subscriptions_live_on(self, server: Server, bus: NatsBus) -> None:
        """Subscriptions and requests work again after a restart."""

        async def echo(delivery: Delivery) -> None:
            await bus.publish(delivery.reply, delivery.body)

        await bus.subscribe("a", echo)
        assert (await bus.request("a", b"before", timeout_s=60)).body == b"before"
        server.kill()
        await server.restart()
        assert (await _ask_until_answered(bus, "a")).body == b"again"

    async def test_waiting_fetch_lives_on(self, server: Server, bus: NatsBus, other: Dial) -> None:
        """A fetch that waits when the server goes gets the message that comes after the restart."""
        await bus.streams.ensure(SPEC)
        consumer = await bus.streams.consume(ConsumerSpec(stream="S", name="w", subjects=("s.>",)))
        waiting = asyncio.ensure_future(consumer.fetch(1, 60))
        await asyncio.sleep(0.1)
        server.kill()
        await server.restart()
        there = await other()
        await there.streams.append("s.a", b"after")
        (lease,) = await asyncio.wait_for(waiting, 60)
        assert lease.message.body == b"after"
        await lease.ack()

    async def test_what_was_stored_is_there(self, server: Server, bus: NatsBus, other: Dial) -> None:
        """Acked appends, consumer positions and buckets survive a killed server process."""
        await bus.streams.ensure(SPEC)
        bucket = await bus.buckets.open("state")
        await bucket.put("k", b"1")
        for number in range(10):
            await bus.streams.append("s.a", str(number).encode())
        server.kill()
        await server.restart()
        there = await other()
        assert [message.sequence async for message in there.streams.read("S", "s.a")] == list(range(1, 11))
        found = await (await there.buckets.open("state")).get("k")
        assert found is not None and found.value == b"1"

    async def test_watch_lives_on(self, server: Server, bus: NatsBus, other: Dial) -> None:
        """A watcher tells what changed while the server was away and after, and nothing twice."""
        bucket = await bus.buckets.open("state")
        await bucket.put("stays", b"1")
        await bucket.put("goes", b"1")
        watch = bucket.watch()
        first = {(await asyncio.wait_for(anext(watch), 60)).key for _ in range(2)}
        assert first == {"stays", "goes"}
        server.kill()
        await server.restart()
        there = await other()
        theirs = await there.buckets.open("state")
        await theirs.delete("goes")
        await theirs.put("new", b"2")
        later: dict[str, bytes | None] = {}
        while len(later) < 2:
            entry = await asyncio.wait_for(anext(watch), 60)
            later[entry.key] = entry.value
        assert later == {"goes": None, "new": b"2"}
        await watch.aclose()

    async def test_publishing_to_nobody_is_bounded(self, server: Server, bus: NatsBus) -> None:
        """While the server is away a bounded amount waits, then publishing fails; nothing hangs."""
        server.kill()
        with pytest.raises(BusUnavailable, match="server is away"):
            async with asyncio.timeout(60):
                for _ in range(100):
                    await bus.publish("a", b"x" * 100_000)
                    await asyncio.sleep(0.005)

    async def test_requests_say_that_it_is_away(self, server: Server, bus: NatsBus) -> None:
        """A request that finds no server ends at its own time with BusUnavailable."""
        server.kill()
        await asyncio.sleep(0.2)
        with pytest.raises(BusUnavailable, match="server is away"):
            await bus.request("a", b"", timeout_s=0.3)

    async def test_close_while_away(self, server: Server, bus: NatsBus) -> None:
        """Closing without a server takes no longer than a moment."""
        await bus.subscribe("a", asyncio.Queue[Delivery]().put)
        server.kill()
        await asyncio.sleep(0.2)
        async with asyncio.timeout(60):
            await bus.close()


class TestOpen:
    """``open_bus``."""

    async def test_unreachable(self, tmp_path: Path) -> None:
        """Nobody at the URL: an error within 5 s that names it and both ways out."""
        async with asyncio.timeout(5):
            with pytest.raises(BusUnavailable, match="unset ANTIPHON_NATS_URL") as refusal:
                await open_bus("nats://127.0.0.1:9", None, tmp_path, "test")
        assert "127.0.0.1:9" in str(refusal.value)
        assert os.listdir(tmp_path) == []

    async def test_refused(self, server: Server, tmp_path: Path) -> None:
        """A wrong token is said at once, and the token is not repeated."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(BusUnavailable, match=r"(?i)authorization") as refusal:
            await open_bus(server.url.replace("//", "//secret@"), "wrong", tmp_path, "test")
        assert loop.time() - begun < 4  # what a connect may take
        assert "secret" not in str(refusal.value)

    @pytest.mark.parametrize("url", ["nats://host:notaport", "nats://", "http://127.0.0.1:4222"])
    async def test_no_url(self, tmp_path: Path, url: str) -> None:
        """Something that is no URL is a configuration error with the accepted form."""
        with pytest.raises(ConfigurationError, match="expected a form"):
            await open_bus(url, None, tmp_path, "test")

    async def test_not_nats(self, tmp_path: Path) -> None:
        """Something else on the port is an error, not a hang."""

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await writer.drain()
            await reader.read(100)
            writer.close()

        other = await asyncio.start_server(talk, "127.0.0.1", 0)
        port = other.sockets[0].getsockname()[1]
        async with other, asyncio.timeout(60):
            with pytest.raises(BusUnavailable, match=str(port)):
                await open_bus(f"nats://127.0.0.1:{port}", None, tmp_path, "test")

    async def test_embedded(self, tmp_path: Path) -> None:
        """Without a URL the embedded server is used, shared, and let go of with the bus."""
        one = await open_bus(None, None, tmp_path, "one")
        two = await open_bus(None, None, tmp_path, "two")
        got: asyncio.Queue[Delivery] = asyncio.Queue()
        await two.subscribe("a", got.put)
        await one.publish("a", b"hello")
        assert (await asyncio.wait_for(got.get(), 60)).body == b"hello"
        await one.close()
        await two.close()


class TestPlainPath:
    """The way through nats-py's public methods, for a version whose insides have changed."""

    async def test_works_without_the_direct_path(self, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
        """Publishing, headers, requests and no responders work without any override being called."""
        monkeypatch.setattr(Client, "direct", False)
        monkeypatch.delattr(Client, "_process_msg")
        monkeypatch.setattr(QuickParser, "parse", Parser.parse)
        bus = await NatsBus.connect(server.url, server.token)
        got: list[Delivery] = []

        async def echo(delivery: Delivery) -> None:
            got.append(delivery)
            await bus.publish(delivery.reply, delivery.body, delivery.headers)

        await bus.subscribe("a", echo)
        answer = await bus.request("a", b"body", {"k": "v"}, timeout_s=60)
        assert (answer.body, dict(answer.headers), dict(got[0].headers)) == (b"body", {"k": "v"}, {"k": "v"})
        with pytest.raises(NoResponders):
            await bus.request("nobody", b"", timeout_s=60)
        await bus.streams.ensure(SPEC)
        await bus.streams.append("s.a", b"1", {"k": "v"})
        last = await bus.streams.last("s.a")
        assert last is not None and last.headers == {"k": "v"}
        consumer = await bus.streams.consume(ConsumerSpec(stream="S", name="w", subjects=("s.>",)))
        (lease,) = await consumer.fetch(5, 60)
        await lease.ack()
        assert await consumer.fetch(5, 0.1) == []
        await bus.close()

    async def test_direct_path_is_used(self, bus: NatsBus) -> None:
        """The installed nats-py has the insides that the quick path needs; if this fails, asks have become slower."""
        connection = bus._core.connection
        assert connection._direct
        assert len(connection._client._sinks) == 1  # the inbox
        got: asyncio.Queue[Delivery] = asyncio.Queue()
        await bus.subscribe("a", got.put)
        await bus.publish("a", b"1")
        await asyncio.wait_for(got.get(), 60)
        assert connection._client.stats["in_msgs"] == 0  # counted by the stock path only


class TestForeign:
    """Other clients on the same subjects."""

    async def test_a_bare_nats_client_is_understood(self, bus: NatsBus, foreign: Foreign) -> None:
        """A message with nats-py's own header form arrives, and ours is read by it."""
        got: asyncio.Queue[Delivery] = asyncio.Queue()
        await bus.subscribe("a", got.put)
        await foreign.publish("a", b"1", headers={"Antiphon-Type": "Question"})
        delivery = await asyncio.wait_for(got.get(), 60)
        assert dict(delivery.headers) == {"Antiphon-Type": "Question"}
        theirs = await foreign.subscribe("b")
        await foreign.flush()
        await bus.publish("b", b"2", {"x": "ü: y"}, reply="r")
        message = await theirs.next_msg(60)
        assert (message.data, message.headers, message.reply) == (b"2", {"x": "ü: y"}, "r")

    async def test_lost_consumer_is_rebuilt(self, bus: NatsBus, foreign: Foreign) -> None:
        """A durable that somebody deletes is made again by the fetch that misses it."""
        await bus.streams.ensure(SPEC)
        consumer = await bus.streams.consume(ConsumerSpec(stream="S", name="w", subjects=("s.>",)))
        waiting = asyncio.ensure_future(consumer.fetch(1, 60))
        await asyncio.sleep(0.05)
        await foreign.jetstream().delete_consumer("S", "w")
        await bus.streams.append("s.a", b"1")
        assert len(await waiting) == 1

    async def test_slow_consumer_is_counted(self, bus: NatsBus) -> None:
        """What nats-py itself drops counts as dropped here."""
        await bus._core.connection._on_error(nats.errors.SlowConsumerError("a", "", 1, None))  # type: ignore[arg-type]
        assert bus.dropped == 1

    async def test_insufficient_storage(self, bus: NatsBus) -> None:
        """A stream larger than the server's limit is an error that says what to do."""
        with pytest.raises(BusUnavailable, match="raise max_file_store"):
            await bus.streams.ensure(StreamSpec(name="BIG", subjects=("big.>",), max_bytes=1 << 40, owes_work=True))

    async def test_full_disk(self, server: Server, bus: NatsBus) -> None:
        """The server is silent then (seen), so the append says which stream, how much it uses, and what to do."""
        await bus.streams.ensure(SPEC)
        server.limit_files(200_000)
        with pytest.raises(BusUnavailable, match=r"S uses \d+ of 1000000 bytes\), so its disk is probably full.*free"):
            for _ in range(10):
                await bus.streams.append("s.a", b"x" * 50_000)

    async def test_stream_of_an_older_version(self, bus: NatsBus, foreign: Foreign) -> None:
        """One made without rollups and TTLs gets both, keeps its messages and the limit that somebody raised."""
        older = StreamConfig(name="S", subjects=["s.>"], discard=DiscardPolicy.NEW, max_bytes=2_000_000)
        await foreign.jetstream().add_stream(older)
        await bus.streams.append("s.a", b"1")
        await bus.streams.ensure(SPEC)
        assert await bus.streams.append("s.a", b"2", rollup=True, ttl_s=60) == 2
        info = await foreign.jetstream().stream_info("S")
        assert (info.config.max_bytes, info.state.messages) == (2_000_000, 1)

    async def test_forgetful_stream_of_another_maker(self, bus: NatsBus, foreign: Foreign) -> None:
        """A stream made by hand that ages out messages is refused where work is owed."""
        await foreign.jetstream().add_stream(name="S", subjects=["s.>"], max_age=60, max_bytes=1000)
        with pytest.raises(ConfigurationError, match="discard='old', max_age="):
            await bus.streams.ensure(SPEC)
