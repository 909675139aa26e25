"""The end of the interceptor chain: an operation becomes messages, a model call or a function."""

import asyncio
from collections.abc import Awaitable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import msgspec
from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from antiphon.runtime.agent import Handler
from antiphon.runtime.approvals import Approvals
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.bodies import INLINE_MAX, pack, unpack
from antiphon.runtime.delivery.cancel import Canceller
from antiphon.runtime.delivery.model_call import ModelCall, run_model_call
from antiphon.runtime.delivery.outcome import await_result, read_result, value_of
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.directory import Directory
from antiphon.runtime.errors import (
    BusError,
    ConfigurationError,
    DeadlineExceeded,
    InvalidResult,
    NoResponders,
    RequestTimeout,
    from_info,
)
from antiphon.runtime.models.registry import ModelRegistry
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.telemetry.propagation import inject
from antiphon.schemas import subjects
from antiphon.schemas.approval import Approval, ApprovalState
from antiphon.schemas.envelope import BLOB, ERROR, Envelope
from antiphon.schemas.identity import derived_id, new_id
from antiphon.schemas.message import Message
from antiphon.schemas.parking import Wait, WaitKind
from antiphon.schemas.task import ErrorInfo

ASK_TIMEOUT_S = 30.0  # where neither caller nor deadline says less

_ANY: TypeAdapter[Any] = TypeAdapter(Any)


