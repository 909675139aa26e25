"""A store with one small run, and the console over it."""

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from pydantic import SecretStr

from antiphon import Agent, Client, Context, Message, System
from antiphon.agents.logging_agent.agent import logging_agent
from antiphon.runtime.certificate import Certificate
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.console.access import LOCAL, Access
from antiphon.runtime.console.app import create_app
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.console.office import Office
from antiphon.runtime.console.otlp_in import Receiver
from antiphon.runtime.console.server import serve
from antiphon.runtime.gateways.http.app import Beside, Door
from antiphon.runtime.observatory import entrance_of, feed_of_others
from antiphon.runtime.settings import Settings
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.store.writer import StoreWriter
from antiphon.runtime.testing import memory_cluster
from antiphon.schemas.node import AgentCard, NodeCard
from antiphon.schemas.telemetry import LogRecord, SpanEvent, SpanRecord, TelemetryBatch

S = 1_000_000_000
START = 1_700_000_000 * S
TOKEN = "0123456789abcdef"
HOSTILE = "<img src=x onerror=alert(1)>"


class Make:
    """Spans of run r1: planner asks writer; writer calls a model and a tool; critic joins both."""

    start_ns = START
    hostile = HOSTILE

    def span(
        self, number: int, parent: int | None, at_s: float, took_s: float, attributes: dict[str, Any], **more: Any
    ) -> SpanRecord:
        start = START + int(at_s * S)
        return SpanRecord(
            trace_id=b"\x01" * 16,
            span_id=number.to_bytes(8),
            parent_id=None if parent is None else parent.to_bytes(8),
            start_ns=start,
            end_ns=start + int(took_s * S) if took_s else 0,
            attributes={"antiphon.run": "r1", **attributes},
            **{"name": f"step {number}", **more},
        )

    def send(
        self, number: int, parent: int | None, to: str, at_s: float, took_s: float, op: str = "call", **more: Any
    ) -> SpanRecord:
        attributes = {"antiphon.operation": op, "messaging.destination.name": f"antiphon.default.task.{to}", **more}
        return self.span(number, parent, at_s, took_s, attributes, kind=3, name="publish …")

    def handle(
        self, number: int, parent: int | None, to: str, at_s: float, took_s: float, wait_s: float = 0, **more: Any
    ) -> SpanRecord:
        agent, handler = to.split(".")
        dequeued = START + int(at_s * S)
        attributes = {
            "antiphon.agent": agent,
            "antiphon.handler": handler,
            "antiphon.task": f"t{number}",
            "antiphon.attempt": 1,
            "antiphon.queue.enter_ns": dequeued - int(wait_s * S),
            "antiphon.queue.dequeue_ns": dequeued,
            **more.pop("attributes", {}),
        }
        return self.span(number, parent, at_s, took_s, attributes, kind=4, name="process …", **more)

    def chat(self, number: int, parent: int, at_s: float) -> SpanRecord:
        """One second: 0.1 waiting, 0.2 prefill, 0.5 decode; 100 tokens in, 40 of them cached, 7 out."""
        attributes = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "m",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 7,
            "gen_ai.usage.cache_read.input_tokens": 40,
            "antiphon.model.queue_s": 0.1,
            "antiphon.model.prefill_s": 0.2,
            "antiphon.model.decode_s": 0.5,
        }
        return self.span(number, parent, at_s, 1, attributes, kind=2, name="chat m")

    def run(self) -> list[SpanRecord]:
        """Eight spans, 10 s."""
        tool = {"gen_ai.operation.name": "execute_tool", "evil": HOSTILE}
        join: dict[str, Any] = {"antiphon.msg.causes": [(3).to_bytes(8).hex()]}
        failed = self.handle(
            8,
            7,
            "critic.review",
            8,
            1,
            status=2,
            status_message=HOSTILE,
            attributes={"antiphon.attempt": 2},
        )
        failed.events.append(SpanEvent(name="exception", unix_ns=START, attributes={"exception.message": HOSTILE}))
        return [
            self.send(1, None, "planner.plan", 0, 0.1, op="submit"),
            self.handle(2, 1, "planner.plan", 0.5, 9.5),
            self.send(3, 2, "writer.write", 1, 6),
            self.handle(4, 3, "writer.write", 3, 4, wait_s=2),
            self.chat(5, 4, 4),
            self.span(6, 4, 5.5, 0.5, tool, name="execute_tool search"),
            self.send(7, 2, "critic.review", 7.5, 2, **join),
            failed,
        ]


@pytest.fixture
def make() -> Make:
    return Make()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store.open(tmp_path / "store.db", clock=SystemClock())
    yield store
    store.close()


@pytest.fixture
def put(store: Store) -> Callable[..., None]:
    """Store spans and logs as the next batch."""
    count = iter(range(1, 1_000_000))

    def write(*spans: SpanRecord, logs: tuple[LogRecord, ...] = ()) -> None:
        batch = TelemetryBatch(node="a", sequence=next(count), spans=list(spans), logs=list(logs))
        store.write([Received(batch=batch)])

    return write


