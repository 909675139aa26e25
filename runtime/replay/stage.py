"""Where recorded tasks are done again: a system's own handlers, on a bus in memory, under virtual time."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType

from antiphon.runtime.agent import Agent
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.compose import open_host
from antiphon.runtime.delivery.execute import Executor, Job, Target
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal import Owner
from antiphon.runtime.delivery.keys import key_of
from antiphon.runtime.delivery.running import Running
from antiphon.runtime.delivery.slots import Slot, Slots
from antiphon.runtime.delivery.task_run import TaskRun
from antiphon.runtime.errors import ConfigurationError, UnknownAgent, UnknownHandler
from antiphon.runtime.host import Host
from antiphon.runtime.policies.chain import Next
from antiphon.runtime.replay.sealed import SealedJournal
from antiphon.runtime.settings import Settings
from antiphon.runtime.system import System
from antiphon.runtime.virtual_time import EPOCH_UNIX_S, VirtualClock, VirtualLoop
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address

_MANY = 1_000_000  # slots: who waited for one is in the times of the record


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A task for the stage. ``task`` empty: an ask, which has no journal."""

    address: Address
    headers: Mapping[str, str]
    body: bytes
    task: str = ""
    run: str = ""
    history: History | None = None


class Stage:
    """Plays handlers. Every operation they make goes to the chain that the stage was opened with."""

    def __init__(self, host: Host, system: System) -> None:
        self.host = host
        self.agents: Mapping[str, Agent] = MappingProxyType({agent.name: agent for agent in system.agents})
        self._running = Running(host.clock)
        self.journals: dict[str, SealedJournal] = {}  # of the tasks that were played, by id

    async def play(self, part: Part) -> bytes:
        """Run the handler to its end; its reply's JSON.

        Raises:
            UnknownAgent, UnknownHandler: the system does not have it.
            Exception: whatever the handler raised.
        """
        work = asyncio.create_task(self._play(part))  # a handler's branches belong to a task of its own
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            work.cancel()
            await asyncio.wait([work])
            raise

    def agent(self, address: Address) -> Agent:
        """Who has this handler. Raises UnknownAgent, UnknownHandler."""
        agent = self.agents.get(address.agent)
        if agent is None:
            raise UnknownAgent(f"the system has no agent {address.agent!r} (it has: {', '.join(sorted(self.agents))})")
        if address.handler not in {*agent.handlers, *agent.subscribers}:
            known = ", ".join(sorted({*agent.handlers, *agent.subscribers})) or "none"
            raise UnknownHandler(f"agent {agent.name!r} has no handler {address.handler!r} (it has: {known})")
        return agent

    async def _play(self, part: Part) -> bytes:
        host, agent = self.host, self.agent(part.address)
        slots = Slots(agent.name, _MANY, 0)
        executor = Executor(host, agent, slots, self._running)
        envelope = Envelope.from_headers(part.headers)
        run = self._task_run(part, agent, envelope, Slot(slots)) if part.task else None
        job = Job(
            _target(executor, agent, part.address),
            subjects.task(host.tenant, part.address),
            envelope._replace(run=part.run, task=part.task, traceparent="", tracestate=""),
            part.body,
            part.task,
            1 if run is None else run.journal.attempt,
            host.clock.unix_ns(),
            0,
            None,
            run,
        )
        return await executor.run(job)

    def _task_run(self, part: Part, agent: Agent, envelope: Envelope, slot: Slot) -> TaskRun:
        host = self.host
        owner = Owner(
            tenant=host.tenant,
            task=part.task,
            run=part.run,
            agent=part.address.agent,
            handler=part.address.handler,
            version=agent.version,
            origin=0,
            node=host.node,
        )
        journal = SealedJournal(host.bus, host.clock, owner, part.history or History())
        self.journals[part.task] = journal
        handler = agent.handlers.get(part.address.handler)
        key = key_of(handler, part.body, envelope) if handler is not None and handler.key is not None else ""
        return TaskRun(journal, slot, host.clock, key=key, keyed=True)  # keyed: nothing here is put aside


@asynccontextmanager
async def open_stage(
    system: System, settings: Settings, *, start_unix_ms: int, chain: Callable[[Stage], Next]
) -> AsyncGenerator[Stage, None]:
    """A stage whose clock begins at ``start_unix_ms``; ``chain`` makes what answers operations.

    Raises:
        ConfigurationError: the loop that runs has no virtual time.
    """
    loop = asyncio.get_running_loop()
    if not isinstance(loop, VirtualLoop):
        raise ConfigurationError("a stage needs virtual time: run it with run_virtual")
    clock = VirtualClock(loop, skew_s=start_unix_ms / 1000 - EPOCH_UNIX_S - loop.time())
    quiet = settings.model_copy(update={"trace": 0.0})
    async with open_host(quiet, node="replay", bus=MemoryBus(MemoryServer(clock=clock)), clock=clock) as host:
        stage = Stage(host, system)
        stage.host = replace(host, perform=chain(stage))
        yield stage


def _target(executor: Executor, agent: Agent, address: Address) -> Target:
    handler = agent.handlers.get(address.handler)
    if handler is not None:
        assert handler.function is not None  # handlers of a system's own agents always have one
        return executor.target(subjects.Kind.TASK, address, handler.input, handler.output, handler.function)
    subscriber = agent.subscribers[address.handler]
    return executor.target(subjects.Kind.EVENT, address, subscriber.input, None, subscriber.function)