class Transport:
    """Carries out operations. One instance serves a whole process."""

    def __init__(
        self,
        bus: Bus,
        directory: Directory,
        models: ModelRegistry,
        clock: Clock,
        approvals: Approvals,
        cancel: Canceller,
        *,
        capture_content: bool,
        max_body: int,
    ) -> None:
        self._bus = bus
        self._directory = directory
        self._models = models
        self._clock = clock
        self._approvals = approvals
        self._cancel = cancel
        self._max_body = max_body
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
            OperationKind.SLEEP: self._sleep,
            OperationKind.APPROVE: self._approve,
        }

    def __call__(self, operation: Operation) -> Awaitable[Outcome]:
        """Do it. Raises whatever the kind of operation can."""
        return self._ways[operation.kind](operation)

    async def _model(self, operation: Operation) -> Outcome:
        call: ModelCall = operation.request
        instance = call.instance or await self._models.get(operation.target)
        price = self._models.price(operation.target)
        return await run_model_call(
            operation, instance, self._clock, capture_content=self._capture_content, price=price
        )

    async def _state(self, operation: Operation) -> Outcome:
        return Outcome(None, await operation.request())

    async def _ask(self, operation: Operation) -> Outcome:
        handler: Handler[Any, Any] = operation.request
        handler.check_askable()
        timeout_s = self._left_s(operation, ASK_TIMEOUT_S)
        tenant = operation.scope.tenant
        subject = subjects.ask(tenant, handler.address)
        # One from outside has its run as parent: by that a caller who gives up is known.
        parent = operation.waiter or ("" if operation.scope.agent else operation.scope.run)
        envelope = _envelope(operation, handler.input, parent=parent)
        body, headers = await self._packed(operation.body, envelope.headers(), tenant, None)
        try:
            reply = await self._bus.request(subject, body, headers, timeout_s=timeout_s)
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
        body = await unpack(self._bus, reply.body, reply.headers) if BLOB in reply.headers else reply.body
        return Outcome(decode(handler.output, body), body)

    async def _call(self, operation: Operation) -> Outcome:
        handler: Handler[Any, Any] = operation.request
        scope, run = operation.scope, operation.task_run
        if run is not None and run.key and str(handler.address) == f"{scope.agent}.{run.journal.owner.handler}":
            raise ConfigurationError(
                f"{handler.address} is keyed and calls itself: its messages run one after the other, so the call could "
                "wait for its caller's own end; use ctx.submit, or call a handler without key"
            )
        task = derived_id("child", scope.task, operation.path) if scope.task else new_id()
        result = None
        try:
            if run is not None and run.was_called(task):
                # Looked at before it counts as waiting: with a slow bus the task would be parked again and again.
                result = await read_result(self._bus, scope.tenant, task)
            else:
                await self._store_task(operation, handler, task, parent=scope.task)
            if result is None:
                waiting: AbstractAsyncContextManager[None] = nullcontext()
                if run is not None:
                    until_ms = operation.deadline_unix_ms
                    until = until_ms if until_ms != scope.deadline_unix_ms else None  # else the task's own alarm
                    waiting = run.waiting(Wait(kind=WaitKind.TASK, path=operation.path, id=task, until_unix_ms=until))
                async with waiting:
                    result = await await_result(
                        self._bus, self._clock, scope.tenant, task, deadline_unix_ms=operation.deadline_unix_ms
                    )
        except (asyncio.CancelledError, DeadlineExceeded, BusError):
            if run is None:
                await self._cancel(task)
            elif not run.leaves_children:
                run.children.add(task)
            raise
        return value_of(result, handler.output)

    async def _submit(self, operation: Operation) -> Outcome:
        handler, task = operation.request
        await self._store_task(operation, handler, task)
        return Outcome(task, msgspec.json.encode(task))

    async def _store_task(
        self, operation: Operation, handler: Handler[Any, Any], task: str, *, parent: str = ""
    ) -> None:
        if not await self._directory.serves(handler.address):
            raise await self._directory.nobody(handler.address, durable=True)
        lane = ""
        if operation.version:
            await self._directory.check_version(handler.address, operation.version)
            lane = subjects.version_lane(operation.version)
        scope = operation.scope
        envelope = _envelope(operation, handler.input, task=task, parent=parent)
        subject = subjects.task(scope.tenant, handler.address, lane)
        body, headers = await self._packed(operation.body, envelope.headers(), scope.tenant, task)
        await self._bus.streams.append(subject, body, headers, message_id=task)

    async def _sleep(self, operation: Operation) -> Outcome:
        wait: Wait = operation.request
        assert wait.until_unix_ms is not None  # a sleep ends
        run = operation.task_run
        async with nullcontext() if run is None else run.waiting(wait):
            await asyncio.sleep(max(0.0, wait.until_unix_ms / 1000 - self._clock.unix_ns() / 1e9))
        return Outcome(None, b"")

    async def _approve(self, operation: Operation) -> Outcome:
        approval: Approval = operation.request.approval
        run = operation.task_run
        assert run is not None  # the context refuses it in an ask
        approval = await self._approvals.ask(approval)
        wait = Wait(kind=WaitKind.APPROVAL, path=operation.path, id=approval.id, until_unix_ms=approval.until_unix_ms)
        if approval.state is ApprovalState.OPEN:  # an answer that is there is not waited for, or it is parked again
            async with run.waiting(wait):
                approval = await self._approvals.wait(approval.id, until_unix_ms=approval.until_unix_ms)
        if approval.state is ApprovalState.OPEN:
            approval = await self._approvals.expire(approval.id)
        return Outcome(None, encode(approval))

    async def _publish(self, operation: Operation) -> Outcome:
        message: Message = operation.request
        scope = operation.scope
        message_id = derived_id("event", scope.task, operation.path) if scope.task else new_id()
        envelope = _envelope(operation, type(message), task="")
        subject = subjects.event(scope.tenant, operation.target)
        body, headers = await self._packed(operation.body, envelope.headers(), scope.tenant, message_id)
        await self._bus.streams.append(subject, body, headers, message_id=message_id)
        return Outcome(None, b"")

    async def _function(self, operation: Operation) -> Outcome:
        value = await operation.request()
        try:
            body = _ANY.dump_json(value)
        except PydanticSerializationError as error:
            raise InvalidResult(
                f"{operation.kind} {operation.target} returned a {type(value).__name__}: JSON cannot carry it ({error})"
            ) from None
        return Outcome(value, body)

    async def _packed(
        self, body: bytes, headers: dict[str, str], tenant: str, owner: str | None
    ) -> tuple[bytes, dict[str, str]]:
        if len(body) <= INLINE_MAX:
            return body, headers
        return await pack(self._bus, body, headers, tenant, owner, max_bytes=self._max_body)

    def _left_s(self, operation: Operation, default_s: float) -> float:
        if operation.deadline_unix_ms is None:
            return default_s
        return max(0.001, operation.deadline_unix_ms / 1000 - self._clock.unix_ns() / 1e9)


def _envelope(operation: Operation, type_: type[Message], *, task: str = "", parent: str = "") -> Envelope:
    scope = operation.scope
    traceparent, tracestate = inject(operation.span) if operation.span is not None else ("", "")
    return Envelope(
        type=type_.message_name,
        version=type_.message_version,
        run=scope.run,
        task=task,
        parent=parent,
        causes=(scope.task,) if scope.task else (),
        deadline_unix_ms=operation.deadline_unix_ms,
        budget=scope.budget,
        labels=scope.labels,
        priority=scope.priority,
        traceparent=traceparent,
        tracestate=tracestate,
    )
