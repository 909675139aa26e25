"""What a handler is given: the one door to peers, models, tools, state, time and randomness."""

import json
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from pydantic import BaseModel, TypeAdapter

from antiphon.runtime.agent import Agent, Handler
from antiphon.runtime.branches import Branches, gather
from antiphon.runtime.decision import Decision, OnTimeout, decision_of, question
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.durations import seconds
from antiphon.runtime.each import each
from antiphon.runtime.errors import ConfigurationError, NotDurable
from antiphon.runtime.fields import FieldsRead, is_watched
from antiphon.runtime.group import Group
from antiphon.runtime.host import Host
from antiphon.runtime.lineage import Lineage
from antiphon.runtime.policies.chain import Happened, Operation, OperationKind, Outcome, Scope
from antiphon.runtime.steps import step_of
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.tool import Tool, ToolRun
from antiphon.runtime.tool_approval import approved_tool
from antiphon.schemas.identity import Address, check_topic, derived_id, new_id
from antiphon.schemas.message import Message
from antiphon.schemas.parking import Wait, WaitKind
from antiphon.schemas.task import Effect, Progress, Token

if TYPE_CHECKING:
    import structlog

    from antiphon.runtime.delivery.streaming import Emitter
    from antiphon.runtime.delivery.task_run import TaskRun
    from antiphon.runtime.model import Model
    from antiphon.runtime.session import Session
    from antiphon.runtime.state import State

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)
M = TypeVar("M", bound=Message)
T = TypeVar("T")
P = ParamSpec("P")

_TYPED = frozenset({OperationKind.ASK, OperationKind.CALL, OperationKind.MODEL, OperationKind.TOOL, OperationKind.RUN})
SHORT_SLEEP_S = 2.0  # what an ask may sleep: nothing waits longer without being durable