@pytest.fixture
def reader(store: Store) -> Iterator[Reader]:
    reader = Reader.open(store.path)
    yield reader
    reader.close()


@pytest.fixture
def live() -> Iterator[LiveFeed]:
    live = LiveFeed(SystemClock(), heartbeat_s=0.02)
    yield live
    live.close()


async def _directory() -> tuple[list[NodeCard], list[AgentCard]]:
    node = NodeCard(
        node="a", kind="node", host="h", pid=1, version="0", agents=("writer",), models=(), started_unix_ms=1
    )
    return [node], [AgentCard(name="writer", version="1", description=HOSTILE, handlers=(), slots=2)]


@pytest.fixture
def app(reader: Reader, live: LiveFeed) -> Any:
    return create_app(reader, _directory, TOKEN, live)


@pytest.fixture
async def anonymous(app: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A browser without the token."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7000") as client:
        yield client


@pytest.fixture
async def client(anonymous: httpx.AsyncClient) -> httpx.AsyncClient:
    """A program with the token."""
    anonymous.headers["authorization"] = f"Bearer {TOKEN}"
    return anonymous


class Note(Message):
    text: str


class Noted(Message):
    text: str


def _workshop() -> System:
    clerk = Agent("clerk", lease_s=1.0, max_attempts=1)

    @clerk.handles
    async def note(message: Note, ctx: Context) -> Noted:
        """Repeat a text, after somebody agreed if it asks for that."""
        if message.text == "break":
            raise ValueError("broken")
        if message.text == "ask":
            answered = await ctx.approve(Note(text="may I?"))
            return Noted(text=answered.value.text)
        return Noted(text=message.text)

    return System("workshop", agents=[clerk, logging_agent])


@dataclass
class Console:
    """A system on the in-memory bus, its store, and the console over both. ``address`` really listens."""

    client: Client
    store: Store
    address: str
    http: httpx.AsyncClient

    async def act(self, name: str, /, **wish: Any) -> httpx.Response:
        return await self.http.post(f"/api/actions/{name}", json=wish)

    async def get(self, path: str, **query: Any) -> Any:
        answer = await self.http.get(path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def until(self, path: str, ready: Callable[[Any], bool], **query: Any) -> Any:
        """What is found at ``path`` once it is so: telemetry takes 0.2 s to the store."""
        async with asyncio.timeout(60):
            while not ready(found := await self.get(path, **query)):  # noqa: ASYNC110  # the page asks again too
                await asyncio.sleep(0.02)  # it is on its way through the store
        return found


@dataclass
class Studio:
    """What consoles of a test are made of."""

    store: Store
    reader: Reader
    live: LiveFeed
    home: Path

    @asynccontextmanager
    async def open(self, access: Access = LOCAL, *, capture_content: bool = False) -> AsyncGenerator[Console, None]:
        """A console that is reached so, on a port of its own."""
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(
                memory_cluster(_workshop(), settings=Settings(home=self.home, trace=1))
            )
            client = cluster.client
            writing = asyncio.create_task(
                StoreWriter(self.store, client.host.bus.streams, SystemClock(), self.live).run()
            )
            stack.callback(writing.cancel)
            office = Office(client, self.store, self.reader, capture_content=capture_content)
            entrance = entrance_of(access, TOKEN, self.store, SystemClock())
            app = create_app(
                self.reader, _directory, TOKEN, self.live, more=office.routes(), access=access, entrance=entrance
            )
            feed = feed_of_others(client.host)
            feed.start()
            stack.push_async_callback(feed.close)
            receiver = Receiver(feed, client.host.content_hash, capture_content=capture_content)
            door = Door(client, {"owner": SecretStr(TOKEN)}, (), receiver.routes())
            app.add_middleware(Beside, door=door.app)
            server = await serve(app, 0)
            stack.push_async_callback(server.stop, 3.0)
            stack.callback(office.close)
            address = f"{access.scheme}://127.0.0.1:{server.port}"
            http = httpx.AsyncClient(
                base_url=address, headers={"authorization": f"Bearer {TOKEN}"}, timeout=60, verify=self.trust
            )
            await stack.enter_async_context(http)
            yield Console(client, self.store, address, http)

    @cached_property
    def _authority(self) -> trustme.CA:
        return trustme.CA()

    @cached_property
    def certificate(self) -> Certificate:
        """Of 127.0.0.1 and console.example.org."""
        issued = self._authority.issue_cert("127.0.0.1", "console.example.org")
        chain, key = self.home / "cert.pem", self.home / "key.pem"
        issued.cert_chain_pems[0].write_to_path(chain)
        issued.private_key_pem.write_to_path(key)
        return Certificate(chain=chain, key=key)

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """What a browser has that trusts nobody but whoever made the certificate."""
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._authority.configure_trust(trust)
        return trust


@pytest.fixture
def studio(store: Store, reader: Reader, live: LiveFeed, tmp_path: Path) -> Studio:
    return Studio(store, reader, live, tmp_path)


@pytest.fixture
async def console(studio: Studio) -> AsyncIterator[Console]:
    async with studio.open() as found:
        yield found
