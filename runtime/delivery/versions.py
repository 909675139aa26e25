"""Versions of an agent's code side by side: each has a lane for the work that only it may do.

Nodes of all versions share an agent's work. What a version is needed for, because it began the task, alone has the
handler, or was asked for, goes into that version's lane, whose durable only its nodes read.
"""

import asyncio
from collections.abc import Mapping

import structlog

from antiphon.runtime.agent import Agent
from antiphon.runtime.bus.base import ConsumerSpec, ConsumerState, StoredMessage
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.delivery.slots import Slot, Slots
from antiphon.runtime.delivery.worker import Process
from antiphon.runtime.errors import AntiphonError, BusError, LeaseLost
from antiphon.runtime.host import Host
from antiphon.schemas import subjects
from antiphon.schemas.envelope import ATTEMPT, TASK, WAKE

GIVE_UP_S = 60.0  # how long work may wait for a version that nobody serves before it is dead
TICK_S = 5.0
BATCH = 64

log = structlog.get_logger()


def consumer_spec(host: Host, agent: Agent, version: str) -> ConsumerSpec:
    """The durable that the nodes of one version of the agent share. No agent is called so: names have no ``=``."""
    lane = subjects.version_lane(version)
    return ConsumerSpec(
        stream=TASKS.name,
        name=f"{host.tenant}_{agent.name}={lane}",
        subjects=(subjects.lane_of(host.tenant, agent.name, lane),),
        ack_wait_s=agent.lease_s,
        max_in_flight=100_000,
    )


async def hand_over(host: Host, message: StoredMessage, task: str, version: str) -> None:
    """Put the message of a task, or its wake-up, into the lane of a version. Twice is once. Raises BusError."""
    headers = {key: value for key, value in message.headers.items() if not key.startswith("Nats-")}
    headers[TASK] = task
    if WAKE not in headers:
        headers[ATTEMPT] = "2"  # whoever gets it reads the journal first
    subject = subjects.task(host.tenant, subjects.parse_task(message.subject), subjects.version_lane(version))
    await host.bus.streams.append(subject, message.body, headers, message_id=f"{task}:version:{message.sequence}")
    log.info("task_handed_over", task=task, version=version)


class Unserved:
    """Lanes of versions whose last node has gone: a minute later their work is dead, not silently there for ever."""

    def __init__(self, host: Host, agents: Mapping[str, tuple[Agent, Process]]) -> None:
        self._host = host
        self._agents = agents
        self._since: dict[str, float] = {}  # durable -> monotonic seconds

    async def run(self) -> None:
        """Until cancelled. What fails is logged and tried again."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                await self.tend()
            except AntiphonError as error:
                log.warning("unserved_versions_not_seen", node=self._host.node, error=error.message)

    async def tend(self) -> None:
        """One round. Raises BusError."""
        host, now_s = self._host, self._host.clock.monotonic_s()
        owing = [state for state in await host.bus.inspector.consumers(TASKS.name) if state.pending or state.held]
        since: dict[str, float] = {}
        for agent, process in self._agents.values():
            for state in owing:
                version = self._version(agent, state)
                if version and not await host.directory.has_version(agent.name, version):
                    since[state.name] = self._since.get(state.name, now_s)
                    if now_s - since[state.name] >= GIVE_UP_S:
                        await self._settle(consumer_spec(host, agent, version), process)
        self._since = since

    def _version(self, agent: Agent, state: ConsumerState) -> str:
        lane = state.name.removeprefix(f"{self._host.tenant}_{agent.name}=")
        return "" if lane == state.name or "=" in lane else subjects.lane_version(lane)

    async def _settle(self, spec: ConsumerSpec, process: Process) -> None:
        """Have the agent's own processor look at what is there: it finds that the version is foreign and gone."""
        desk = Slots(spec.name, BATCH, 0)
        consumer = await self._host.bus.streams.consume(spec)
        try:
            while leases := await consumer.fetch(BATCH, 0.2):
                for lease in leases:
                    try:
                        await process(lease, Slot(desk))
                    except (BusError, LeaseLost) as error:
                        log.warning("work_not_settled", subject=lease.message.subject, error=error.message)
        finally:
            await consumer.stop()
