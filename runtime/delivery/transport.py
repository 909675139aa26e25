"""The end of the interceptor chain: an operation becomes messages, a model call or a function."""

from collections.abc import Awaitable
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from antiphon.runtime.agent import Handler
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.model_call import run_model_call
from antiphon.runtime.delivery.outcome import await_result, value_of
from antiphon.runtime.delivery.payload import decode
from antiphon.runtime.directory import Directory
from antiphon.runtime.errors import (
    ConfigurationError,
    DeadlineExceeded,
    NoResponders,
    RequestTimeout,
    from_info,
)
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.telemetry.propagation import inject
from antiphon.schemas import subjects
from antiphon.schemas.envelope import ERROR, Envelope
from antiphon.schemas.identity import derived_id, new_id
from antiphon.schemas.message import Message
from antiphon.schemas.task import ErrorInfo

ASK_TIMEOUT_S = 30.0  # where neither caller nor deadline says less

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class Transport:
    """Carries out operations. One instance serves a whole process."""

    def __init__(
        self, bus: Bus, directory: Directory, models: ModelRegistry, clock: Clock, *, capture_content: bool
    ) -> None:
        self._bus = bus
        self._directory = directory
        self._models = models
        self._clock = clock
        self._capture_content = capture_content
        self._ways: dict[OperationKind, Next] = {
            OperationKind.ASK: self._ask,
            OperationKind.CALL: self._call,
            OperationKind.SUBMIT: self._submit,
            OperationKind.PUBLISH: self._publish,
            OperationKind.MODEL: self._model,
            OperationKind.TOOL: self._function,
            OperationKind.RUN: self._function,
            OperationKind.STATE: self._state,
        }

    def __call__(self, operation: Operation) -> Awaitable[Outcome]:
        """Do it. Raises whatever the kind of operation can."""
        return self._ways[operation.kind](operation)

    async def _model(self, operation: Operation) -> Outcome:
        instance = await self._models.get(operation.target)
        return await run_model_call(operation, instance, self._clock, capture_content=self._capture_content)

    async def _state(self, operation: Operation) -> Outcome:
        return Outcome(None, await operation.request())

    async def _ask(self, operation: Operation) -> Outcome:
        handler: Handler[Any, Any] = operation.request
        timeout_s = self._left_s(operation, ASK_TIMEOUT_S)
        subject = subjects.ask(operation.scope.tenant, handler.address)
        try:
            reply = await self._bus.request(
                subject, operation.body, _envelope(operation, handler.input).headers(), timeout_s=timeout_s
            )
        except NoResponders:
            raise await self._directory.nobody(handler.address, durable=False) from None
        except RequestTimeout:
            if operation.deadline_unix_ms is None:
                raise
            raise DeadlineExceeded(
                f"{handler.address} did not answer within {timeout_s:.3g} s; allow more time"
            ) from None
        if ERROR in reply.headers:
            raise from_info(ErrorInfo.model_validate_json(reply.body))
        return Outcome(decode(handler.output, reply.body), reply.body)

    async def _call(self, operation: Operation) -> Outcome:
        handler: Handler[Any, Any] = operation.request
        scope = operation.scope
        task = derived_id("child", scope.task, operation.path) if scope.task else new_id()
        await self._store_task(operation, handler, task)
        result = await await_result(
            self._bus, self._clock, scope.tenant, task, deadline_unix_ms=operation.deadline_unix_ms
        )
        return value_of(result, handler.output)

    async def _submit(self, operation: Operation) -> Outcome:
        handler, task = operation.request
        await self._store_task(operation, handler, task)
        return Outcome(task, b"")

    async def _store_task(self, operation: Operation, handler: Handler[Any, Any], task: str) -> None:
        if not await self._directory.serves(handler.address):
            raise await self._directory.nobody(handler.address, durable=True)
        envelope = _envelope(operation, handler.input, task=task)
        subject = subjects.task(operation.scope.tenant, handler.address)
        await self._bus.streams.append(subject, operation.body, envelope.headers(), message_id=task)

    async def _publish(self, operation: Operation) -> Outcome:
        message: Message = operation.request
        scope = operation.scope
        message_id = derived_id("event", scope.task, operation.path) if scope.task else new_id()
        envelope = _envelope(operation, type(message), task="")
        subject = subjects.event(scope.tenant, operation.target)
        await self._bus.streams.append(subject, operation.body, envelope.headers(), message_id=message_id)
        return Outcome(None, b"")

    async def _function(self, operation: Operation) -> Outcome:
        value = await operation.request()
        try:
            body = _ANY.dump_json(value)
        except PydanticSerializationError as error:
            raise ConfigurationError(
                f"{operation.kind} {operation.target} returned a {type(value).__name__}: JSON cannot carry it ({error})"
            ) from None
        return Outcome(value, body)

    def _left_s(self, operation: Operation, default_s: float) -> float:
        if operation.deadline_unix_ms is None:
            return default_s
        return max(0.001, operation.deadline_unix_ms / 1000 - self._clock.unix_ns() / 1e9)


def _envelope(operation: Operation, type_: type[Message], *, task: str = "") -> Envelope:
    scope = operation.scope
    traceparent, tracestate = inject(operation.span) if operation.span is not None else ("", "")
    return Envelope(
        type=type_.message_name,
        version=type_.message_version,
        run=scope.run,
        task=task,
        causes=(scope.task,) if scope.task else (),
        deadline_unix_ms=operation.deadline_unix_ms,
        budget=scope.budget,
        labels=scope.labels,
        priority=scope.priority,
        traceparent=traceparent,
        tracestate=tracestate,
    )
