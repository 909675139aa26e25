"""No operation starts after its deadline, and none waits longer than what is left of it."""

from collections.abc import Awaitable

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.policies.limits import WALL_S


class DeadlineInterceptor:
    """Refuses an operation whose deadline has passed; the transport bounds its waits by what is left."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, operation: Operation, next: Next) -> Awaitable[Outcome]:
        """Pass the operation on if there is time.

        Raises:
            DeadlineExceeded: there is none.
        """
        deadline = operation.deadline_unix_ms
        if deadline is not None:
            late_ms = self._clock.unix_ns() // 1_000_000 - deadline
            if late_ms >= 0:
                wall_s = operation.scope.budget.get(WALL_S)
                run = "" if wall_s is None else f" (the run's budget is {WALL_S}={wall_s:g})"
                raise DeadlineExceeded(
                    f"{operation.kind} {operation.target}: the deadline passed {late_ms} ms ago{run}; allow more time",
                    path=operation.path,
                )
        return next(operation)
