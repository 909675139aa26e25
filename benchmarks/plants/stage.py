"""Runs a planted system, on the wall clock over real sockets or in virtual time, and keeps what its nodes recorded."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from antiphon import Message
from antiphon.runtime.bus.connect import open_bus
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.host import Host
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.server import ModelServer
from antiphon.runtime.models.setting import BusSetting
from antiphon.runtime.node import Node
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.settings import Settings
from antiphon.runtime.telemetry.feed import Sink
from antiphon.runtime.testing import MemoryBus, MemoryServer, VirtualLoop, memory_cluster
from antiphon.schemas.policy import Policy
from antiphon.schemas.telemetry import TelemetryBatch
from plants.plant import Build
from plants.world import World

TIMEOUT_S = 120.0  # of one run
SERVED_AT_ONCE = 64  # requests that a replica is given, as `antiphon serve` has it
NO_HOME = Path(tempfile.gettempdir()) / "antiphon-no-home"  # nothing is stored in virtual time
SETTLE_S = 1.0  # for policies to reach every node, and for the last spans


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of the n-th run: seconds for its caller, and its result (None: it failed)."""

    at_s: float
    latency_s: float
    result: Message | None


@dataclass(slots=True)
class Recording:
    """Batches in the order in which they left the nodes, and the runs by number."""

    batches: list[TelemetryBatch] = field(default_factory=list)
    runs: dict[int, Arrival] = field(default_factory=dict)

    @property
    def failures(self) -> int:
        """Runs without a result."""
        return sum(arrival.result is None for arrival in self.runs.values())

    def mean_s(self) -> float:
        """Mean latency."""
        return sum(arrival.latency_s for arrival in self.runs.values()) / max(len(self.runs), 1)

    def p95_s(self) -> float:
        """The latency that 5 % of the runs exceed."""
        ordered = sorted(arrival.latency_s for arrival in self.runs.values())
        return ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)]


async def wall_clock(build: Build, world: World, policies: Sequence[Policy] = ()) -> Recording:
    """Over NATS: an embedded server, a host and a connection for each node and for the client."""
    recording = Recording()
    with tempfile.TemporaryDirectory(prefix="antiphon-plant-", ignore_cleanup_errors=True) as home:  # server lingers
        settings = _settings(Path(home), build)
        async with AsyncExitStack() as stack:
            for name, model, instance in _replicas(build):
                host = await stack.enter_async_context(_host(settings, name, build, recording.batches.append))
                await stack.enter_async_context(_serving(host, model, instance))
            client: Host | None = None
            for name in [f"node-{index}" for index in range(build.nodes)] + ["client"]:
                host = client = await stack.enter_async_context(_host(settings, name, build, recording.batches.append))
                if name != "client":
                    await stack.enter_async_context(Node(host, build.system.agents))
            assert client is not None
            await _drive(client, build, world, policies, recording)
    return recording


async def virtual_time(build: Build, world: World, policies: Sequence[Policy] = ()) -> Recording:
    """On the in-memory bus; call it inside ``run_virtual``."""
    recording = Recording()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    settings, sink, server = _settings(NO_HOME, build), recording.batches.append, MemoryServer(clock=loop.clock)
    async with AsyncExitStack() as stack:
        for name, model, instance in _replicas(build):
            bus = MemoryBus(server)
            host = await stack.enter_async_context(
                open_host(settings, node=name, bus=bus, clock=loop.clock, sinks=[sink])
            )
            await stack.enter_async_context(_serving(host, model, instance))
        cluster = await stack.enter_async_context(
            memory_cluster(
                build.system, models=build.models, nodes=build.nodes, settings=settings, spans=sink, server=server
            )
        )
        await _drive(cluster.client.host, build, world, policies, recording)
    return recording


def _settings(home: Path, build: Build) -> Settings:
    return Settings(home=home, models={model: BusSetting() for model in build.served})


def _replicas(build: Build) -> Iterator[tuple[str, str, ModelInstance]]:
    """Node, model and instance of what is served on the bus."""
    for model, instances in build.served.items():
        for number, instance in enumerate(instances):
            yield f"{model}-{number}", model, instance


@asynccontextmanager
async def _serving(host: Host, model: str, instance: ModelInstance) -> AsyncGenerator[None, None]:
    """As ``antiphon serve`` does it."""
    server = ModelServer(
        host.bus,
        host.tenant,
        model,
        instance,
        node=host.node,
        concurrency=SERVED_AT_ONCE,
        tracer=host.telemetry.tracer,
        clock=host.clock,
    )
    await server.start()
    try:
        yield
    finally:
        await server.close()


@asynccontextmanager
async def _host(settings: Settings, name: str, build: Build, sink: Sink) -> AsyncGenerator[Host, None]:
    bus = await open_bus(settings.nats_url, None, settings.home, name=name, durability=settings.durability)
    try:
        registry = ModelRegistry(settings, bus=bus, instances=build.models)
        async with open_host(settings, node=name, bus=bus, models=registry, sinks=[sink]) as host:
            yield host
    finally:
        await bus.close()


async def _drive(host: Host, build: Build, world: World, policies: Sequence[Policy], recording: Recording) -> None:
    """Poisson arrivals, the same for the same seed; returns when every run has ended and its spans are here."""
    every = [*build.policies, *policies]
    if every:
        book = await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)
        for policy in every:
            await book.set(policy)
        await asyncio.sleep(SETTLE_S)
    client = Client(host)
    loop = asyncio.get_running_loop()
    arrivals, at_s = world.rng("arrivals"), 0.0
    begun_s = loop.time()

    async def one(number: int, at_s: float) -> None:
        handler, message = build.request(number)
        try:
            result = await client.ask(handler, message, timeout_s=TIMEOUT_S, labels={"n": str(number)})
        except AntiphonError:
            result = None
        recording.runs[number] = Arrival(at_s, loop.time() - begun_s - at_s, result)

    async with asyncio.TaskGroup() as group:
        for number in range(world.runs if build.runs is None else build.runs):
            at_s += arrivals.expovariate(build.rate_per_s * world.load)
            await asyncio.sleep(max(begun_s + at_s - loop.time(), 0))
            group.create_task(one(number, at_s))
    await asyncio.sleep(SETTLE_S)
