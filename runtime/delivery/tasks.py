"""Durable work of one agent: every task ends in exactly one outcome, stored before the message is acked."""

import random
from functools import partial

import msgspec
import structlog

from antiphon.runtime.agent import Agent, Handler
from antiphon.runtime.bus.base import ConsumerSpec, Lease
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.delivery.dead_letter import bury
from antiphon.runtime.delivery.execute import Executor, Job, Target
from antiphon.runtime.delivery.outcome import read_result, store_result
from antiphon.runtime.delivery.retry import delay_s
from antiphon.runtime.delivery.slots import Slots
from antiphon.runtime.delivery.streaming import Emitter
from antiphon.runtime.errors import (
    AntiphonError,
    DeadlineExceeded,
    InvalidMessage,
    MessageError,
    MessageTooLarge,
    NodeStopping,
    TaskCancelled,
    UnknownHandler,
    to_info,
)
from antiphon.runtime.host import Host
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope, EnvelopeError
from antiphon.schemas.identity import Address, InvalidName, check_task, derived_id
from antiphon.schemas.message import Message
from antiphon.schemas.task import ErrorInfo, TaskResult, TaskState

log = structlog.get_logger()

_UNDELIVERABLE = (MessageError, UnknownHandler, DeadlineExceeded)  # the message is at fault, or too late


def consumer_spec(host: Host, agent: Agent) -> ConsumerSpec:
    """The durable that all replicas of the agent share."""
    return ConsumerSpec(
        stream=TASKS.name,
        name=f"{host.tenant}_{agent.name}",
        subjects=(subjects.tasks_of(host.tenant, agent.name),),
        ack_wait_s=agent.lease_s,
        max_in_flight=100_000,
    )


class TaskProcessor:
    """Turns one leased message into one outcome."""

    def __init__(self, host: Host, agent: Agent, slots: Slots, executor: Executor, rng: random.Random) -> None:
        self._host = host
        self._agent = agent
        self._slots = slots
        self._executor = executor
        self._rng = rng
        self._targets: dict[str, Target] = {}

    async def __call__(self, lease: Lease) -> None:
        """Run it. The order dead letter, result, ack makes every step safe to repeat. Raises BusError."""
        host, message = self._host, lease.message
        started_ms = host.clock.unix_ns() // 1_000_000
        # A bare body has no id: this one is the same on every redelivery.
        task = derived_id(TASKS.name, str(message.sequence))
        envelope = Envelope()
        address = subjects.parse_task(message.subject)
        value: bytes | None = None
        error: Exception | None = None
        emitter: Emitter | None = None
        try:
            envelope, task = _read(lease, task)
            if await read_result(host.bus, host.tenant, task) is not None:
                await lease.ack()  # finished by another worker, or cancelled before it started
                return
            handler = self._handler(address, lease.deliveries)
            emitter = Emitter(host.bus, host.tenant, task, envelope.run or task, lease.deliveries)
            value = await self._executor.run(self._job(lease, handler, envelope, task), emitter)
        except Exception as failure:
            error = failure
            if not isinstance(failure, AntiphonError):
                log.exception("handler_failed", task=task, handler=str(address), attempt=lease.deliveries)
        state = self._state(error, attempt=lease.deliveries)
        if state is None:
            assert error is not None
            wait_s = 0.0 if isinstance(error, NodeStopping) else delay_s(lease.deliveries, self._rng)
            log.info("task_will_retry", task=task, attempt=lease.deliveries, wait_s=round(wait_s, 3), error=str(error))
            await lease.nak(wait_s)
            return
        info = None if error is None else to_info(error)
        if info is not None and (state is TaskState.DEAD or isinstance(error, _UNDELIVERABLE)):
            await self._bury(lease, info, task)
        result = TaskResult(
            task=task,
            run=envelope.run or task,
            agent=address.agent,
            handler=address.handler,
            state=state,
            value=None if value is None else msgspec.json.decode(value),
            error=info,
            attempts=self._attempts(lease),
            trace_id=envelope.traceparent[3:35],
            started_unix_ms=started_ms,
            finished_unix_ms=host.clock.unix_ns() // 1_000_000,
        )
        if emitter is not None:
            await emitter.end(state)  # before the record: a reader who has that may stop listening
        try:
            await store_result(host.bus, host.tenant, result)
        except MessageTooLarge as too_large:  # the reply: another attempt would not make it smaller
            failed = {"state": TaskState.FAILED, "value": None, "error": too_large.info()}
            await store_result(host.bus, host.tenant, result.model_copy(update=failed))
        await lease.ack()

    def _handler(self, address: Address, deliveries: int) -> Handler[Message, Message]:
        handler = self._agent.handlers.get(address.handler)
        if handler is None:
            known = ", ".join(sorted(self._agent.handlers)) or "none"
            raise UnknownHandler(f"agent {address.agent!r} has no handler {address.handler!r} (it has: {known})")
        if deliveries > self._agent.max_attempts:
            raise NodeStopping(f"its worker died in each of {self._agent.max_attempts} attempts")
        return handler

    def _state(self, error: Exception | None, *, attempt: int) -> TaskState | None:
        """How the task ends; None: another attempt.

        succeeded: no error. cancelled: somebody stopped it or its deadline passed. failed: an error that
        another attempt would not mend. dead: a retryable error on the last attempt.
        """
        if error is None:
            return TaskState.SUCCEEDED
        if isinstance(error, TaskCancelled | DeadlineExceeded):
            return TaskState.CANCELLED
        if not to_info(error).retryable:
            return TaskState.FAILED
        return TaskState.DEAD if attempt >= self._agent.max_attempts else None

    def _job(self, lease: Lease, handler: Handler[Message, Message], envelope: Envelope, task: str) -> Job:
        assert handler.function is not None  # handlers of a hosted agent always have one
        message, address = lease.message, handler.address
        target = self._targets.get(address.handler)
        if target is None:
            target = self._targets[address.handler] = self._executor.target(
                subjects.Kind.TASK, address, handler.input, handler.output, handler.function
            )
        return Job(
            target,
            message.subject,
            envelope,
            message.body,
            task,
            lease.deliveries,
            message.unix_ms * 1_000_000,
            self._slots.waiting + lease.behind,
            partial(self._state, attempt=lease.deliveries),
        )

    def _attempts(self, lease: Lease) -> int:
        """How often a handler began: the last delivery of a task that kills its workers begins none."""
        return min(lease.deliveries, self._agent.max_attempts)

    async def _bury(self, lease: Lease, info: ErrorInfo, task: str) -> None:
        await bury(
            self._host.bus,
            self._host.clock,
            self._host.tenant,
            self._agent.name,
            lease.message,
            reason=info,
            attempts=self._attempts(lease),
            task=task,
        )


def _read(lease: Lease, default_task: str) -> tuple[Envelope, str]:
    try:
        envelope = Envelope.from_headers(lease.message.headers)
        return envelope, check_task(envelope.task) if envelope.task else default_task
    except (EnvelopeError, InvalidName) as error:
        raise InvalidMessage(str(error)) from None
