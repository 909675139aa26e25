"""One process that runs agents: hosts them on the bus until told to drain."""

import asyncio
import os
import random
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import structlog

from antiphon.runtime.agent import Agent, Handler
from antiphon.runtime.bus.base import Delivery, Subscription
from antiphon.runtime.bus.services import Endpoint, ServiceInfo, Services, serve_services
from antiphon.runtime.delivery import advisories, events, keys, tasks, versions
from antiphon.runtime.delivery.alarms import Alarms
from antiphon.runtime.delivery.asks import AskServer
from antiphon.runtime.delivery.execute import Executor
from antiphon.runtime.delivery.janitor import Janitor
from antiphon.runtime.delivery.running import Running
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.delivery.stream_buffers import StreamBuffers
from antiphon.runtime.delivery.tap import TapRunner
from antiphon.runtime.delivery.versions import Unserved
from antiphon.runtime.delivery.worker import Process, Worker
from antiphon.runtime.errors import BusError, NodeStopping
from antiphon.runtime.host import Host
from antiphon.runtime.patterns.schedule_book import ScheduleBook
from antiphon.runtime.patterns.schedules import Schedules
from antiphon.runtime.policies.book import PolicyBook
from antiphon.runtime.policies.concurrency import SlotKeeper
from antiphon.runtime.version import VERSION
from antiphon.schemas import subjects
from antiphon.schemas.identity import new_id
from antiphon.schemas.node import NodeCard
from antiphon.schemas.policy import Policy

DRAIN_S = 10.0  # how long running handlers may take to end by themselves

log = structlog.get_logger()


