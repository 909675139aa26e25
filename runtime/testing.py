"""Doubles for tests of agents: a system on the in-memory bus, without server, model, network or waiting."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.client import Client
from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import Stalled
from antiphon.runtime.memory_cluster import MemoryCluster, memory_cluster
from antiphon.runtime.models.base import ModelInstance
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.telemetry.feed import Sink
from antiphon.runtime.virtual_time import ManualClock, VirtualClock, VirtualLoop, run_virtual, virtual_time

__all__ = [
    "ManualClock",
    "MemoryBus",
    "MemoryCluster",
    "MemoryServer",
    "ScriptedModel",
    "Stalled",
    "VirtualClock",
    "VirtualLoop",
    "memory_cluster",
    "memory_system",
    "run_virtual",
    "virtual_time",
]


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
    clocks: Mapping[str, Clock] | None = None,
    lag_s: float = 0.0,
) -> AsyncGenerator[Client, None]:
    """``async with memory_system(system, models={"smollm2-135m": ScriptedModel([…])}) as client``.

    A ``memory_cluster`` of which the client is enough; its parameters are described there.
    """
    async with memory_cluster(
        system,
        models=models,
        nodes=nodes,
        settings=settings,
        spans=spans,
        server=server,
        drain_s=drain_s,
        clocks=clocks,
        lag_s=lag_s,
    ) as cluster:
        yield cluster.client
