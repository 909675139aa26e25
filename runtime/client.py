"""The way in from outside: ask an agent, submit durable work, follow it."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from antiphon.runtime.agent import Handler, In, Out
from antiphon.runtime.delivery.outcome import await_result, read_result, store_result, value_of
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.policies.chain import Operation, OperationKind, Scope
from antiphon.schemas import subjects
from antiphon.schemas.identity import check_topic, derived_id, new_id
from antiphon.schemas.message import Message
from antiphon.schemas.task import Progress, Restarted, TaskResult, TaskState, Token

if TYPE_CHECKING:
    from antiphon.runtime.bus.base import Bus
    from antiphon.runtime.host import Host
    from antiphon.runtime.models.registry import ModelRegistry
    from antiphon.runtime.settings import Settings

D = TypeVar("D", bound=Message)


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
        return await cancel_task(self._host, self.id)


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
    ) -> Out:
        """Ask an agent and wait: quick, typed, not durable.

        Raises:
            UnknownAgent, UnknownHandler: nobody serves it, saying what there is instead.
            DeadlineExceeded: no answer in ``timeout_s``.
            AntiphonError: whatever the handler raised, by type; a foreign exception as HandlerFailed.
        """
        operation = self._operation(OperationKind.ASK, handler, message, new_id(), timeout_s, labels)
        value: Out = (await self._host.perform(operation)).value
        return value

    async def submit(
        self,
        handler: Handler[In, Out],
        message: In,
        *,
        idempotency_key: str | None = None,
        timeout_s: float | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int = 0,
    ) -> TaskHandle[Out]:
        """Store durable work. When this returns the task cannot be lost.

        ``idempotency_key``: the same key for the same handler is the same task. ``timeout_s`` is the task's own
        deadline, not how long this call waits.

        Raises:
            UnknownAgent, UnknownHandler: nobody has ever served it.
            MessageTooLarge, BusUnavailable: it was not stored.
        """
        run = new_id()
        if idempotency_key is None:
            task = run
        else:
            task = run = derived_id("key", self._host.tenant, str(handler.address), idempotency_key)
            # The stream itself removes duplicates for two minutes only; the outcome is there as long as results are.
            if await read_result(self._host.bus, self._host.tenant, task) is not None:
                return TaskHandle(self._host, task, run, handler)
        await self._submit(handler, message, task, run, timeout_s, labels, priority)
        return TaskHandle(self._host, task, run, handler)

    async def stream(
        self,
        handler: Handler[In, Out],
        message: In,
        *,
        timeout_s: float | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> AsyncGenerator[Token | Progress | Restarted | Done[Out], None]:
        """Submit and see what the handler emits as it comes, then the typed result.

        After ``Restarted`` what was shown before is void: the worker died or failed, and another attempt begins.

        Raises:
            AntiphonError: as ``submit`` and ``TaskHandle.result``.
        """
        from antiphon.runtime.delivery.following import follow

        task = new_id()
        async with follow(self._host.bus, self._host.clock, self._host.tenant, task) as events:
            await self._submit(handler, message, task, task, timeout_s, labels, 0)
            async for event in events:
                if isinstance(event, TaskResult):
                    yield Done(value_of(event, handler.output).value, run=task)
                else:
                    yield event

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

    async def _submit(
        self,
        handler: Handler[In, Out],
        message: In,
        task: str,
        run: str,
        timeout_s: float | None,
        labels: Mapping[str, str] | None,
        priority: int,
    ) -> None:
        operation = self._operation(OperationKind.SUBMIT, handler, message, run, timeout_s, labels, priority)
        operation.request = (handler, task)
        await self._host.perform(operation)

    def _operation(
        self,
        kind: OperationKind,
        handler: Handler[In, Out],
        message: In,
        run: str,
        timeout_s: float | None,
        labels: Mapping[str, str] | None,
        priority: int = 0,
    ) -> Operation:
        deadline = None
        if timeout_s is not None:
            deadline = self._host.clock.unix_ns() // 1_000_000 + int(timeout_s * 1000)
        return Operation(
            kind=kind,
            path=self._path(),
            target=str(handler.address),
            scope=Scope(
                tenant=self._host.tenant, run=run, deadline_unix_ms=deadline, labels=labels or {}, priority=priority
            ),
            body=encode(message),
            request=handler,
            deadline_unix_ms=deadline,
        )

    def _path(self) -> str:
        self._count += 1
        return str(self._count)


async def cancel_task(host: "Host", task: str) -> bool:
    """Write the cancelled record, then tell whoever runs the task; False if it had ended before."""
    now_ms = host.clock.unix_ns() // 1_000_000
    stopped = await store_result(
        host.bus,
        host.tenant,
        TaskResult(task=task, state=TaskState.CANCELLED, attempts=0, started_unix_ms=now_ms, finished_unix_ms=now_ms),
    )
    if stopped:
        await host.bus.publish(subjects.control(host.tenant, "task", task), b"")
    return stopped


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
