"""Which operations may be done a second time."""

from typing import Final

from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.policies.chain import Operation, OperationKind
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.task import Effect

_BY_EFFECT: Final = frozenset({OperationKind.TOOL, OperationKind.RUN, OperationKind.ASK})
_BY_KEY: Final = frozenset({OperationKind.TOOL, OperationKind.RUN})  # a peer is not given the key


def changes_nothing(operation: Operation) -> bool:
    """Whether two of it leave the world as one does: model calls, and what is declared pure or read."""
    if operation.kind is OperationKind.MODEL:
        return True
    return operation.kind in _BY_EFFECT and operation.effect is not Effect.WRITE


def may_be_repeated(operation: Operation) -> bool:
    """Whether it may be done again after it failed: what changes nothing, and writes that take an idempotency key.

    Not a model call that has shown some of its reply: it would be shown twice.
    """
    if operation.kind is OperationKind.MODEL:
        return not (shows(operation) and names.GENAI_FIRST_CHUNK in operation.attributes)
    return changes_nothing(operation) or (operation.kind in _BY_KEY and not operation.unkeyed)


def shows(operation: Operation) -> bool:
    """Whether a reader sees the operation's result as it comes."""
    return isinstance(operation.request, ModelCall) and operation.request.show is not None
