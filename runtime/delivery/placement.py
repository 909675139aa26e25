"""Whose code may run a task: this node's, a lane of a key, or another version of the agent."""

from dataclasses import replace

import structlog

from antiphon.runtime.agent import Agent
from antiphon.runtime.delivery.journal import Journal, read_history
from antiphon.runtime.delivery.versions import GIVE_UP_S, hand_over
from antiphon.runtime.delivery.work import Work
from antiphon.runtime.errors import VersionMismatch
from antiphon.runtime.host import Host
from antiphon.schemas import subjects

ELSEWHERE_S = 1.0  # before a task that other code began is offered again, perhaps to a node that has that code

log = structlog.get_logger()


class Placement:
    """Decides for one agent on this node, and sends on what is not its own."""

    def __init__(self, host: Host, agent: Agent) -> None:
        self._host = host
        self._agent = agent
        self._here = frozenset((*agent.handlers, *agent.subscribers))

    async def goes_by_key(self, work: Work) -> bool:
        """Whether it is a keyed handler's, which runs when it comes from its lane (``keys.py``). Raises BusError.

        A task that was begun, here or by older code, before its handler had keys goes on where it is.
        """
        handler, message = self._agent.handlers.get(work.address.handler), work.message
        if handler is None or handler.key is None or work.envelope.wake or subjects.task_lane(message.subject):
            return False
        if work.lease.deliveries == 1:
            return True
        history, _ = await read_history(self._host.bus, self._host.tenant, work.task)
        return history.origin != message.sequence

    def is_plain(self, work: Work) -> bool:
        """Whether any node that has the agent may run it, as most tasks."""
        return work.address.handler in self._here and not subjects.task_lane(work.lease.message.subject)

    async def sent_on(self, work: Work, journal: Journal) -> bool:
        """Whether only another version may, or can, run it: then it is settled here.

        Raises:
            VersionMismatch: nobody has served that version for a while.
            BusError: as the bus does.
        """
        handler, lane = work.address.handler, subjects.task_lane(work.message.subject)
        wanted = subjects.lane_version(lane)
        if wanted and wanted != self._agent.version:  # read from a lane that nobody serves
            await self.send_on(work, journal, wanted)
            return True
        if lane or handler in self._here:
            return False
        version = await self._host.directory.version_with(work.address)
        if version is None or version == self._agent.version:
            return False
        await hand_over(self._host, work.message, work.task, version)
        await work.lease.ack()
        return True

    async def send_on(self, work: Work, journal: Journal, version: str) -> None:
        """Put a task of another version into that version's lane, or leave it for later.

        Raises:
            VersionMismatch: nobody has served that version for a while.
            BusError: as the bus does.
        """
        host, lease = self._host, work.lease
        served = await host.directory.has_version(self._agent.name, version)
        if served and not subjects.task_lane(work.message.subject):
            if not work.envelope.wake:  # a wake-up is admitted by its number; else the task is whoever's comes first
                journal.owner = replace(journal.owner, origin=0)
                await journal.claim(wake=0, counts=lease.deliveries > 1)
            await hand_over(host, work.message, work.task, version)
            await lease.ack()
            return
        waited_s = host.clock.unix_ns() / 1e9 - lease.message.unix_ms / 1000
        if served or waited_s < GIVE_UP_S:
            log.info("task_of_other_version", task=work.task, needs=version, here=self._agent.version)
            await lease.nak(ELSEWHERE_S)
            return
        raise VersionMismatch(
            f"task {work.task} needs agent {self._agent.name!r} version {version}, and no node serves that; this node "
            f"has version {self._agent.version}: start the other once more, or drop the task's dead letter",
            task=work.task,
            needs=version,
            here=self._agent.version,
        )
