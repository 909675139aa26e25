"""Nodes that tests start, drain and kill: each what would be a process, all on one in-memory bus."""

import asyncio
import random
import sys
import weakref
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import Any, Final

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.client import Client
from antiphon.runtime.clock import Clock, SystemClock
from antiphon.runtime.compose import open_host
from antiphon.runtime.distance import distant
from antiphon.runtime.errors import AntiphonError, ConfigurationError
from antiphon.runtime.host import Host
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.telemetry.feed import Sink
from antiphon.runtime.virtual_time import VirtualLoop
from antiphon.schemas.identity import new_id, seed_ids
from antiphon.schemas.telemetry import TelemetryBatch

CLIENT: Final = "client"
BURY_S: Final = 1.0  # what a killed node's tasks have to end, each time they are told to
BURIALS: Final = 5

_HERE: ContextVar["_Process | None"] = ContextVar("antiphon_memory_cluster_process", default=None)
"""The process that a task belongs to: tasks inherit it from the one that starts them."""


class MemoryCluster:
    """Nodes of one system by name, and a client. ``memory_cluster`` makes it."""

    def __init__(self, open_process: Callable[[str], "_Process"]) -> None:
        self._open_process = open_process
        self._live: dict[str, _Process] = {}
        self._burials: list[asyncio.Task[None]] = []
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """The way in, over a connection of its own."""
        assert self._client is not None  # made before anybody gets the cluster
        return self._client

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of the nodes that run."""
        return tuple(name for name in self._live if name != CLIENT)

    @property
    def here(self) -> str:
        """The node whose code asks, so that a handler can name its own; empty in the test itself."""
        process = _HERE.get()
        return "" if process is None else process.name

    async def start(self, name: str) -> None:
        """Start a node; one that was stopped or killed comes back under its name as a new process would.

        Raises:
            ConfigurationError: a node of that name runs.
        """
        if name in self._live:
            raise ConfigurationError(f"node {name!r} runs already: stop or kill it first, or choose another name")
        process = self._open_process(name)
        host = await process.start()
        self._live[name] = process
        if name == CLIENT:
            self._client = Client(host)

    async def stop(self, name: str) -> None:
        """Stop a node as SIGTERM does: it drains. Raises ConfigurationError if it does not run."""
        await self._take(name).stop()

    async def kill(self, name: str) -> None:
        """Stop a node as SIGKILL does: from this call on, nothing of it reaches the bus, and nothing is handed back.

        Its connection closes, then its tasks are cancelled and waited for. A handler that calls this for its own node
        is cancelled in the call. What differs from a real SIGKILL: ``finally`` and ``except CancelledError`` of a
        handler run, with a bus that is closed.

        Raises:
            ConfigurationError: no node of that name runs.
        """
        process = self._take(name)
        await process.cut()
        burial = asyncio.create_task(process.bury(), context=Context())  # not part of any process
        self._burials.append(burial)
        process.cancel()
        await asyncio.wait([burial])

    async def close(self) -> None:
        """Stop everything that runs, the last one first. Raises AntiphonError if a killed node's tasks do not end."""
        async with AsyncExitStack() as stack:
            for burial in self._burials:
                stack.push_async_callback(_outcome, burial)
            for process in self._live.values():
                stack.push_async_callback(process.stop)
            self._live.clear()

    def _take(self, name: str) -> "_Process":
        found = self._live.pop(name, None)
        if found is None:
            raise ConfigurationError(f"no node {name!r} runs; running: {', '.join(self.nodes) or 'none'}")
        return found


@asynccontextmanager
async def memory_cluster(
    system: System,
    *,
    models: Mapping[str, ModelInstance] | None = None,
    nodes: int = 1,
    settings: Settings | None = None,
    spans: Sink | None = None,
    server: MemoryServer | None = None,
    drain_s: float = 1.0,
    clocks: Mapping[str, Clock] | None = None,
    lag_s: float = 0.0,
) -> AsyncGenerator[MemoryCluster, None]:
    """``async with memory_cluster(system, nodes=2) as cluster``: nodes ``node-0``, ``node-1`` and a client.

    Each node hosts every agent of the system over its own connection. ``spans`` sees every telemetry batch. ``server``
    shares the bus with the caller. ``clocks`` gives some nodes (or ``client``) a clock of their own, as
    ``{"node-1": VirtualClock(skew_s=-3)}``; the others have the loop's: virtual on a VirtualLoop, else the machine's.
    ``lag_s`` makes every operation of the bus take up to so long there and up to so long back, drawn anew each time.
    """
    loop = asyncio.get_running_loop()
    seed = loop.seed if isinstance(loop, VirtualLoop) else None
    clock = loop.clock if isinstance(loop, VirtualLoop) else SystemClock()
    server = server or MemoryServer(clock=clock)
    settings = settings or Settings(home=Path(sys.prefix) / "no-such-home")
    started = 0

    def open_process(name: str) -> _Process:
        nonlocal started
        started += 1
        rng = random.Random(new_id() if seed is None else f"{seed}:{name}:{started}")
        return _Process(
            name,
            system=system,
            models=models,
            settings=settings,
            server=server,
            spans=spans,
            drain_s=drain_s,
            clock=(clocks or {}).get(name, clock),
            rng=rng,
            lag_s=lag_s,
        )

    cluster = MemoryCluster(open_process)
    before = loop.get_task_factory()
    loop.set_task_factory(_noting(before))
    try:
        for index in range(nodes):
            await cluster.start(f"node-{index}")
        await cluster.start(CLIENT)
        yield cluster
    finally:
        await cluster.close()
        loop.set_task_factory(before)