class Context:
    """One run of one handler.

    What goes through it is traced and open to policies. Its methods number their operation when they are
    called and do the work when awaited, so ``ctx.gather(ctx.call(…), ctx.call(…))`` always numbers alike.
    Using it from an asyncio task that ``ctx`` did not start raises ForeignTask.
    """

    __slots__ = (
        "_address", "_agent", "_branches", "_emitter", "_fields", "_host", "_input", "_lineage", "_shown", "_shown_ns",
        "scope", "task_run",
    )  # fmt: skip

    def __init__(
        self,
        host: Host,
        agent: Agent,
        scope: Scope,
        *,
        input: bytes = b"",
        emitter: "Emitter | None" = None,
        task_run: "TaskRun | None" = None,
        address: Address | None = None,
    ) -> None:
        self._host = host
        self._agent = agent
        self._address = address
        self._input = input
        self._emitter = emitter
        self._branches = Branches()
        self._lineage: Lineage | None = None
        self._fields: FieldsRead | None = None
        self._shown = self._shown_ns = 0
        self.scope = scope
        self.task_run = task_run
        if task_run is not None:
            task_run.watch(self._branches)

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
        """1 the first time this message is tried; a drained node and a wake-up begin no new attempt."""
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

    @property
    def key(self) -> str:
        """Of a keyed handler: whose messages run one at a time and in order. Else empty."""
        return self.task_run.key if self.task_run is not None else ""

    def now(self) -> float:
        """Seconds since the epoch; in durable work the same in every attempt."""
        return self._drawn("now", self.clock_s())

    def clock_s(self) -> float:
        """Seconds since the epoch by the node's clock, different in every attempt: for waits, not for decisions."""
        return self._host.clock.unix_ns() / 1e9

    def end_s(self, path: str, timeout_s: float) -> float:
        """When the time of the operation at ``path`` is up: the same in every attempt."""
        end_s = self.clock_s() + timeout_s
        return end_s if self.task_run is None else self.task_run.draw(f"{path}~", "end", end_s)

    @property
    def random(self) -> random.Random:
        """Random numbers; the same branch of the same task draws the same ones in every attempt."""
        branch = self._branches.owner()
        if branch.random is None:
            branch.random = random.Random(f"{self.scope.task or self.scope.run}:{self._agent.name}:{branch.prefix}")
        return branch.random

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
        self, handler: Handler[In, Out], message: In, *, timeout_s: float | None = None, version: str | None = None
    ) -> Coroutine[Any, Any, Out]:
        """Have a peer do durable work and wait for its one outcome: stored, redelivered after a crash.

        The child's id derives from this task and the operation's path, so another attempt of this task finds
        the same child. ``version``: of the peer's code that must do it, one that is alive; None: any.

        Raises:
            UnknownAgent, UnknownHandler: nobody serves it.
            VersionMismatch: no node serves it in that version.
            TaskDead, TaskCancelled, DeadlineExceeded, AntiphonError: how the child ended, by type.
        """
        return self._peer(OperationKind.CALL, handler, message, timeout_s, version or "")

    def submit(self, handler: Handler[In, Out], message: In) -> Coroutine[Any, Any, str]:
        """Have a peer do durable work and go on: its task id. The work is detached, it may outlive this task.

        Raises:
            UnknownAgent, UnknownHandler: nobody has ever served it.
        """
        operation = self.operation(OperationKind.SUBMIT, str(handler.address), encode(message))
        parts = (self.scope.task, operation.path) if self.scope.task else (self.scope.run, operation.key)
        operation.request = (handler, derived_id("detached", *parts))
        operation.restore = json.loads
        return self._value(operation)

    def publish(self, topic: str, message: Message) -> Coroutine[Any, Any, None]:
        """Store an event; every agent with ``@agent.on(topic)`` gets it. Raises InvalidName, BusError."""
        operation = self.operation(OperationKind.PUBLISH, check_topic(topic), encode(message), request=message)
        return self._nothing(operation)

    def gather(self, *work: Awaitable[T]) -> Coroutine[Any, Any, list[T]]:
        """Run together; the results in order. If one fails the others are cancelled and it is raised."""
        return gather(self._branches, work)

    def each(self, *work: Awaitable[T]) -> Coroutine[Any, Any, list[T]]:
        """Steps that need nothing of one another, in order; a policy (``parallelise``) may run them together.

        The results in order, or the error of the first in order that fails; those after it do not begin, or are
        cancelled.
        """
        return each(self._branches, work, self._at_once)

    def group(self, *, quorum: int | None = None, at_least: int | None = None, timeout_s: float | None = None) -> Group:
        """``async with ctx.group(quorum=2) as g: g.call(handler, message); …`` then ``g.outcomes``.

        Leaves as soon as ``quorum`` calls succeeded (None: all ended) or ``timeout_s`` passed; the rest is
        cancelled. ``at_least`` declares that so many successes would do: a policy (``quorum``) may have it leave with
        fewer than otherwise, never with fewer than that.
        """
        return Group(
            self, self._branches, quorum=self._quorum(quorum, at_least), at_least=at_least, timeout_s=timeout_s
        )

    async def emit(self, value: str | BaseModel | Mapping[str, Any]) -> None:
        """Show something before the result: text as Token, anything else as Progress.

        Readers are those of ``client.stream``; without one it costs a message to nobody. In an ask nothing
        is shown, because nobody can listen.
        """
        branch = self._branches.owner()
        if self._emitter is None or (self.task_run is not None and self.task_run.is_replaying(branch)):
            return
        self._count_shown()
        if isinstance(value, str):
            await self._emitter.emit(Token(text=value))
        else:
            plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else dict(value)
            await self._emitter.emit(Progress(value=plain))

    async def show(self, text: str) -> None:
        """Show what a model says: it says it once, whatever attempt this is."""
        if self._emitter is not None:
            self._count_shown()
            await self._emitter.emit(Token(text=text))

    def mute(self) -> None:
        """Show nothing before the result: a guard has to see that first."""
        self._emitter = None

    # --- models, tools, effects, state --------------------------------------------------------------

    @property
    def model(self) -> "Model":
        """The agent's model: ``generate``, ``run`` and ``embed``."""
        from antiphon.runtime.model import Model

        return Model(self, self._agent.model or self._host.default_model, self._agent.tools)

    def tool(self, tool: Tool[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
        """Run a tool of this agent.

        A tool that declares ``idempotency_key: str = ""`` is given one; see ``run``. One with ``approve`` waits
        for a person first.

        Raises:
            ConfigurationError: the agent was not given this tool, or its result is not JSON (InvalidResult).
            ToolTimeout: it took longer than it declares.
            ToolRejected, InvalidArguments: the person said no, or left arguments that do not fit.
            NotDurable: a tool with ``approve`` in an ask.
            InDoubt: it writes, takes no key, and an earlier attempt may have run it.
        """
        if self._agent.tools.get(tool.name) is not tool:
            known = ", ".join(sorted(self._agent.tools)) or "none"
            raise ConfigurationError(
                f"agent {self._agent.name!r} has no tool {tool.name!r} (it has {known}): add it to tools=[…]"
            )
        arguments = tool.arguments(args, kwargs)
        if tool.approve:
            return approved_tool(self, tool, arguments)
        return self._value(self.tool_operation(tool, arguments))

    def tool_operation(self, tool: Tool[..., Any], arguments: dict[str, Any]) -> Operation:
        """Number a run of ``tool``. Raises ConfigurationError for arguments that JSON cannot carry."""
        body = _json(f"arguments of tool {tool.name}", arguments)
        operation = self.operation(OperationKind.TOOL, tool.name, body, effect=tool.effect)
        key = {tool.KEY: operation.key} if tool.takes_key else {}
        operation.request = ToolRun(tool, {**arguments, **key})
        operation.rebind = lambda given: ToolRun(tool, {**tool.validated(given), **key})
        operation.unkeyed = tool.effect is Effect.WRITE and not tool.takes_key
        operation.restore = tool.restore
        operation.attributes[names.GENAI_OPERATION] = "execute_tool"
        operation.attributes[names.GENAI_TOOL_NAME] = tool.name
        operation.attributes[names.DETERMINISTIC] = tool.effect is Effect.PURE
        if tool.ttl_s is not None:
            operation.attributes[names.TOOL_TTL_S] = tool.ttl_s
        if tool.timeout_s is not None:
            operation.attributes[names.TIMEOUT_S] = tool.timeout_s
        if tool.batch is not None:
            operation.attributes[names.TOOL_BATCH] = True
        return operation

    def run(
        self,
        step: str,
        function: Callable[[], Awaitable[T]] | Callable[[str], Awaitable[T]],
        *,
        effect: str = Effect.WRITE,
        resolve: Callable[[str], Awaitable[Happened | None]] | None = None,
    ) -> Coroutine[Any, Any, T]:
        """Run a function with an outside effect under a name; what it returns must be JSON.

        A function with a parameter is given the operation's idempotency key, the same in every attempt, to pass on
        to whatever it writes to; it may be run again after a crash. One that writes and takes none never is: if it
        had begun, ``resolve`` (given the key; ``Happened(value)`` or None) says what became of it, or the task stops
        as InDoubt. In durable work the value has been through JSON; a return annotation gives it its type back.
        """
        operation = self.operation(OperationKind.RUN, step, b"", effect=Effect(effect))
        shape = step_of(function)
        given: tuple[Any, ...] = (operation.key,) if shape.takes_key else ()
        operation.request = lambda: function(*given)
        operation.unkeyed = operation.effect is Effect.WRITE and not shape.takes_key
        operation.resolve = resolve
        operation.restore = shape.restore
        return self._value(operation)

    # --- waiting ------------------------------------------------------------------------------------

    def sleep(self, duration: float | str) -> Coroutine[Any, Any, None]:
        """Wait for so many seconds, or ``"90s"``, ``"2h"``, ``"3d"``, through every restart.

        A long sleep costs no slot and no memory: the task is parked.

        Raises:
            NotDurable: a long sleep in an ask.
        """
        length_s = seconds("sleep", duration)
        if self.task_run is None and length_s > SHORT_SLEEP_S:
            raise NotDurable(
                f"ctx.sleep for {length_s:g} s in an ask: an ask may sleep {SHORT_SLEEP_S:g} s; "
                "submit the work or reach it with ctx.call"
            )
        operation = self.operation(OperationKind.SLEEP, "sleep", b"%r" % length_s, effect=Effect.PURE)
        until_s = self.end_s(operation.path, length_s)
        operation.request = Wait(kind=WaitKind.TIME, path=operation.path, until_unix_ms=int(until_s * 1000))
        return self._nothing(operation)

    def approve(
        self,
        proposal: M,
        *,
        to: str = "",
        timeout: float | str | None = None,
        on_timeout: OnTimeout = "reject",
    ) -> Coroutine[Any, Any, Decision[M]]:
        """Ask a person: approved or not, and the proposal as they left it. Waits days without slot or memory.

        ``to`` says who should answer, such as ``role:ops``. After ``timeout`` (seconds or ``"2d"``) it counts as
        rejected or approved, or raises (``"fail"``).

        Raises:
            NotDurable: in an ask.
            DeadlineExceeded: nobody answered in time and ``on_timeout`` is ``"fail"``.
        """
        if self.task_run is None:
            raise NotDurable("ctx.approve in an ask: only durable work can wait for a person; use submit or ctx.call")
        operation = self.operation(OperationKind.APPROVE, proposal.message_name, encode(proposal))
        end_s = None if timeout is None else self.end_s(operation.path, seconds("timeout", timeout))
        operation.request = question(
            self.scope,
            self.task_run.journal.owner.handler,
            operation,
            proposal,
            to,
            end_s,
            on_timeout,
            self._host.clock.unix_ns() // 1_000_000,
        )
        self.task_run.approvals[operation.request.approval.id] = operation.path
        return self._decided(operation, type(proposal))

    async def _decided(self, operation: Operation, type_: type[M]) -> Decision[M]:
        return decision_of((await self.perform(operation)).body, type_, operation.request.on_timeout)

    @property
    def state(self) -> "State":
        """What the agent keeps between messages, shared by its replicas; in a keyed handler, of its key alone."""
        from antiphon.runtime.state import State

        return State(self, self._agent.name)

    @property
    def session(self) -> "Session":
        """The conversation of this key. Raises ConfigurationError in a handler without key."""
        from antiphon.runtime.session import Session

        return Session(self, self._agent.name)

    # --- one operation ------------------------------------------------------------------------------

    def _peer(
        self,
        kind: OperationKind,
        handler: Handler[In, Out],
        message: In,
        timeout_s: float | None,
        version: str = "",
    ) -> Coroutine[Any, Any, Out]:
        operation = self.operation(kind, str(handler.address), encode(message), effect=handler.effect, request=handler)
        operation.version = version
        if timeout_s is not None:
            end_s = self.clock_s() + timeout_s if kind is OperationKind.ASK else self.end_s(operation.path, timeout_s)
            limit, deadline = int(end_s * 1000), operation.deadline_unix_ms
            operation.deadline_unix_ms = limit if deadline is None else min(limit, deadline)
        operation.restore = partial(decode, handler.output)
        return self._value(operation)

    async def cancel_children(self, tasks: Iterable[str]) -> None:
        """Stop children that nobody waits for any more. Raises BusError."""
        for task in tasks:
            await self._host.cancel(task)
            if self.task_run is not None:
                self.task_run.children.discard(task)

    async def forget_approvals(self, prefixes: tuple[str, ...]) -> None:
        """Withdraw the questions asked under these paths: nobody waits for an answer any more. Raises BusError."""
        if self.task_run is not None:
            asked = self.task_run.approvals
            cut = [id for id, path in asked.items() if path.startswith(prefixes)]
            await self._host.approvals.forget(cut)
            for id in cut:
                del asked[id]

    def _drawn(self, what: str, value: float) -> float:
        path = self._branches.next_path()
        return value if self.task_run is None else self.task_run.draw(path, what, value)

    def operation(
        self,
        kind: OperationKind,
        target: str,
        body: bytes,
        *,
        effect: Effect = Effect.WRITE,
        request: Any = None,
        path: str = "",
    ) -> Operation:
        """Number an operation; its place is fixed now, whenever it runs. ``path``: of one that belongs to another."""
        path = path or self._branches.next_path()
        scope = self.scope
        operation = Operation(
            kind=kind,
            path=path,
            target=target,
            scope=scope,
            body=body,
            effect=effect,
            request=request,
            deadline_unix_ms=scope.deadline_unix_ms,
            task_run=self.task_run,
            guards=self._agent.guards,
            key=f"{scope.task}:{path}" if scope.task else f"{scope.run}:{new_id()}",
        )
        if self._host.telemetry.enabled:
            causes = self._lineage.causes(body) if self._lineage is not None else []
            if causes is not None:
                operation.attributes[names.CAUSES] = causes
            if self._fields is not None:
                self._fields.sent(body)
        return operation

    def perform(self, operation: Operation) -> Coroutine[Any, Any, Outcome]:
        """Do an operation; a model call of an agent with verifiers until they accept it."""
        guards = operation.guards
        if guards is not None and guards.verifiers and operation.kind is OperationKind.MODEL:
            from antiphon.runtime.guards.verification import verified

            return verified(self, operation, guards)
        return self.performed(operation)

    async def performed(self, operation: Operation) -> Outcome:
        """Send an operation through the chain and remember its result for lineage."""
        operation.joint = self._branches.joint()
        outcome = await self._host.perform(operation)
        self.learn(operation, outcome.body)
        return outcome

    def learn(self, operation: Operation, body: bytes) -> None:
        """Remember, for lineage, what an operation brought into the handler."""
        span = operation.span.span_id.hex() if operation.span is not None else operation.span_id
        if span and body:
            if self._lineage is None:
                self._lineage = Lineage(self._input)
                self._fields = FieldsRead() if is_watched(self.scope.run) else None
            self._lineage.record(span, body)
            if self._fields is not None and operation.kind in _TYPED:
                # of a model's answer, what it says is the reply; vectors say nothing
                reply = json.loads(body).get("text", "").encode() if operation.kind is OperationKind.MODEL else body
                self._fields.given(span, reply)

    def evidence(self, result: bytes) -> dict[str, Any]:
        """What is known at the handler's end, for its span; ``result`` empty: it has none."""
        found: dict[str, Any] = {}
        if self._shown:
            found[names.EMIT_FIRST_NS], found[names.EMIT_COUNT] = self._shown_ns, self._shown
        if self._lineage is not None and result:
            causes = self._lineage.causes(result)
            if causes is not None:
                found[names.RESULT_CAUSES] = causes
        if self._fields is not None and result:
            self._fields.sent(result)
            read = self._fields.found()
            if read:
                found[names.FIELDS_READ] = read
        return found

    def _at_once(self) -> int:
        """How many steps of ``each`` run at a time."""
        if self._address is None or not self._host.policies.table.policies:
            return 1
        from antiphon.runtime.policies.handlers import steps_at_once

        return steps_at_once(self._host, self._address, self.scope.run)

    def _quorum(self, declared: int | None, at_least: int | None) -> int | None:
        """After how many successes a group goes on; None: when all have ended."""
        if at_least is None:
            return declared
        if at_least < 1 or (declared is not None and at_least > declared):
            limit = "1 or more" if declared is None else f"1 to {declared}, its quorum"
            raise ValueError(f"at_least is {at_least}, expected {limit}")
        if self._address is None or not self._host.policies.table.policies:
            return declared
        from antiphon.runtime.policies.handlers import successes_needed

        needed = successes_needed(self._host, self._address, self.scope.run)
        if needed is None:
            return declared
        return max(at_least, needed if declared is None else min(needed, declared))

    def _count_shown(self) -> None:
        self._shown_ns = self._shown_ns or self._host.clock.unix_ns()
        self._shown += 1

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
