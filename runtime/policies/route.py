"""Another model answers."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import structlog

from antiphon.runtime.delivery.model_call import ModelCall, answer_bytes
from antiphon.runtime.errors import AntiphonError, error_type
from antiphon.runtime.policies.aside import Aside
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.telemetry.setup import Telemetry
from antiphon.schemas.inference import Reply
from antiphon.schemas.policy import Policy, Route
from antiphon.schemas.telemetry import SpanLink

_SAID: Final = 256  # unknown models that were told of

log = structlog.get_logger()


class Router:
    """Sends model calls elsewhere; conversation, tools, output schema and sampling stay as they are.

    The span keeps the model that was asked for as GENAI_REQUEST_MODEL; who answered is in GENAI_RESPONSE_MODEL.
    ``known`` says whether a process can reach a model: one it cannot is never routed to.
    """

    def __init__(self, known: Callable[[str], bool], telemetry: Telemetry, aside: Aside) -> None:
        self._known = known
        self._telemetry = telemetry
        self._aside = aside
        self._said: set[tuple[str, str]] = set()

    async def __call__(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Remedy."""
        model = self._model(policy)
        if model is None:
            return await next(operation)
        try:
            return await next(_routed(operation, model))
        finally:
            operation.attributes[names.GENAI_REQUEST_MODEL] = operation.target

    async def shadow(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Shadowed: the other model is asked when the served reply is there, as far as there is room beside."""
        model = self._model(policy)
        outcome = await next(operation)
        if model is not None:
            other = _beside(_routed(operation, model))
            self._aside.start(lambda: self._compare(operation, other, policy, outcome, next))
        return outcome

    async def _compare(
        self, operation: Operation, other: Operation, policy: Policy, served: Outcome, next: Next
    ) -> None:
        """On a span of its own, a root: what is tried must not count as part of the run."""
        link = (
            []
            if operation.span is None
            else [SpanLink(trace_id=operation.span.trace_id, span_id=operation.span.span_id)]
        )
        span = self._telemetry.tracer.begin(f"shadow {policy.id}", names.INTERNAL, None, other.attributes, links=link)
        token = span.attach()
        try:
            outcome = await next(other)
        except AntiphonError as error:  # the other model's failure is a difference too
            other.attributes[names.SHADOW_EQUAL] = False
            other.attributes[names.ERROR_TYPE] = error_type(error)
        else:
            other.attributes[names.SHADOW_EQUAL] = _answer(outcome) == _answer(served)
        finally:
            span.detach(token)
            span.finish()

    def _model(self, policy: Policy) -> str | None:
        action = policy.proposal.action
        assert isinstance(action, Route)
        if self._known(action.model):
            return action.model
        if (policy.id, action.model) not in self._said and len(self._said) < _SAID:
            self._said.add((policy.id, action.model))
            log.warning("policy_model_unknown", policy=policy.id, model=action.model)
        return None


def _routed(operation: Operation, model: str) -> Operation:
    call: ModelCall = operation.request
    request = call.request.model_copy(update={"model": model})
    return replace(operation, target=model, request=replace(call, request=request, instance=None))


def _beside(operation: Operation) -> Operation:
    """A model call that is nobody's: shown to no reader, paid from no run's budget, and in no task's journal."""
    kept = (names.POLICY_ARM, names.FINDING_ID, names.RUN, names.AGENT, names.TENANT, names.NODE, names.PATH)
    attributes = {name: operation.attributes[name] for name in kept if name in operation.attributes}
    return replace(
        operation,
        path=f"{operation.path}~shadow",
        scope=operation.scope._replace(budget={}),
        request=replace(operation.request, show=None),
        attributes=attributes,
        span=None,
        task_run=None,
    )


def _answer(outcome: Outcome) -> bytes:
    return answer_bytes(outcome.value) if isinstance(outcome.value, Reply) else outcome.body
