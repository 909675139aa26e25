"""One span for every operation, with the facts that detectors need."""

from collections.abc import Awaitable
from typing import Final

from antiphon.runtime.errors import error_type
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.telemetry.setup import Telemetry
from antiphon.schemas import subjects
from antiphon.schemas.identity import Address

_SENDS: Final = {
    OperationKind.ASK: (subjects.Kind.ASK, "request"),
    OperationKind.CALL: (subjects.Kind.TASK, "publish"),
    OperationKind.SUBMIT: (subjects.Kind.TASK, "publish"),
    OperationKind.PUBLISH: (subjects.Kind.EVENT, "publish"),
}
_NAMES: Final = {kind: names.publish_name(subjects.template(subject)) for kind, (subject, _) in _SENDS.items()}
# Code of other people may run inside these, and its spans belong below ours.
_CURRENT: Final = frozenset({OperationKind.MODEL, OperationKind.TOOL, OperationKind.RUN})


class TraceInterceptor:
    """Writes the caller's span; its context travels in the headers of whatever the operation sends."""

    def __init__(self, telemetry: Telemetry, content_hash: ContentHash, node: str) -> None:
        self._telemetry = telemetry
        self._hash = content_hash
        self._node = node

    def __call__(self, operation: Operation, next: Next) -> Awaitable[Outcome]:
        """Pass the operation on inside its span."""
        if self._telemetry.enabled:
            return self._traced(operation, next)
        tracer = self._telemetry.tracer
        parent = tracer.current()
        if parent is not None:
            operation.span = tracer.begin("", 0, parent, {})
        return next(operation)

    async def _traced(self, operation: Operation, next: Next) -> Outcome:
        tracer = self._telemetry.tracer
        attributes = operation.attributes
        name, kind = self._describe(operation)
        span = operation.span = tracer.begin(name, kind, tracer.current(), attributes)
        token = span.attach() if operation.kind in _CURRENT else None
        try:
            outcome = await next(operation)
        except BaseException as error:
            attributes[names.ERROR_TYPE] = error_type(error)
            span.finish(status=2, message=str(error))
            raise
        finally:
            if token is not None:
                span.detach(token)
        if outcome.body:
            attributes[names.RESULT_HASH] = self._hash(outcome.body)
        span.finish()
        return outcome

    def _describe(self, operation: Operation) -> tuple[str, int]:
        scope, kind, attributes = operation.scope, operation.kind, operation.attributes
        attributes[names.OPERATION] = kind.value
        attributes[names.PATH] = operation.path
        attributes[names.NODE] = self._node
        attributes[names.RUN] = scope.run
        attributes[names.INPUT_HASH] = self._hash(operation.body)
        attributes[names.EFFECT] = operation.effect.value
        if scope.agent:
            attributes[names.AGENT] = scope.agent
        if scope.task:
            attributes[names.TASK] = scope.task
        if scope.tenant != "default":
            attributes[names.TENANT] = scope.tenant
        if scope.observes:
            attributes[names.OBS] = True
        if kind in _SENDS:
            subject, verb = _SENDS[kind]
            attributes[names.MESSAGING_SYSTEM] = names.NATS
            attributes[names.MESSAGING_OPERATION_TYPE] = "send"
            attributes[names.MESSAGING_OPERATION_NAME] = verb
            attributes[names.MESSAGING_DESTINATION] = _destination(subject, operation)
            attributes[names.MESSAGING_BODY_SIZE] = len(operation.body)
            return _NAMES[kind], names.PRODUCER
        if kind is OperationKind.MODEL:
            return names.model_name("chat", operation.target), names.CLIENT
        if kind is OperationKind.TOOL:
            return names.tool_name(operation.target), names.INTERNAL
        if kind is OperationKind.STATE:
            return names.state_name(operation.target), names.INTERNAL
        return names.run_name(operation.target), names.INTERNAL


def _destination(subject: subjects.Kind, operation: Operation) -> str:
    tenant = operation.scope.tenant
    if subject is subjects.Kind.EVENT:
        return subjects.event(tenant, operation.target)
    address = Address.parse(operation.target)
    return subjects.ask(tenant, address) if subject is subjects.Kind.ASK else subjects.task(tenant, address)
