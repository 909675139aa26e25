"""One run of one handler: decode, span, context, the function itself, encode."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from antiphon.runtime.agent import Agent
from antiphon.runtime.context import Context
from antiphon.runtime.delivery.open_spans import HANDLER, end_parked
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.delivery.running import Running
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.delivery.streaming import Emitter
from antiphon.runtime.delivery.task_run import TaskRun
from antiphon.runtime.errors import (
    BusUnavailable,
    ConfigurationError,
    DeadlineExceeded,
    Diverged,
    HandlerFailed,
    InDoubt,
    InvalidMessage,
    LeaseLost,
    NodeStopping,
    TaskParked,
    error_type,
)
from antiphon.runtime.fields import field_sizes
from antiphon.runtime.guards.messages import guarded
from antiphon.runtime.host import Host
from antiphon.runtime.policies.chain import Scope
from antiphon.runtime.policies.limits import check_budget, deadline_of
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.telemetry.propagation import parse
from antiphon.schemas import subjects
from antiphon.schemas.envelope import BUDGET, Envelope
from antiphon.schemas.identity import Address, new_id
from antiphon.schemas.message import Message
from antiphon.schemas.parking import ParkedTask
from antiphon.schemas.task import TaskState
from antiphon.schemas.telemetry import SpanLink


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A function of the agent, made once: all that is the same for every message it handles.

    ``output`` None: an event handler. ``attributes`` are those of its process spans that never change.
    """

    address: Address
    input: type[Message]
    output: type[Message] | None
    function: Callable[[Any, Context], Awaitable[Any]]
    span_name: str
    attributes: Mapping[str, Any]


class Job(NamedTuple):
    """A message that a slot has taken, and where it should go."""

    target: Target
    subject: str
    envelope: Envelope
    body: bytes
    task: str
    attempt: int
    enter_ns: int  # unix ns: when the message began to wait
    depth: int  # how many still waited when a slot took it
    ends: Callable[[Exception | None], TaskState | None] | None = None  # the terminal state, for durable work
    task_run: TaskRun | None = None  # None: not durable


