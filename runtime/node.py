"""One process that runs agents: hosts them on the bus until told to drain."""

import asyncio
import os
import random
import socket
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType

import structlog

from antiphon.runtime.agent import Agent
from antiphon.runtime.bus.base import Delivery, Subscription
from antiphon.runtime.bus.services import Endpoint, ServiceInfo, Services, serve_services
from antiphon.runtime.delivery import events, tasks
from antiphon.runtime.delivery.asks import AskServer
from antiphon.runtime.delivery.execute import Executor
from antiphon.runtime.delivery.running import Running
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.delivery.tap import TapRunner
from antiphon.runtime.delivery.worker import Worker
from antiphon.runtime.errors import BusError, NodeStopping
from antiphon.runtime.host import Host
from antiphon.runtime.version import VERSION
from antiphon.schemas import subjects
from antiphon.schemas.node import NodeCard

DRAIN_S = 10.0  # how long running handlers may take to end by themselves

log = structlog.get_logger()


class Node:
    """Agents on one Host. ``async with Node(host, agents)`` serves; leaving it drains.

    Draining stops taking work, lets running handlers end for ``drain_s``, hands the rest back to other nodes,
    answers everyone who waits, and withdraws from the directory.
    """

    def __init__(
        self,
        host: Host,
        agents: Sequence[Agent],
        *,
        kind: str = "node",
        address: str = "",
        drain_s: float = DRAIN_S,
    ) -> None:
        self._host = host
        self._agents = agents
        self._drain_s = drain_s
        self._running = Running(host.clock)
        self._asks: list[AskServer] = []
        self._workers: list[Worker] = []
        self._taps: list[TapRunner] = []
        self._services: list[Services] = []
        self._background: list[asyncio.Task[None]] = []
        self._control: Subscription | None = None
        self.card = NodeCard(
            node=host.node,
            kind=kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            agents=tuple(agent.name for agent in agents),
            address=address,
            started_unix_ms=host.clock.unix_ns() // 1_000_000,
        )

    async def __aenter__(self) -> "Node":
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        host = self._host
        self._background.append(asyncio.create_task(self._running.sweep()))
        control = subjects.every(subjects.Kind.CONTROL, host.tenant).replace(">", "task.*")
        self._control = await host.bus.subscribe(control, self._on_control)
        for agent in self._agents:
            await self._host_agent(agent)
        await host.directory.announce(self.card)
        self._background.append(asyncio.create_task(host.directory.keep_announcing(self.card)))
        log.info("node_started", node=host.node, agents=list(self.card.agents))

    async def _host_agent(self, agent: Agent) -> None:
        host = self._host
        slots = Slots(agent.name, agent.slots, agent.mailbox)
        executor = Executor(host, agent, slots, self._running)
        rng = random.Random()
        await host.directory.register(agent.card())
        asks = AskServer(host, agent, slots, executor)
        self._asks.append(asks)
        await asks.start()
        if agent.handlers:
            process = tasks.TaskProcessor(host, agent, slots, executor, rng)
            await self._pull(Worker(host.bus, tasks.consumer_spec(host, agent), slots, process))
        for subscriber in agent.subscribers.values():
            handle = events.EventProcessor(host, agent, subscriber, slots, executor, rng)
            await self._pull(Worker(host.bus, events.consumer_spec(host, agent, subscriber), slots, handle))
        for index, tap in enumerate(agent.taps):
            runner = TapRunner(host, agent.name, index, tap)
            self._taps.append(runner)
            await runner.start()
        info = ServiceInfo(
            name=agent.name,
            id=host.node,
            version=_semver(agent.version),
            started=datetime.fromtimestamp(self.card.started_unix_ms / 1000, UTC).isoformat().replace("+00:00", "Z"),
            description=agent.description,
            metadata={"tenant": host.tenant, "model": agent.model or host.default_model},
            endpoints=tuple(
                Endpoint(
                    name=handler.address.handler,
                    subject=subjects.ask(host.tenant, handler.address),
                    queue_group=agent.name,
                )
                for handler in agent.handlers.values()
            ),
        )
        self._services.append(await serve_services(host.bus, info, asks.stats))

    async def _pull(self, worker: Worker) -> None:
        self._workers.append(worker)
        await worker.start()

    async def _on_control(self, delivery: Delivery) -> None:
        _, task = subjects.parse_control(delivery.subject)
        if self._running.cancel(task):
            log.info("task_cancelled", task=task)

    async def _stop(self) -> None:
        host = self._host
        log.info("node_draining", node=host.node, running=len(self._running))
        for service in self._services:
            await service.stop()
        for asks in self._asks:
            await asks.stop()
        for worker in self._workers:
            await worker.stop_pulling()
        if not await self._running.wait_idle(self._drain_s):
            self._running.stop_all(NodeStopping(f"node {host.node} is stopping; another one takes over"))
        for worker in self._workers:
            await worker.stop()
        for asks in self._asks:
            await asks.wait_answered()
        for tap in self._taps:
            await tap.stop()
        if self._control is not None:
            await self._control.stop()
        for background in self._background:
            background.cancel()
        if self._background:
            await asyncio.wait(self._background)
        try:
            await host.directory.withdraw(host.node)
        except BusError as error:
            log.warning("node_not_withdrawn", node=host.node, error=error.message)  # its lease lapses by itself
        log.info("node_stopped", node=host.node)


def _semver(version: str) -> str:
    """The services protocol asks for major.minor.patch."""
    parts = [*version.split("."), "0", "0"][:3]
    return ".".join(part if part.isdigit() else "0" for part in parts)