class _Process:
    """A connection, a host, a node on it unless it is the client, and the tasks they started."""

    def __init__(
        self,
        name: str,
        *,
        system: System,
        models: Mapping[str, ModelInstance] | None,
        settings: Settings,
        server: MemoryServer,
        spans: Sink | None,
        drain_s: float,
        clock: Clock,
        rng: random.Random,
        lag_s: float,
    ) -> None:
        self.name = name
        self.tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._system = system
        self._models = models
        self._settings = settings
        self._spans = spans
        self._drain_s = drain_s
        self._clock = clock
        self._rng = rng
        self._lag_s = lag_s
        self._bus = MemoryBus(server)
        self._stack = AsyncExitStack()
        self._node: Node | None = None
        self._dead = False
        self._context = copy_context()
        self._context.run(_HERE.set, self)
        self._context.run(seed_ids, rng.randbytes(16).hex())

    async def start(self) -> Host:
        """Connect, and begin to serve."""
        return await asyncio.create_task(self._start(), context=self._context)

    async def stop(self) -> None:
        """Drain, and disconnect."""
        await asyncio.create_task(self._stop(), context=self._context)

    async def cut(self) -> None:
        """Nothing more comes in or goes out."""
        self._dead = True
        await self._bus.close()

    def cancel(self) -> None:
        """Cancel every task of the process."""
        for task in self._unfinished():
            task.cancel()

    async def bury(self) -> None:
        """Wait for the tasks of a killed process. Raises AntiphonError if some do not end."""
        for _ in range(BURIALS):
            tasks = self._unfinished()
            if not tasks:
                break
            await asyncio.wait(tasks, timeout=BURY_S)
            self.cancel()  # what was not yet there, and what goes on after a cancellation
        else:
            left = ", ".join(task.get_name() for task in self._unfinished())
            raise AntiphonError(f"node {self.name!r} was killed, but these tasks do not end when cancelled: {left}")
        closing = asyncio.create_task(self._stack.aclose())
        await asyncio.wait([closing])
        if not closing.cancelled():  # it waits for tasks of the process, which were
            error = closing.exception()
            if error is not None and not isinstance(error, AntiphonError):  # the closed bus raises those
                raise error

    async def _start(self) -> Host:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._bus.close)
            bus: Bus = distant(self._bus, self._travel) if self._lag_s else self._bus
            registry = ModelRegistry(self._settings, bus=bus, instances=self._models, clock=self._clock)
            sinks = (self._sink,) if self._spans is not None else ()
            host = await stack.enter_async_context(
                open_host(self._settings, node=self.name, bus=bus, models=registry, clock=self._clock, sinks=sinks)
            )
            if self.name != CLIENT:
                self._node = Node(host, self._system.agents, policies=self._system.policies, drain_s=self._drain_s)
                await self._node.__aenter__()
            self._stack = stack.pop_all()
        return host

    async def _stop(self) -> None:
        async with self._stack:
            if self._node is not None:
                await self._node.__aexit__(None, None, None)

    async def _travel(self) -> None:
        await asyncio.sleep(self._rng.random() * self._lag_s)

    def _sink(self, batch: TelemetryBatch) -> None:
        if not self._dead and self._spans is not None:
            self._spans(batch)

    def _unfinished(self) -> list[asyncio.Task[Any]]:
        return [task for task in self.tasks if not task.done()]


async def _outcome(burial: asyncio.Task[None]) -> None:
    await burial


def _noting(make: Callable[..., Any] | None) -> Callable[..., Any]:
    """A task factory that notes for each task which process it belongs to."""

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **kwargs: Any) -> Any:
        task = asyncio.Task(coro, loop=loop, **kwargs) if make is None else make(loop, coro, **kwargs)
        context = kwargs.get("context")
        process = _HERE.get() if context is None else context.get(_HERE)
        if process is not None:
            process.tasks.add(task)
        return task

    return factory
