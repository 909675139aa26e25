"""Operations wait as long as a policy says, whatever their code says."""

import asyncio

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.policy import Policy, Timeout


class TimeoutSetter:
    """Sets an operation's end, within the run's deadline: what is asked for learns of it, as of a deadline.

    The time that the code allows gives way, shorter or longer, where a peer is asked. Elsewhere it stays where it is
    shorter: a tool's own timeout is the tool's, and a durable task that wakes up again has only the end in its journal.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Remedy.

        Raises:
            DeadlineExceeded: the time is up.
        """
        action = policy.proposal.action
        assert isinstance(action, Timeout)
        if operation.kind in (OperationKind.ASK, OperationKind.CALL):
            self._limit(operation, action.timeout_s)
            return await next(operation)  # the transport waits no longer, and the peer is told
        allowed_s = operation.attributes.get(names.TIMEOUT_S, action.timeout_s)
        operation.attributes[names.TIMEOUT_S] = min(allowed_s, action.timeout_s)
        limit = asyncio.timeout(action.timeout_s)
        try:
            async with limit:
                return await next(operation)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded(
                f"{operation.kind} {operation.target}: policy {policy.id!r} allows {action.timeout_s:g} s, and they "
                "are up; have it do less, or change the policy",
                path=operation.path,
                policy=policy.id,
            ) from None

    def _limit(self, operation: Operation, timeout_s: float) -> None:
        now_s = self._clock.unix_ns() / 1e9
        end_s, latest_ms = now_s + timeout_s, operation.scope.deadline_unix_ms
        if operation.kind is OperationKind.CALL and operation.task_run is not None:
            # The same end in every attempt: a task that parked would else wait anew each time it wakes. The code's own
            # timeout has one tilde.
            end_s = operation.task_run.draw(f"{operation.path}~~", "end", end_s)
            latest_ms = operation.deadline_unix_ms
        end_ms = int(end_s * 1000)
        operation.deadline_unix_ms = end_ms if latest_ms is None else min(end_ms, latest_ms)
        operation.attributes[names.TIMEOUT_S] = max(operation.deadline_unix_ms / 1000 - now_s, 0.0)
