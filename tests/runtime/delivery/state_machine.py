"""The life of durable tasks under every fault we know, checked against what must hold whatever happens.

A seed makes a few random workflows, a small cluster and a schedule of faults; ``simulate`` plays it in virtual time and
says what was wrong. ``python -m tests.runtime.delivery.state_machine FIRST LAST`` tries many seeds.
"""

import asyncio
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog.testing
from tests.runtime.delivery.faults import Faults, FaultyServer
from tests.runtime.delivery.model import Model
from tests.runtime.delivery.scenario import NAMES, Fault, Scenario
from tests.runtime.delivery.workflows import (
    Order,
    Play,
    Proposal,
    Report,
    Step,
    World,
    instructions,
)

from antiphon import Agent, Context, System
from antiphon.runtime import approvals
from antiphon.runtime.agent import Handler
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import DEAD, JOURNAL, RESULTS, TASKS
from antiphon.runtime.client import Client
from antiphon.runtime.delivery import parking
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal_codec import decode_batch
from antiphon.runtime.delivery.journal_sweep import JournalSweep
from antiphon.runtime.delivery.leftovers import clear_leftovers
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.errors import AlreadyAnswered, BusError, UnknownApproval
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryCluster, VirtualClock, memory_cluster, run_virtual
from antiphon.schemas import subjects
from antiphon.schemas.approval import ApprovalState
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.task import TaskResult, TaskState

TENANT = "default"
LEASE_S = 2.0
MAX_ATTEMPTS = 5
HOUSEKEEPING_S = 240.0
CALM_AFTER_S = 1200.0  # and so long after them everything has ended


@dataclass(slots=True)
class Verdict:
    """What a simulation found. ``lines`` are the same in every run of the seed."""

    wrong: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    tasks: int = 0
    states: dict[str, int] = field(default_factory=dict)


def simulate(seed: int) -> Verdict:
    """Play a seed's scenario to its end."""
    with structlog.testing.capture_logs() as logs:
        simulation = Simulation(Scenario.of(seed))
        verdict = run_virtual(simulation.run(), seed=seed)
    for line in logs:
        if line["event"] in ("work_failed", "callback_failed"):
            verdict.wrong.append(f"log: {line}")
    return verdict


