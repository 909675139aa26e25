"""The order in which model calls are served."""

from dataclasses import replace

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.model_call import ModelCall
from antiphon.runtime.engine.programs import Programs
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.policies.levels import level
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.inference import GenerateRequest
from antiphon.schemas.policy import Policy, Priority


class Prioritiser:
    """Gives model calls a number, higher first: the policy's, or one by what their runs have had of models so far.

    The second is least attained service first in levels that double (``levels``), for servers that know numbers and
    not runs; an engine of ours orders runs of one number by the same rule. Service is
    what this process saw; waiting in a server's queue, where the server tells of it, is none.
    Batch work, below 0, stays below.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._programs = Programs()

    async def __call__(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Remedy."""
        action = policy.proposal.action
        assert isinstance(action, Priority)
        request = operation.request.request
        if not isinstance(request, GenerateRequest):
            return await next(operation)
        if action.order != "least_attained":
            return await next(_with_number(operation, action.order))
        if request.priority < 0:
            return await next(operation)
        run, began_s = operation.scope.run, self._clock.monotonic_s()
        program = self._programs.begin(run, operation.scope.agent, began_s)
        try:
            return await next(_with_number(operation, level(program.attained_s, began_s - program.first_s)))
        finally:
            ended_s = self._clock.monotonic_s()
            waited_s = operation.attributes.get(names.MODEL_QUEUE_S, 0.0)
            program.attained_s += max(0.0, ended_s - began_s - waited_s)
            self._programs.end(run, ended_s)


def _with_number(operation: Operation, number: int) -> Operation:
    call: ModelCall = operation.request
    return replace(operation, request=replace(call, request=call.request.model_copy(update={"priority": number})))
