"""The process behind ``antiphon up``: store, logging agent, console and HTTP door on one bus."""

import asyncio
import importlib
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from pydantic import SecretStr

from antiphon.runtime.agent import Agent
from antiphon.runtime.client import Client
from antiphon.runtime.clock import Clock
from antiphon.runtime.compose import node_name, open_host
from antiphon.runtime.console.access import OWNER, Access, access_of
from antiphon.runtime.console.app import create_app
from antiphon.runtime.console.auth import Entrance
from antiphon.runtime.console.by_password import ByPassword
from antiphon.runtime.console.by_proxy import ByProxy
from antiphon.runtime.console.by_token import ByToken
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.console.office import Office
from antiphon.runtime.console.otlp_in import Receiver
from antiphon.runtime.console.server import serve
from antiphon.runtime.errors import ConfigurationError, LoadError
from antiphon.runtime.gateways.http.app import Beside, Door
from antiphon.runtime.host import Host
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.store.archive import Archiver
from antiphon.runtime.store.pool import READ_S
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.sqlite import Store
from antiphon.runtime.store.writer import StoreWriter
from antiphon.runtime.telemetry.feed import Feed
from antiphon.schemas import subjects
from antiphon.schemas.node import AgentCard, NodeCard

# By dotted path, because runtime never imports agents.
AGENTS = ("antiphon.agents.logging_agent.agent:logging_agent",)
KIND = "console"
SETTLE_S = 2.0  # how long stopping waits for telemetry that is still on its way to the store
DAY_S = 86_400.0
MB = 1_000_000

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Observatory:
    """What runs. ``url`` opens the console, with its token where people come in by that."""

    host: Host
    url: str


@asynccontextmanager
async def observatory(settings: Settings) -> AsyncGenerator[Observatory, None]:
    """Everything that watches a tenant, until the body ends.

    Raises:
        ConfigurationError: another one already writes this home's store, the port is taken, the store is newer than
            this version, or the console would be open to whoever can reach it.
        BusUnavailable: no server can be reached or started.
    """
    access = access_of(settings)
    async with AsyncExitStack() as stack:
        host = await stack.enter_async_context(open_host(settings, node=node_name(KIND)))
        retention = Retention(max_age_s=settings.retention_days * DAY_S, max_bytes=settings.retention_mb * MB)
        store = await asyncio.to_thread(Store.open, settings.store_path, clock=host.clock, retention=retention)
        stack.callback(store.close)
        reader = Reader.open(settings.store_path, read_s=READ_S)
        stack.callback(reader.close)
        live = LiveFeed(host.clock)
        writer = StoreWriter(store, host.bus.streams, host.clock, live)
        writing = asyncio.create_task(writer.run())
        stack.push_async_callback(_end, writer, writing)
        archiver = Archiver(store, host.bus, host.clock, replay_window_s=settings.replay_window_s)
        archiving = asyncio.create_task(archiver.run())
        stack.push_async_callback(_stop, archiving)

        async def directory() -> tuple[list[NodeCard], list[AgentCard]]:
            return await host.directory.nodes(), await host.directory.agents()

        token = console_token(settings.home)
        client = Client(host)
        office = Office(client, store, reader, capture_content=settings.capture_content)
        app = create_app(
            reader, directory, token, live, clock=host.clock, more=office.routes(), access=access,
            entrance=entrance_of(access, token, store, host.clock),
        )  # fmt: skip
        received = feed_of_others(host)
        received.start()
        stack.push_async_callback(received.close)
        receiver = Receiver(received, host.content_hash, capture_content=settings.capture_content)
        tokens = settings.http_tokens or {OWNER: SecretStr(token)}
        door = Door(client, tokens, settings.http_origins, receiver.routes())
        app.add_middleware(Beside, door=door.app)
        server = await serve(app, settings.console_port)
        stack.push_async_callback(server.stop)
        stack.callback(door.close)
        stack.callback(office.close)
        agents = [_load(path) for path in AGENTS]
        await stack.enter_async_context(Node(host, agents, kind=KIND, address=server.address))
        yield Observatory(host, access.url(server.port, token))


def entrance_of(access: Access, token: str, store: Store, clock: Clock) -> Entrance:
    """How people come in."""
    if access.passwords:
        return ByPassword(access.passwords, store, clock)
    if access.proxy is not None:
        return ByProxy(access.proxy, token)
    return ByToken(token, secure=access.certificate is not None)


def feed_of_others(host: Host) -> Feed:
    """To the bus only: spans that came by OTLP and went out by it again might come back."""
    subjects_of = [subjects.telemetry(host.tenant, host.node, shard) for shard in range(host.trace_shards)]

    async def publish(batch: bytes, message_id: str, shard: int) -> None:
        await host.bus.streams.append(subjects_of[shard], batch, message_id=message_id)

    return Feed(node=f"{host.node}-otlp", publish=publish, clock=host.clock, shards=host.trace_shards)


def console_token(home: Path) -> str:
    """The token that opens the console of this home; made on first use, readable by its owner only.

    Raises:
        ConfigurationError: the file cannot be read or written.
    """
    path = home / "console.token"
    try:
        home.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            token = path.read_text().strip()
            if len(token) < 16:
                raise ConfigurationError(f"{path} holds no token: delete it, a new one will be made") from None
            return token
        with os.fdopen(handle, "w") as file:
            token = secrets.token_urlsafe(24)
            file.write(token)
    except OSError as error:
        raise ConfigurationError(f"cannot keep the console's token in {path}: {error}") from None
    return token


async def _end(writer: StoreWriter, writing: "asyncio.Task[None]") -> None:
    if not writing.done() and not await writer.settle(SETTLE_S):
        log.warning("telemetry_left_on_the_bus", after_s=SETTLE_S)
    await _stop(writing)


async def _stop(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])


def _load(path: str) -> Agent:
    place, _, name = path.partition(":")
    found = getattr(importlib.import_module(place), name)
    if not isinstance(found, Agent):
        raise LoadError(f"{path} is a {type(found).__name__}, expected an Agent")
    return found
