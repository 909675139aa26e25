"""What a handler is given: the one door to peers, models, tools, state, time and randomness."""

import random
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydantic import BaseModel, TypeAdapter

from antiphon.runtime.agent import Agent, Handler
from antiphon.runtime.branches import Branches, Group, gather
from antiphon.runtime.delivery.payload import encode
from antiphon.runtime.errors import ConfigurationError
from antiphon.runtime.host import Host
from antiphon.runtime.lineage import Lineage
from antiphon.runtime.policies.chain import Operation, OperationKind, Outcome, Scope
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.tool import Tool
from antiphon.schemas.identity import check_topic
from antiphon.schemas.message import Message
from antiphon.schemas.task import Effect, Progress, Token

if TYPE_CHECKING:
    import structlog

    from antiphon.runtime.delivery.streaming import Emitter
    from antiphon.runtime.model import Model
    from antiphon.runtime.state import State

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)
T = TypeVar("T")
P = ParamSpec("P")


class Context:
    """One run of one handler.

    What goes through it is traced and open to policies. Its methods number their operation when they are
    called and do the work when awaited, so ``ctx.gather(ctx.call(…), ctx.call(…))`` always numbers alike.
    Using it from an asyncio task that ``ctx`` did not start raises ForeignTask.
    """

    __slots__ = ("_agent", "_branches", "_emitter", "_host", "_input", "_lineage", "_random", "scope")

    def __init__(
        self, host: Host, agent: Agent, scope: Scope, *, input: bytes = b"", emitter: "Emitter | None" = None
    ) -> None:
        self._host = host
        self._agent = agent
        self._input = input
        self._emitter = emitter
        self._branches = Branches()
        self._lineage: Lineage | None = None
        self._random: random.Random | None = None
        self.scope = scope

    @property
    def host(self) -> Host:
        """The process's facilities; handlers do not need it."""
        return self._host

    # --- who and when -------------------------------------------------------------------------------

    @property
    def run_id(self) -> str:
        """Shared by everything that one outside request caused."""
        return self.scope.run

    @property
    def task_id(self) -> str:
        """The durable task, or empty in an ask."""
        return self.scope.task

    @property
    def attempt(self) -> int:
        """1 the first time this message is tried."""
        return self.scope.attempt

    @property
    def deadline_unix_ms(self) -> int | None:
        """When the caller stops waiting; None: never."""
        return self.scope.deadline_unix_ms

    @property
    def labels(self) -> Mapping[str, str]:
        """What the outside caller attached; travels to everything this causes."""
        return self.scope.labels

    @property
    def budget(self) -> Mapping[str, float]:
        """What the run may use, by name; travels to everything this causes."""
        return self.scope.budget

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._host.clock.unix_ns() / 1e9

    @property
    def random(self) -> random.Random:
        """Random numbers; the same task draws the same ones on every attempt."""
        if self._random is None:
            self._random = random.Random(f"{self.scope.task or self.scope.run}:{self._agent.name}")
        return self._random

    @property
    def log(self) -> "structlog.stdlib.BoundLogger":
        """A structlog logger; agent, run and task are bound, trace ids are added as it writes."""
        import structlog

        bound: structlog.stdlib.BoundLogger = structlog.get_logger().bind(
            agent=self._agent.name, run=self.scope.run, **({"task": self.scope.task} if self.scope.task else {})
        )
        return bound

    # --- peers --------------------------------------------------------------------------------------

    def ask(self, handler: Handler[In, Out], message: In, *, timeout_s: float = 30.0) -> Coroutine[Any, Any, Out]:
        """Ask a peer and wait: quick, not stored.

        Raises:
            UnknownAgent: nobody serves the handler now.
            RequestTimeout: no answer in ``timeout_s`` or what is left of the deadline.
            AntiphonError: whatever the handler raised, by type; a foreign exception as HandlerFailed.
        """
        return self._peer(OperationKind.ASK, handler, message, timeout_s)

    def call(
        self, handler: Handler[In, Out], message: In, *, timeout_s: float | None = None
    ) -> Coroutine[Any, Any, Out]:
        """Have a peer do durable work and wait for its one outcome: stored, redelivered after a crash.

        The child's id derives from this task and the operation's path, so another attempt of this task finds
        the same child.

        Raises:
            UnknownAgent, UnknownHandler: nobody has ever served it.
            TaskDead, TaskCancelled, DeadlineExceeded, AntiphonError: how the child ended, by type.
        """
        return self._peer(OperationKind.CALL, handler, message, timeout_s)

    def publish(self, topic: str, message: Message) -> Coroutine[Any, Any, None]:
        """Store an event; every agent with ``@agent.on(topic)`` gets it. Raises InvalidName, BusError."""
        operation = self.operation(OperationKind.PUBLISH, check_topic(topic), encode(message), request=message)
        return self._nothing(operation)

    def gather(self, *work: Awaitable[T]) -> Coroutine[Any, Any, list[T]]:
        """Run together; the results in order. If one fails the others are cancelled and it is raised."""
        return gather(self._branches, work)

    def group(self, *, quorum: int | None = None, timeout_s: float | None = None) -> Group:
        """``async with ctx.group(quorum=2) as g: g.call(handler, message); …`` then ``g.outcomes``.

        Leaves as soon as ``quorum`` calls succeeded (None: all ended) or ``timeout_s`` passed; the rest is
        cancelled.
        """
        return Group(self, self._branches, quorum=quorum, timeout_s=timeout_s)

    async def emit(self, value: str | BaseModel | Mapping[str, Any]) -> None:
        """Show something before the result: text as Token, anything else as Progress.

        Readers are those of ``client.stream``; without one it costs a message to nobody. In an ask nothing
        is shown, because nobody can listen.
        """
        self._branches.owner()
        if self._emitter is not None:
            if isinstance(value, str):
                await self._emitter.emit(Token(text=value))
            else:
                plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else dict(value)
                await self._emitter.emit(Progress(value=plain))

    # --- models, tools, effects, state --------------------------------------------------------------

    @property
    def model(self) -> "Model":
        """The agent's model: ``generate`` and ``embed``."""
        from antiphon.runtime.model import Model

        return Model(self, self._agent.model or self._host.default_model)

    def tool(self, tool: Tool[P, T], *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Run a tool of this agent.

        Raises:
            ConfigurationError: the agent was not given this tool, or its result is not JSON.
        """
        if self._agent.tools.get(tool.name) is not tool:
            known = ", ".join(sorted(self._agent.tools)) or "none"
            raise ConfigurationError(
                f"agent {self._agent.name!r} has no tool {tool.name!r} (it has {known}): add it to tools=[…]"
            )
        arguments = tool.arguments(args, kwargs)
        operation = self.operation(
            OperationKind.TOOL,
            tool.name,
            _json(f"arguments of tool {tool.name}", arguments),
            effect=tool.effect,
            request=lambda: tool.function(*args, **kwargs),
        )
        operation.attributes[names.GENAI_OPERATION] = "execute_tool"
        operation.attributes[names.GENAI_TOOL_NAME] = tool.name
        operation.attributes[names.DETERMINISTIC] = tool.effect is Effect.PURE
        if tool.ttl_s is not None:
            operation.attributes[names.TOOL_TTL_S] = tool.ttl_s
        return self._value(operation)

    def run(
        self, step: str, function: Callable[[], Awaitable[T]], *, effect: str = Effect.WRITE
    ) -> Coroutine[Any, Any, T]:
        """Run a function with an outside effect under a name; what it returns must be JSON."""
        return self._value(self.operation(OperationKind.RUN, step, b"", effect=Effect(effect), request=function))

    @property
    def state(self) -> "State":
        """What the agent keeps between messages, shared by its replicas."""
        from antiphon.runtime.state import State

        return State(self, self._agent.name)

    # --- one operation ------------------------------------------------------------------------------

    def _peer(
        self, kind: OperationKind, handler: Handler[In, Out], message: In, timeout_s: float | None
    ) -> Coroutine[Any, Any, Out]:
        operation = self.operation(kind, str(handler.address), encode(message), request=handler)
        if timeout_s is not None:
            limit = self._host.clock.unix_ns() // 1_000_000 + int(timeout_s * 1000)
            deadline = operation.deadline_unix_ms
            operation.deadline_unix_ms = limit if deadline is None else min(limit, deadline)
        return self._value(operation)

    def operation(
        self, kind: OperationKind, target: str, body: bytes, *, effect: Effect = Effect.WRITE, request: Any = None
    ) -> Operation:
        """Number an operation; its place is fixed now, whenever it runs."""
        path = self._branches.next_path()
        operation = Operation(
            kind=kind,
            path=path,
            target=target,
            scope=self.scope,
            body=body,
            effect=effect,
            request=request,
            deadline_unix_ms=self.scope.deadline_unix_ms,
        )
        if self._host.telemetry.enabled:
            causes = self._lineage.causes(body) if self._lineage is not None else []
            if causes is not None:
                operation.attributes[names.CAUSES] = causes
        return operation

    async def perform(self, operation: Operation) -> Outcome:
        """Send an operation through the chain and remember its result for lineage."""
        outcome = await self._host.perform(operation)
        if operation.span is not None and outcome.body:
            if self._lineage is None:
                self._lineage = Lineage(self._input)
            self._lineage.record(operation.span.span_id.hex(), outcome.body)
        return outcome

    async def _value(self, operation: Operation) -> Any:
        return (await self.perform(operation)).value

    async def _nothing(self, operation: Operation) -> None:
        await self.perform(operation)


_ANY: TypeAdapter[Any] = TypeAdapter(Any)


def _json(what: str, value: Any) -> bytes:
    try:
        return _ANY.dump_json(value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{what}: {error}; expected something that JSON can carry") from None
