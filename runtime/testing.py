"""Doubles for tests of agents: a whole system on the in-memory bus, without server, model or network."""

import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.telemetry.feed import Sink

__all__ = ["MemoryBus", "MemoryServer", "ScriptedModel", "memory_system"]


@asynccontextmanager
async def memory_system(
    system: System,
    *,
    models: Mapping[str, ModelInstance] | None = None,
    nodes: int = 1,
    settings: Settings | None = None,
    spans: Sink | None = None,
    server: MemoryServer | None = None,
    drain_s: float = 1.0,
) -> AsyncGenerator[Client, None]:
    """``async with memory_system(system, models={"smollm2-135m": ScriptedModel([…])}) as client``.

    ``nodes`` nodes host every agent of the system, each with its own connection to one in-memory bus. ``spans``
    sees every telemetry batch. ``server`` shares the bus with the caller.
    """
    server = server or MemoryServer()
    settings = settings or Settings(home=Path(sys.prefix) / "no-such-home")
    async with AsyncExitStack() as stack:

        async def bus() -> MemoryBus:
            found = MemoryBus(server)
            stack.push_async_callback(found.close)
            return found

        sinks = (spans,) if spans is not None else ()
        for index in range(nodes):
            connection = await bus()
            registry = ModelRegistry(settings, bus=connection, instances=models)
            host = await stack.enter_async_context(
                open_host(settings, node=f"node-{index}", bus=connection, models=registry, sinks=sinks)
            )
            await stack.enter_async_context(Node(host, system.agents, drain_s=drain_s))
        connection = await bus()
        registry = ModelRegistry(settings, bus=connection, instances=models)
        host = await stack.enter_async_context(
            open_host(settings, node="client", bus=connection, models=registry, sinks=sinks)
        )
        yield Client(host)
