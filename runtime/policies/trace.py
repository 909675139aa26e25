"""One span for every operation, with the facts that detectors need."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

from antiphon.runtime.errors import error_type
from antiphon.runtime.fields import field_sizes
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.telemetry.hashing import ContentHash
from antiphon.runtime.telemetry.setup import Telemetry
from antiphon.schemas import subjects
from antiphon.schemas.identity import Address
from antiphon.schemas.task import Effect

_SENDS: Final = {
    OperationKind.ASK: (subjects.Kind.ASK, "request"),
    OperationKind.CALL: (subjects.Kind.TASK, "publish"),
    OperationKind.SUBMIT: (subjects.Kind.TASK, "publish"),
    OperationKind.PUBLISH: (subjects.Kind.EVENT, "publish"),
}
_NAMES: Final = {kind: names.publish_name(subjects.template(subject)) for kind, (subject, _) in _SENDS.items()}
# Code of other people may run inside these, and its spans belong below ours.
_CURRENT: Final = frozenset({OperationKind.MODEL, OperationKind.TOOL, OperationKind.RUN})

KNOWN = 4096  # targets whose constant attributes are remembered: building them was two thirds of a caller's span


class TraceInterceptor:
    """Writes the caller's span; its context travels in the headers of whatever the operation sends."""

    def __init__(self, telemetry: Telemetry, content_hash: ContentHash, node: str) -> None:
        self._telemetry = telemetry
        self._hash = content_hash
        self._node = node
        self._known: dict[tuple[OperationKind, str, str, Effect, str], tuple[str, int, dict[str, str]]] = {}

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
        run, goes_on = operation.task_run, None
        if run is not None:
            goes_on = run.spans.left(operation.path)
        span = operation.span = tracer.begin(name, kind, tracer.current(), attributes, goes_on=goes_on)
        if operation.deadline_unix_ms is not None:
            self._allow(attributes, operation.deadline_unix_ms, span.start_ns)
        if run is not None:
            run.spans.open(operation.path, span, name, kind)
        token = span.attach() if operation.kind in _CURRENT else None
        try:
            outcome = await next(operation)
        except BaseException as error:
            if run is None or not run.is_parked:  # else the span goes on when the task does
                attributes[names.ERROR_TYPE] = error_type(error)
                if operation.joint is not None and isinstance(error, asyncio.CancelledError):
                    attributes[names.RESULT_CONSUMED] = False
                span.finish(status=2, message=str(error))
            raise
        finally:
            if token is not None:
                span.detach(token)
            if run is not None and not run.is_parked:
                run.spans.close(operation.path)
        if operation.joint is not None and operation.joint.left:
            attributes[names.RESULT_CONSUMED] = False
        if outcome.body and kind != names.PRODUCER:  # a peer's process span has what is known of its result
            attributes[names.RESULT_HASH] = self._hash(outcome.body)
            attributes[names.RESULT_SIZE] = len(outcome.body)
            sizes = field_sizes(outcome.body) if operation.kind is not OperationKind.MODEL else []
            if sizes:
                attributes[names.RESULT_FIELDS] = sizes
        span.finish()
        return outcome

    @staticmethod
    def _allow(attributes: dict[str, Any], deadline_unix_ms: int, start_ns: int) -> None:
        """Note what the caller allowed: the deadline, or a timeout of the operation's own that is nearer."""
        left_s = (deadline_unix_ms - start_ns // 1_000_000) / 1000
        own_s = attributes.get(names.TIMEOUT_S, left_s)
        attributes[names.TIMEOUT_S] = own_s if own_s < left_s else left_s if left_s > 0 else 0.0

    def _describe(self, operation: Operation) -> tuple[str, int]:
        """Fill in the operation's attributes; its span's name and kind."""
        scope, attributes = operation.scope, operation.attributes
        verb = operation.attributes.get(names.GENAI_OPERATION, "")
        key = (operation.kind, operation.target, scope.tenant, operation.effect, verb)
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= KNOWN:
                self._known.clear()
            known = self._known[key] = self._constants(operation)
        name, kind, constants = known
        attributes.update(constants)
        attributes[names.PATH] = operation.path
        attributes[names.RUN] = scope.run
        attributes[names.INPUT_HASH] = self._hash(operation.body)
        if kind == names.PRODUCER:
            attributes[names.MESSAGING_BODY_SIZE] = len(operation.body)
        if operation.joint is not None:
            attributes[names.GROUP], attributes[names.GROUP_NEEDED] = operation.joint.path, operation.joint.needed
            if operation.joint.at_least is not None:
                attributes[names.GROUP_AT_LEAST] = operation.joint.at_least
            if operation.joint.width is not None:
                attributes[names.GROUP_WIDTH] = operation.joint.width
        if scope.agent:
            attributes[names.AGENT] = scope.agent
        elif scope.labels:
            attributes |= {f"{names.LABEL}{name}": value for name, value in scope.labels.items()}
        if scope.task:
            attributes[names.TASK] = scope.task
        if scope.observes:
            attributes[names.OBS] = True
        return name, kind

    def _constants(self, operation: Operation) -> tuple[str, int, dict[str, str]]:
        """Span name, kind and the attributes that are the same for every operation of this kind and target."""
        kind, target, tenant = operation.kind, operation.target, operation.scope.tenant
        constants = {names.OPERATION: kind.value, names.EFFECT: operation.effect.value, names.NODE: self._node}
        if tenant != "default":
            constants[names.TENANT] = tenant
        if kind in _SENDS:
            subject, verb = _SENDS[kind]
            constants[names.MESSAGING_SYSTEM] = names.NATS
            constants[names.MESSAGING_OPERATION_TYPE] = "send"
            constants[names.MESSAGING_OPERATION_NAME] = verb
            constants[names.MESSAGING_DESTINATION] = _destination(subject, operation)
            return _NAMES[kind], names.PRODUCER, constants
        if kind is OperationKind.MODEL:
            verb = operation.attributes.get(names.GENAI_OPERATION, "chat")
            return names.model_name(verb, target), names.CLIENT, constants
        if kind is OperationKind.TOOL:
            return names.tool_name(target), names.INTERNAL, constants
        if kind is OperationKind.STATE:
            return names.state_name(target), names.INTERNAL, constants
        return names.run_name(target), names.INTERNAL, constants


def _destination(subject: subjects.Kind, operation: Operation) -> str:
    tenant = operation.scope.tenant
    if subject is subjects.Kind.EVENT:
        return subjects.event(tenant, operation.target)
    address = Address.parse(operation.target)
    return subjects.ask(tenant, address) if subject is subjects.Kind.ASK else subjects.task(tenant, address)