class Executor:
    """Runs jobs of one agent on this node."""

    def __init__(self, host: Host, agent: Agent, slots: Slots, running: Running) -> None:
        self._host = host
        self._agent = agent
        self._slots = slots
        self._running = running

    def target(
        self,
        kind: subjects.Kind,
        address: Address,
        input: type[Message],
        output: type[Message] | None,
        function: Callable[[Any, Context], Awaitable[Any]],
    ) -> Target:
        """A function to run jobs with."""
        host = self._host
        attributes: dict[str, Any] = {
            names.MESSAGING_SYSTEM: names.NATS,
            names.MESSAGING_OPERATION_TYPE: "process",
            names.NODE: host.node,
            names.AGENT: address.agent,
            names.HANDLER: address.handler,
            names.POOL_ID: f"agent:{address.agent}@{host.node}",
        }
        if host.tenant != "default":
            attributes[names.TENANT] = host.tenant
        if self._agent.observes:
            attributes[names.OBS] = True
        return Target(
            address=address,
            input=input,
            output=output,
            function=guarded(function, self._agent.guards, address),
            span_name=names.process_name(subjects.template(kind)),
            attributes=attributes,
        )

    def expect(self, task: str, parent: str) -> None:
        """The task is on its way to its handler; from here on signals that it or its parent has ended are kept."""
        self._running.expect(task, parent)

    def abandon(self, parked: ParkedTask, envelope: Envelope, state: TaskState) -> None:
        """A parked task has ended without its handler: end its spans."""
        attributes: dict[str, Any] = {
            names.NODE: self._host.node,
            names.RUN: parked.run,
            names.TASK: parked.task,
            names.AGENT: parked.agent,
            names.HANDLER: parked.handler,
        }
        if self._host.tenant != "default":
            attributes[names.TENANT] = self._host.tenant
        if self._agent.observes:
            attributes[names.OBS] = True
        parent = parse(envelope.traceparent, envelope.tracestate)
        now_ns = self._host.clock.unix_ns()
        end_parked(self._host.telemetry.tracer, parked, parent, attributes, state, now_ns)

    async def run(self, job: Job, emitter: Emitter | None = None) -> bytes:
        """The reply's bytes (empty for an event).

        Raises:
            MessageError: the body is not what the handler takes.
            DeadlineExceeded, TaskCancelled: the node stopped it for that reason.
            HandlerFailed: it returned something else than it declares.
            Exception: whatever the handler raised.
        """
        envelope = job.envelope
        deadline = envelope.deadline_unix_ms
        if envelope.budget:
            try:
                check_budget(envelope.budget)
            except ConfigurationError as error:
                raise InvalidMessage(f"header {BUDGET}: {error.message}") from None
            if deadline is None:  # a bare message's: whoever submits with a client sets both
                deadline = deadline_of(envelope.budget, job.enter_ns // 1_000_000)
        scope = Scope(
            self._host.tenant,
            envelope.run or job.task or new_id(),
            self._agent.name,
            job.task,
            job.attempt,
            deadline,
            envelope.priority,
            envelope.labels,
            envelope.budget,
            self._agent.observes,
        )
        telemetry = self._host.telemetry
        parent = parse(envelope.traceparent, envelope.tracestate) if envelope.traceparent else None
        if parent is None and not telemetry.enabled:
            return await self._run(job, scope, emitter, {})
        attributes = self._attributes(job, scope) if telemetry.enabled else {}
        links = [SpanLink(trace_id=parent.trace_id, span_id=parent.span_id)] if parent is not None else None
        spans = job.task_run.spans if job.task_run is not None else None
        goes_on = spans.left(HANDLER) if spans is not None else None
        if spans is not None and goes_on is not None:
            attributes |= spans.facts(goes_on, self._host.clock.unix_ns())
        span = telemetry.tracer.begin(
            job.target.span_name,
            names.CONSUMER,
            parent,
            attributes,
            links=links,
            announce=True,
            start_ns=attributes.get(names.QUEUE_DEQUEUE_NS),
            goes_on=goes_on,
        )
        if spans is not None:
            spans.open(HANDLER, span, job.target.span_name, names.CONSUMER)
        token = span.attach()
        ended: Exception | None = None
        try:
            body = await self._run(job, scope, emitter, attributes)
        except BaseException as error:
            ended = error if isinstance(error, Exception) else NodeStopping("cancelled")
            if not isinstance(error, TaskParked):
                attributes[names.ERROR_TYPE] = error_type(error)
                span.failed(error)
            raise
        finally:
            span.detach(token)
            if not isinstance(ended, TaskParked):  # else the span goes on when the task does
                state = job.ends(ended) if job.ends is not None else None
                if state is not None:
                    attributes[names.RESULT_STATE] = state.value
                if spans is not None:
                    spans.end(telemetry.tracer, span, _of_operations(attributes))
                span.finish()
        return body

    async def _run(self, job: Job, scope: Scope, emitter: Emitter | None, attributes: dict[str, Any]) -> bytes:
        target = job.target
        task_run = job.task_run
        run = self._running.enter(job.task, job.envelope.parent, scope.deadline_unix_ms)
        if task_run is not None:
            task_run.begin(run)
        try:
            self._check_time(scope.deadline_unix_ms)
            message = decode(target.input, job.body, job.envelope)
            ctx = Context(
                self._host,
                self._agent,
                scope,
                input=job.body,
                emitter=emitter,
                task_run=task_run,
                address=target.address,
            )
            reply = await target.function(message, ctx)
            if task_run is not None:
                task_run.check_complete()
        except asyncio.CancelledError:
            if run.reason is None:
                raise
            while run.asyncio_task.uncancel():  # a handler that swallowed some was cancelled again
                continue
            raise run.reason from None
        finally:
            self._running.leave(run)
            if task_run is not None:
                task_run.end()
        if isinstance(run.reason, LeaseLost | BusUnavailable | InDoubt | Diverged):
            raise run.reason  # the handler swallowed it, but its task is no longer its own to finish
        traced = self._host.telemetry.enabled
        if target.output is None:
            if traced:
                attributes.update(ctx.evidence(b""))
            return b""
        if not isinstance(reply, target.output):
            raise HandlerFailed(
                f"{target.address} returned {type(reply).__name__}, expected {target.output.__name__} as it declares",
                type="TypeError",
            )
        body = encode(reply)
        if traced:
            attributes[names.RESULT_HASH] = self._host.content_hash(body)
            attributes[names.RESULT_SIZE] = len(body)
            sizes = field_sizes(body)
            if sizes:
                attributes[names.RESULT_FIELDS] = sizes
            attributes.update(ctx.evidence(body))
        return body

    def _check_time(self, deadline_unix_ms: int | None) -> None:
        if deadline_unix_ms is not None:
            late_ms = self._host.clock.unix_ns() // 1_000_000 - deadline_unix_ms
            if late_ms >= 0:
                raise DeadlineExceeded(f"the deadline passed {late_ms} ms before a slot was free; allow more time")

    def _attributes(self, job: Job, scope: Scope) -> dict[str, Any]:
        found = {
            **job.target.attributes,
            names.MESSAGING_DESTINATION: job.subject,
            names.MESSAGING_BODY_SIZE: len(job.body),
            names.RUN: scope.run,
            names.ATTEMPT: job.attempt,
            names.QUEUE_ENTER_NS: job.enter_ns,
            names.QUEUE_DEQUEUE_NS: self._host.clock.unix_ns(),
            names.QUEUE_DEPTH: job.depth,
            names.POOL_CAPACITY: self._slots.capacity,
            names.POOL_ACTIVE: self._slots.active,
        }
        if not job.envelope.traceparent:  # else the sender's span has it
            found[names.INPUT_HASH] = self._host.content_hash(job.body)
        if job.task:
            found[names.TASK] = job.task
        if job.envelope.causes:
            found[names.CAUSES] = list(job.envelope.causes)
        return found


def _of_operations(handler: Mapping[str, Any]) -> dict[str, Any]:
    """What a handler's operations have in common with it."""
    keys = (names.NODE, names.TENANT, names.AGENT, names.RUN, names.TASK, names.OBS)
    return {key: handler[key] for key in keys if key in handler}