class Simulation:
    """One scenario on one cluster."""

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._faults = Faults()
        self._background: set[asyncio.Task[None]] = set()
        self._started = 0

    async def run(self) -> Verdict:
        """Play it, and look at what is left."""
        scenario = self._scenario
        self._server = FaultyServer(self._faults)
        self._world = World(self._ended_s)
        self._world.grace_s = 1.0 + 40 * scenario.lag_s
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self._world.complain(f"loop: {context}"))
        with self._faults.installed():
            async with self._cluster() as cluster:
                self._clustered = cluster
                self._client: Client = cluster.client
                for _ in range(scenario.nodes):
                    await self._start_node()
                self._spawn(self._answer())
                for at_s, workflow, deadline_s in scenario.roots:
                    self._spawn(self._submit(at_s, workflow, deadline_s))
                for fault in scenario.faults:
                    await asyncio.sleep(max(0.0, fault.at_s - loop.time()))
                    await self._strike(fault)
                await self._until_quiet()
                self._check()
                for task in list(self._background):
                    task.cancel()
        return self._verdict

    # --- the cluster --------------------------------------------------------------------------------

    @asynccontextmanager
    async def _cluster(self) -> AsyncGenerator[MemoryCluster, None]:
        scenario = self._scenario
        agents = [Agent(name, slots=scenario.slots, max_attempts=MAX_ATTEMPTS, lease_s=LEASE_S) for name in ("a", "b")]
        handlers: list[Handler[Order, Report]] = []
        for agent in agents:

            @agent.handles
            async def work(order: Order, ctx: Context) -> Report:
                return await Play(self._world, scenario.workflows, handlers, ctx)(order)

            handlers.append(work)
        self._handlers = handlers
        clocks = {name: VirtualClock(skew_s=skew_s) for name, skew_s in zip(NAMES, scenario.skews_s, strict=True)}
        settings = Settings(home=Path(sys.prefix) / "no-such-home", trace=0.0)
        async with memory_cluster(
            System("s", agents=agents),
            nodes=0,
            settings=settings,
            server=self._server,
            clocks=clocks,
            lag_s=scenario.lag_s,
        ) as cluster:
            yield cluster

    async def _start_node(self) -> None:
        while True:
            name = NAMES[self._started]
            self._started += 1
            try:
                await self._clustered.start(name)
                self._world.note(f"{name} serves")
                return
            except BusError:
                await asyncio.sleep(1.0)

    def _spawn(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _submit(self, at_s: float, workflow: int, deadline_s: float | None) -> None:
        await asyncio.sleep(at_s)
        handler = self._handlers[workflow % 2]
        while True:
            try:
                await self._client.submit(
                    handler, Order(workflow=workflow), idempotency_key=f"root {workflow}", timeout_s=deadline_s
                )
                return
            except BusError:
                await asyncio.sleep(0.5)

    async def _answer(self) -> None:
        """A person who looks at the questions every two seconds."""
        desk = self._client.host.approvals
        clock = self._client.host.clock
        while True:
            await asyncio.sleep(2.0)
            try:
                for approval in await desk.all(ApprovalState.OPEN):
                    proposal = Proposal.model_validate(approval.proposal)
                    waited_s = clock.unix_ns() / 1e9 - approval.asked_unix_ms / 1000
                    if proposal.answer is not None and waited_s >= proposal.after_s:
                        await desk.answer(approval.id, approved=proposal.answer, by="ada")
            except (BusError, AlreadyAnswered, UnknownApproval):
                continue

    # --- faults -------------------------------------------------------------------------------------

    async def _strike(self, fault: Fault) -> None:
        world, cluster = self._world, self._clustered
        world.note(f"fault {fault.kind} {fault.which} {fault.lasts_s}")
        names = cluster.nodes
        name = names[fault.which % len(names)] if names else ""
        if fault.kind in ("kill", "stop", "stall", "deaf") and not name:
            return
        if fault.kind == "kill":
            self._hush(fault.lasts_s)
            await cluster.kill(name)
            self._spawn(self._replace(fault.lasts_s))
        elif fault.kind == "stop":
            self._spawn(cluster.stop(name))
            self._spawn(self._replace(fault.lasts_s))
        elif fault.kind == "stall":
            self._hush(fault.lasts_s)
            self._faults.stalled[name].clear()
            asyncio.get_running_loop().call_later(fault.lasts_s, self._faults.stalled[name].set)
        elif fault.kind == "deaf":
            self._faults.deaf.add(name)
            asyncio.get_running_loop().call_later(fault.lasts_s, self._faults.deaf.discard, name)
        elif fault.kind == "duplicate":
            self._duplicate(fault)
        elif fault.kind == "cancel":
            tasks = self._tasks()
            if tasks:
                self._spawn(self._cancel(tasks[fault.which % len(tasks)]))
        elif not self._faults.outage:
            self._hush(fault.lasts_s)
            self._faults.outage = fault.kind
            asyncio.get_running_loop().call_later(fault.lasts_s, setattr, self._faults, "outage", "")

    def _hush(self, lasts_s: float) -> None:
        """Until then a node may miss that a parent has ended."""
        self._world.deaf_until_s = max(self._world.deaf_until_s, self._world.now_s + lasts_s)

    async def _replace(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        await self._start_node()

    def _duplicate(self, fault: Fault) -> None:
        stream = self._server.streams[TASKS.name]
        messages = list(stream.select(TASKS.subjects, 0))
        if messages:
            message = messages[fault.which % len(messages)]
            headers = dict(message.headers)
            if fault.which % 2:
                headers.pop("Nats-Msg-Id", None)
            stream.append(message.subject, message.body, headers)

    async def _cancel(self, task: str) -> None:
        while True:
            try:
                await self._client.cancel(task)
                return
            except BusError:
                await asyncio.sleep(0.5)

    # --- what is left -------------------------------------------------------------------------------

    async def _until_quiet(self) -> None:
        loop = asyncio.get_running_loop()
        give_up_s = loop.time() + CALM_AFTER_S
        housekeeping_s = loop.time() + HOUSEKEEPING_S
        while (self._faults.present or any(self._unfinished())) and loop.time() < give_up_s:
            await asyncio.sleep(1.0)
            if self._scenario.faults and loop.time() > housekeeping_s:
                housekeeping_s += HOUSEKEEPING_S
                await self._keep_house()
        await asyncio.sleep(2.0)  # for what should not happen any more
        # A message that comes again then finds its task ended; over a slow bus that takes a while.
        for _ in range(int(give_up_s - loop.time())):
            if not any(self._unfinished()):
                break
            await asyncio.sleep(1.0)

    async def _keep_house(self) -> None:
        """What every node does now and then: make up for those that died at the end of a task."""
        bus = MemoryBus(self._server)
        try:
            cleared = await clear_leftovers(bus), await JournalSweep(bus, self._server.clock).sweep()
            self._world.note(f"cleared {cleared}")
        except BusError as error:
            self._world.note(f"nothing cleared: {error}")
        finally:
            await bus.close()

    def _unfinished(self) -> Generator[str, None, None]:
        yield from (f"task {task} has no outcome" for task in self._tasks() if self._ended_s(task) is None)
        for store in (parking.BUCKET, approvals.BUCKET):
            yield from (f"{key} is left in {store}" for key in self._server.stores[store].live)
        for durable in self._server.streams[TASKS.name].durables.values():
            state = durable.state()
            if state.held or state.pending:
                yield f"{state.name} holds {state.held}, {state.pending} pending"
        for name in self._clustered.nodes:
            for slots in self._faults.slots.get(name, []):
                if slots.active or slots.idle or slots.waiting:
                    yield f"{name}: {slots.active} slots active, {slots.idle} idle, {slots.waiting} waiting"
        for task in self._tasks():
            history, batches = self._history(task)
            results = self._results(task)
            if results and results[0].state is not TaskState.DEAD and batches and not history.state:
                yield f"the journal of {task}, which has ended as {results[0].state}, is open"
        if len(self._background) > 1:
            yield f"{len(self._background) - 1} of the test's own tasks go on"

    def _tasks(self) -> list[str]:
        stored = self._server.streams[TASKS.name].select(TASKS.subjects, 0)
        return list(dict.fromkeys(Envelope.from_headers(message.headers).task for message in stored))

    def _ended_s(self, task: str) -> float | None:
        stored = self._server.streams[RESULTS.name].last(subjects.result(TENANT, task))
        return (
            None if stored is None else stored.unix_ms / 1000 - self._server.clock.unix_ns() / 1e9 + self._world.now_s
        )

    def _results(self, task: str) -> list[TaskResult]:
        stored = self._server.streams[RESULTS.name].select((subjects.result(TENANT, task),), 0)
        return [decode(TaskResult, message.body) for message in stored]

    def _history(self, task: str) -> tuple[History, int]:
        stored = self._server.streams[JOURNAL.name].select((subjects.journal(TENANT, task),), 0)
        batches = [decode_batch(message.body) for message in stored]
        return History.of(batches), len(batches)

    def _check(self) -> None:
        world = self._world
        for left in self._unfinished():
            world.complain(left)
        self._verdict = Verdict(world.wrong, world.lines)
        self._ends = {task: found for task in self._tasks() if (found := self._results(task))}
        self._orders: dict[str, Order] = {}
        for message in self._server.streams[TASKS.name].select(TASKS.subjects, 0):
            if message.body:
                self._orders[Envelope.from_headers(message.headers).task] = decode(Order, message.body)
        for task, results in self._ends.items():
            if len(results) != 1:
                world.complain(f"task {task} has {len(results)} outcomes")
            state = results[0].state
            self._verdict.tasks += 1
            self._verdict.states[state] = self._verdict.states.get(state, 0) + 1
            world.note(f"end {task} {state} {results[0].value} {results[0].error}")
            self._check_journal(task, results[0])
            self._check_end(task, results[0])

    def _check_journal(self, task: str, result: TaskResult) -> None:
        history, batches = self._history(task)
        if result.state is TaskState.DEAD:
            letters = self._server.streams[DEAD.name].select(DEAD.subjects, 0)
            if not any(Envelope.from_headers(letter.headers).task == task for letter in letters):
                self._world.complain(f"task {task} is dead without a letter")
        elif batches and history.state and (batches != 1 or history.state != result.state):
            self._world.complain(f"journal of {task} ({result.state}) has {batches} batches, state {history.state!r}")

    def _check_end(self, task: str, result: TaskResult) -> None:
        world, order = self._world, self._orders[task]
        workflow = self._scenario.workflows[order.workflow]
        kind = "" if result.error is None else result.error.type
        told = f"task {task} ended {result.state} with {result.error}"
        if result.state is TaskState.SUCCEEDED:
            report = Report.model_validate(result.value)
            if report.task != task:
                world.complain(f"{told}: {report}")
            Model(world, self._scenario, self._ends).check(task, workflow, report.told)
            return
        if self._scenario.calm:
            world.complain(f"{told}, though nothing went wrong")
        found = instructions(workflow)
        if kind == "InDoubt":
            steps = [each.name for each in found if isinstance(each, Step) and each.kind == "unkeyed"]
            begun = [name for name in steps if (task, name) in world.effects]
            intents = self._history(task)[0].intents
            if result.state is not TaskState.DEAD or not intents or not steps:
                world.complain(f"{told}, begun {begun}, intents {list(intents)}")
        elif result.state is TaskState.CANCELLED:
            if kind not in ("", "TaskCancelled", "DeadlineExceeded"):
                world.complain(told)
        elif result.state is TaskState.DEAD:
            if kind not in ("OSError", "HandlerFailed", "NodeStopping", "BusUnavailable"):
                world.complain(told)
            if result.attempts != MAX_ATTEMPTS:
                world.complain(f"{told} after {result.attempts} attempts")
        elif kind not in ("OSError", "TaskDead"):
            world.complain(told)


def main(first: int, last: int) -> int:
    """Try the seeds from ``first`` to ``last``; how many were wrong."""
    failed = 0
    tasks = 0
    for seed in range(first, last):
        try:
            verdict = simulate(seed)
            wrong = verdict.wrong
            tasks += verdict.tasks
        except Exception as error:
            wrong = [repr(error)]
        if wrong:
            failed += 1
            print(f"seed {seed}:", *wrong[:4], sep="\n  ", flush=True)
    print(f"{last - first} seeds, {tasks} tasks, {failed} seeds wrong")
    return failed


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2])) else 0)
