"""The way in from outside: ask an agent, submit durable work, follow it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import structlog

from antiphon.runtime.agent import Handler, In, Out
from antiphon.runtime.delivery.outcome import await_result, read_result, value_of
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.errors import BusError
from antiphon.runtime.policies.chain import Operation, OperationKind, Scope
from antiphon.runtime.policies.limits import check_budget, deadline_of
from antiphon.schemas.identity import check_topic, derived_id, new_id
from antiphon.schemas.message import Message
from antiphon.schemas.schedule import Missed, Schedule
from antiphon.schemas.task import Position, TaskResult

if TYPE_CHECKING:
    from antiphon.runtime.bus.base import Bus
    from antiphon.runtime.delivery.following import Following
    from antiphon.runtime.host import Host
    from antiphon.runtime.models.registry import ModelRegistry
    from antiphon.runtime.patterns.schedule_book import ScheduleBook
    from antiphon.runtime.settings import Settings

D = TypeVar("D", bound=Message)
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Done(Generic[D]):
    """The last event of a stream: the typed result, and the run under which everything was traced."""

    value: D
    run: str = field(default="", compare=False)


class TaskHandle(Generic[Out]):
    """A durable task that was stored; it goes on whether or not anybody holds this."""

    def __init__(self, host: "Host", id: str, run: str, handler: Handler[Any, Out]) -> None:
        self._host = host
        self._handler = handler
        self.id = id
        self.run = run

    async def result(self, *, timeout_s: float | None = None) -> Out:
        """Wait for the outcome.

        Raises:
            DeadlineExceeded: it did not come in ``timeout_s``; the task goes on.
            TaskDead, TaskCancelled, AntiphonError: how the task ended, by type.
        """
        clock = self._host.clock
        deadline = None if timeout_s is None else clock.unix_ns() // 1_000_000 + int(timeout_s * 1000)
        found = await await_result(self._host.bus, clock, self._host.tenant, self.id, deadline_unix_ms=deadline)
        value: Out = value_of(found, self._handler.output).value
        return value

    async def outcome(self) -> TaskResult | None:
        """The terminal record, or None while the task is queued or running."""
        return await read_result(self._host.bus, self._host.tenant, self.id)

    async def cancel(self) -> bool:
        """Stop the task: its terminal record first, then the signal. False if it had ended before."""
        return await self._host.cancel(self.id)


class _Limits(NamedTuple):
    deadline_unix_ms: int | None
    labels: Mapping[str, str]
    budget: Mapping[str, float]
    priority: int


class Client:
    """A connection of a process that is not a node. Made by ``connect``; safe for concurrent use."""

    def __init__(self, host: "Host") -> None:
        self._host = host
        self._count = 0

    @property
    def host(self) -> "Host":
        """The process's facilities, for tools that look below: directory, bus, models."""
        return self._host

    async def ask(
        self,
        handler: Handler[In, Out],
        message: In,
        *,
        timeout_s: float = 30.0,
        labels: Mapping[str, str] | None = None,
        budget: Mapping[str, float] | None = None,
    ) -> Out:
        """Ask an agent and wait: quick, typed, not durable. Cancelling this stops the handler.

        Raises:
            UnknownAgent, UnknownHandler: nobody serves it, saying what there is instead.
            DeadlineExceeded: no answer in ``timeout_s``.
            AntiphonError: whatever the handler raised, by type; a foreign exception as HandlerFailed.
        """
        limits = self._limits(timeout_s, labels, budget)
        run = new_id()
        operation = self._operation(OperationKind.ASK, handler, message, run, limits)
        try:
            value: Out = (await self._host.perform(operation)).value
        except asyncio.CancelledError:
            await self._give_up(run)
            raise
        return value

    async def submit(
        self,
        handler: Handler[In, Out],
        message: In,
        *,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
        labels: Mapping[str, str] | None = None,
        budget: Mapping[str, float] | None = None,
        priority: int = 0,
        version: str | None = None,
    ) -> TaskHandle[Out]:
        """Store durable work. When this returns the task cannot be lost.

        ``idempotency_key``: the same key for the same handler is the same task. ``timeout_s`` is the task's own
        deadline, not how long this call waits. ``budget`` bounds the whole run, whatever it calls: ``tokens``, ``usd``,
        ``steps``, ``wall_s``. ``version``: of the agent's code that must do it, one that is alive; None: any.

        Raises:
            UnknownAgent, UnknownHandler: nobody serves it.
            VersionMismatch: no node serves it in that version, naming those that are alive.
            ConfigurationError: a budget that is none of these, or a version of a keyed handler.
            MessageTooLarge, BusUnavailable: it was not stored.
        """
        limits = self._limits(timeout_s, labels, budget, priority)
        run = new_id()
        if idempotency_key is None:
            task = run
        else:
            task = run = derived_id("key", self._host.tenant, str(handler.address), idempotency_key)
            # The stream itself removes duplicates for two minutes only; the outcome is there as long as results are.
            if await read_result(self._host.bus, self._host.tenant, task) is not None:
                return TaskHandle(self._host, task, run, handler)
        await self._submit(handler, message, task, run, limits, version)
        return TaskHandle(self._host, task, run, handler)

    def stream(
        self,
        handler: Handler[In, Out],
        message: In,
        *,
        timeout_s: float | None = None,
        labels: Mapping[str, str] | None = None,
        budget: Mapping[str, float] | None = None,
    ) -> "Following[Done[Out]]":
        """Submit and see what the handler emits as it comes (``Token``, ``Progress``), then the typed result.

        After ``Restarted`` what was shown before is void from its ``n`` on: the worker died or failed, and another
        attempt begins. A ``Gap`` says that this reader missed something, which no node has any more. The iterator has
        the ``task`` and the ``position`` with which ``follow`` goes on after a break.

        Raises (from the iterator):
            AntiphonError: as ``submit`` and ``TaskHandle.result``.
        """
        from antiphon.runtime.delivery.following import Following

        host, task = self._host, new_id()
        limits = self._limits(timeout_s, labels, budget)
        return Following(
            host.bus,
            host.clock,
            host.tenant,
            task,
            begin=lambda: self._submit(handler, message, task, task, limits),
            finish=lambda result: Done(value_of(result, handler.output).value, run=task),
        )

    def follow(
        self, task_id: str, handler: Handler[Any, Out], *, after: tuple[int, int] = (0, 0)
    ) -> "Following[Done[Out]]":
        """See a task of ``handler`` from wherever one is: the events of ``stream`` behind a ``position``.

        What was shown before comes from the nodes, which keep the newest of it until some seconds after the end; the
        result is there as long as results are kept.

        Raises (from the iterator):
            UnknownTask: there is no trace of it.
            AntiphonError: as ``TaskHandle.result``.
        """
        from antiphon.runtime.delivery.following import Following
        from antiphon.runtime.delivery.task_status import find_task

        host = self._host
        return Following(
            host.bus,
            host.clock,
            host.tenant,
            task_id,
            begin=lambda: find_task(host.bus, host.tenant, task_id),
            finish=lambda result: Done(value_of(result, handler.output).value, run=result.run or task_id),
            after=Position(*after),
        )

    async def publish(self, topic: str, message: Message) -> None:
        """Store an event; every agent with ``@agent.on(topic)`` gets it. Raises InvalidName, BusError."""
        scope = Scope(tenant=self._host.tenant, run=new_id())
        await self._host.perform(
            Operation(
                kind=OperationKind.PUBLISH,
                path=self._path(),
                target=check_topic(topic),
                scope=scope,
                body=encode(message),
                request=message,
            )
        )

    async def score(self, task: "TaskHandle[Any] | str", name: str, value: float, comment: str = "") -> None:
        """Say what a task's result is worth: kept in the store, shown by ``antiphon trace``, used by ``compare``.

        A later score of the same name replaces it. A task may be scored before it ends, and long after.

        Raises:
            ConfigurationError: a task id, name, value or comment that cannot be.
            BusError: it was not stored.
        """
        from antiphon.runtime.replay.score import score_of
        from antiphon.schemas import subjects
        from antiphon.schemas.envelope import Envelope
        from antiphon.schemas.score import TOPIC, Score

        host, id = self._host, task.id if isinstance(task, TaskHandle) else task
        score = score_of(id, name, value, comment, host.clock.unix_ns() // 1_000_000)
        # Not through the chain: a judgement is no run of its own.
        headers = Envelope(type=Score.message_name).headers()
        await host.bus.streams.append(subjects.event(host.tenant, TOPIC), encode(score), headers, message_id=new_id())

    async def schedule(
        self,
        name: str,
        handler: Handler[In, Any],
        message: In,
        *,
        every: float | str | None = None,
        cron: str | None = None,
        start: datetime | None = None,
        missed: str = Missed.LATEST,
    ) -> Schedule:
        """Submit ``message`` again and again, until ``unschedule``; each tick is one task, whatever nodes there are.

        Either ``every`` (seconds or ``"1h"``, from ``start`` or from now) or ``cron`` (five fields, in UTC:
        ``"0 8 * * 1-5"``). Of ticks that passed while no node ran, ``missed="latest"`` makes up for the newest and
        ``"skip"`` for none. The handler finds ``schedule`` and ``tick`` (its time) in ``ctx.labels``. A schedule of
        that name is changed; saying the same again changes nothing.

        Raises:
            UnknownAgent, UnknownHandler: nobody has ever served it.
            ConfigurationError: a name or time that cannot be.
            BusError: it was not stored.
        """
        from antiphon.runtime.patterns.schedule_book import work_of

        directory = self._host.directory
        if not await directory.serves(handler.address):
            raise await directory.nobody(handler.address, durable=True)
        work = work_of(handler, message)
        return await (await self._book()).add(name, work, every=every, cron=cron, start=start, missed=missed)

    async def unschedule(self, name: str) -> bool:
        """Let no more ticks come; what they began goes on. False if there was no such schedule. Raises BusError."""
        return await (await self._book()).remove(name)

    async def schedules(self) -> list[Schedule]:
        """The schedules, by name. Raises BusError."""
        return await (await self._book()).all()

    async def cancel(self, task_id: str) -> bool:
        """Stop a task, queued, running or parked; False if it had ended before.

        Raises:
            UnknownTask: there is no trace of it.
        """
        from antiphon.runtime.delivery.task_status import find_task

        await find_task(self._host.bus, self._host.tenant, task_id)
        return await self._host.cancel(task_id)

    async def _give_up(self, run: str) -> None:
        """Tell whoever answers an ask that nobody waits for it."""
        try:
            await self._host.cancel.signal(run)
        except BusError as error:
            log.info("ask_not_given_up", run=run, error=error.message)

    async def _submit(
        self,
        handler: Handler[In, Out],
        message: In,
        task: str,
        run: str,
        limits: "_Limits",
        version: str | None = None,
    ) -> None:
        operation = self._operation(OperationKind.SUBMIT, handler, message, run, limits)
        operation.request = (handler, task)
        operation.version = version or ""
        await self._host.perform(operation)

    async def _book(self) -> "ScheduleBook":
        from antiphon.runtime.patterns.schedule_book import ScheduleBook

        return await ScheduleBook.open(self._host.bus, self._host.clock, self._host.tenant)

    def _limits(
        self,
        timeout_s: float | None,
        labels: Mapping[str, str] | None,
        budget: Mapping[str, float] | None,
        priority: int = 0,
    ) -> "_Limits":
        if timeout_s is None and not budget:
            return _Limits(None, labels or {}, {}, priority)
        checked = check_budget(budget or {})
        now_ms = self._host.clock.unix_ns() // 1_000_000
        ends = (deadline_of(checked, now_ms), None if timeout_s is None else now_ms + int(timeout_s * 1000))
        deadline = min((end for end in ends if end is not None), default=None)
        return _Limits(deadline, labels or {}, checked, priority)

    def _operation(
        self, kind: OperationKind, handler: Handler[In, Out], message: In, run: str, limits: "_Limits"
    ) -> Operation:
        return Operation(
            kind=kind,
            path=self._path(),
            target=str(handler.address),
            scope=Scope(
                tenant=self._host.tenant,
                run=run,
                deadline_unix_ms=limits.deadline_unix_ms,
                labels=limits.labels,
                budget=limits.budget,
                priority=limits.priority,
            ),
            body=encode(message),
            request=handler,
            deadline_unix_ms=limits.deadline_unix_ms,
        )

    def _path(self) -> str:
        self._count += 1
        return str(self._count)


def connect(
    url: str | None = None,
    *,
    tenant: str | None = None,
    settings: "Settings | None" = None,
    bus: "Bus | None" = None,
    models: "ModelRegistry | None" = None,
) -> AbstractAsyncContextManager[Client]:
    """``async with antiphon.connect() as client``: from any process.

    Without arguments the settings decide: ``ANTIPHON_NATS_URL``, or the embedded server of ``ANTIPHON_HOME``.
    ``bus`` connects to a bus made by the caller, as tests do.

    Raises:
        BusUnavailable: no server can be reached or started.
        ConfigurationError: a setting that cannot be read.
    """
    return _connect(url, tenant, settings, bus, models)


@asynccontextmanager
async def _connect(
    url: str | None,
    tenant: str | None,
    settings: "Settings | None",
    bus: "Bus | None",
    models: "ModelRegistry | None",
) -> AsyncGenerator[Client, None]:
    from antiphon.runtime.compose import node_name, open_host
    from antiphon.runtime.settings import load_settings

    settings = settings or load_settings()
    changes: dict[str, Any] = {}
    if url is not None:
        changes["nats_url"] = url
    if tenant is not None:
        changes["tenant"] = tenant
    if changes:
        settings = settings.model_copy(update=changes)
    async with open_host(settings, node=node_name("client"), bus=bus, models=models) as host:
        yield Client(host)