class Node:
    """Agents on one Host. ``async with Node(host, agents)`` serves; leaving it drains.

    Draining stops taking work, lets running handlers end for ``drain_s``, hands the rest back to other nodes,
    answers everyone who waits, and withdraws from the directory. ``policies`` are in force here until stored ones of
    their ids say otherwise.
    """

    def __init__(
        self,
        host: Host,
        agents: Sequence[Agent],
        *,
        kind: str = "node",
        address: str = "",
        models: Sequence[str] = (),
        policies: Sequence[Policy] = (),
        drain_s: float = DRAIN_S,
    ) -> None:
        self._host = host
        self._agents = agents
        self._drain_s = drain_s
        self._running = Running(host.clock)
        self._asks: list[AskServer] = []
        self._workers: list[Worker] = []
        self._processes: dict[str, tuple[Agent, Process]] = {}
        self._taps: list[TapRunner] = []
        self._services: list[Services] = []
        self._background: list[asyncio.Task[None]] = []
        self._control: Subscription | None = None
        self._policies = policies
        self._keeper = SlotKeeper(host.policies, host.clock)
        self._streams = StreamBuffers(host.bus, host.clock, host.tenant)
        self._backends = AsyncExitStack()  # of the agents' tools
        self._alarms = Alarms(host.bus, host.parking, host.clock, host.tenant)
        self.card = NodeCard(
            node=host.node,
            kind=kind,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=VERSION,
            agents=tuple(agent.name for agent in agents),
            versions=tuple(f"{agent.name}@{agent.version}" for agent in agents),
            models=tuple(models),
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
        # A server that several tools run on is opened once.
        for backend in dict.fromkeys(tool.backend for agent in self._agents for tool in agent.tools.values()):
            if backend is not None:
                await self._backends.enter_async_context(backend.opened(host))
        await self._streams.start()
        await self._alarms.start()
        await self._follow_policies()
        control = subjects.every(subjects.Kind.CONTROL, host.tenant).replace(">", "task.*")
        self._control = await host.bus.subscribe(control, self._on_control)
        for agent in self._agents:
            await self._host_agent(agent)
        await host.directory.announce(self.card)
        await self._keep_house()
        log.info("node_started", node=host.node, agents=list(self.card.agents))

    async def _follow_policies(self) -> None:
        host = self._host
        host.policies.agents = frozenset(agent.name for agent in self._agents)
        host.policies.give(self._policies)
        book = await PolicyBook.open(host.bus, host.directory, host.clock, host.tenant)
        await host.policies.load(book)  # before the first operation
        for chore in (host.policies.follow(book), self._keeper.run()):
            self._background.append(asyncio.create_task(chore))

    async def _host_agent(self, agent: Agent) -> None:
        host = self._host
        slots = Slots(agent.name, agent.slots, agent.mailbox)
        self._keeper.keep(slots)
        executor = Executor(host, agent, slots, self._running)
        rng = random.Random(new_id())
        await host.directory.register(agent.card())
        asks = AskServer(host, agent, slots, executor)
        self._asks.append(asks)
        await asks.start()
        if agent.handlers or agent.subscribers:
            process = tasks.TaskProcessor(host, agent, slots, executor, self._streams, rng)
            self._processes[agent.name] = (agent, process)
            await self._pull(Worker(host.bus, tasks.consumer_spec(host, agent), slots, process))
            await self._pull(Worker(host.bus, versions.consumer_spec(host, agent, agent.version), slots, process))
            for handler in agent.handlers.values():
                if handler.key is not None:
                    await self._host_keys(agent, handler, slots, process)
        for subscriber in agent.subscribers.values():
            forward = events.EventForwarder(host, agent, subscriber)
            desk = Slots(agent.name, events.FORWARDING, 0)
            await self._pull(Worker(host.bus, events.consumer_spec(host, agent, subscriber), desk, forward))
        for tap in agent.taps:
            runner = TapRunner(host, agent.name, tap)
            self._taps.append(runner)
            await runner.start()
        info = ServiceInfo(
            name=agent.name,
            id=host.node,
            version=_semver(agent.version),
            started=datetime.fromtimestamp(self.card.started_unix_ms / 1000, UTC).isoformat().replace("+00:00", "Z"),
            description=agent.description,
            metadata={
                "tenant": host.tenant,
                "model": agent.model or host.default_model,
                "version": agent.version,
                "topics": ",".join(sorted({each.topic for each in agent.subscribers.values()})),
            },
            endpoints=tuple(self._endpoint(agent, handler) for handler in agent.handlers.values()),
        )
        self._services.append(await serve_services(host.bus, info, asks.stats))

    def _endpoint(self, agent: Agent, handler: Handler[Any, Any]) -> Endpoint:
        """As the services protocol shows it. The subject answers requests; durable work goes to the one in metadata."""
        tenant = self._host.tenant
        return Endpoint(
            name=handler.address.handler,
            subject=subjects.ask(tenant, handler.address),
            queue_group=agent.name,
            metadata={
                "task_subject": subjects.task(tenant, handler.address),
                "input": f"{handler.input.message_name}@{handler.input.message_version}",
                "output": f"{handler.output.message_name}@{handler.output.message_version}",
                "keyed": "true" if handler.key is not None else "false",
            },
        )

    async def _host_keys(self, agent: Agent, handler: Handler[Any, Any], slots: Slots, process: Process) -> None:
        host = self._host
        forward = keys.KeyForwarder(host, handler)
        desk = Slots(agent.name, 1, 0)
        await self._pull(Worker(host.bus, keys.forwarder_spec(host, agent, handler), desk, forward))
        for spec in keys.lane_specs(host, agent, handler):
            await self._pull(Worker(host.bus, spec, slots, process))

    async def _keep_house(self) -> None:
        """What every node does besides its agents' work."""
        host = self._host
        advised = advisories.AdvisoryProcessor(
            host.bus, host.clock, host.parking, host.tenant, result_ttl_s=host.result_ttl_s
        )
        await self._pull(Worker(host.bus, advisories.consumer_spec(host.tenant), Slots("advisories", 1, 0), advised))
        janitor = Janitor(
            host.bus, host.clock, host.node, result_ttl_s=host.result_ttl_s, replay_window_s=host.replay_window_s
        )
        unserved = Unserved(host, self._processes)
        schedules = Schedules(host, await ScheduleBook.open(host.bus, host.clock, host.tenant))
        for chore in (host.directory.keep_announcing(self.card), janitor.run(), unserved.run(), schedules.run()):
            self._background.append(asyncio.create_task(chore))

    async def _pull(self, worker: Worker) -> None:
        self._workers.append(worker)
        await worker.start()

    async def _on_control(self, delivery: Delivery) -> None:
        _, task = subjects.parse_control(delivery.subject)
        for stopped in self._running.cancel(task):
            log.info("task_cancelled", task=stopped)
        self._alarms.wake_children(task)

    async def _stop(self) -> None:
        host = self._host
        log.info("node_draining", node=host.node, running=len(self._running))
        for service in self._services:
            await service.stop()
        for worker in self._workers:
            await worker.stop_pulling()
        reason = NodeStopping(f"node {host.node} is stopping; another one takes over")
        until_s = host.clock.monotonic_s() + self._drain_s
        # Durable work that still runs may ask agents that nobody else has: they answer until it has ended.
        if not await self._running.wait_idle(self._drain_s, durable=True):
            self._running.stop_all(reason)
        for asks in self._asks:
            await asks.stop()
        if not await self._running.wait_idle(max(0.0, until_s - host.clock.monotonic_s())):
            self._running.stop_all(reason)
        for worker in self._workers:
            await worker.stop()
        for asks in self._asks:
            await asks.wait_answered()
        for tap in self._taps:
            await tap.stop()
        await self._backends.aclose()
        await self._alarms.stop()
        await self._streams.stop()
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
