"""Equal work that is under way is waited for, not begun again."""

import asyncio
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import DeadlineExceeded
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.policies.sharing import Shared, Work, shared, work_of
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.policy import Policy

LEADERS: Final = 2  # that failed one after the other: then a follower goes alone, or n of them would wait n times


@dataclass(eq=False, slots=True)
class _Flight:
    """Work under way. ``done`` has its result, or None: it failed, was cancelled, or is its leader's alone."""

    seen: int  # writes when it began
    done: "asyncio.Future[Shared | None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(eq=False, slots=True)
class _Crowd:
    """Equal operations under way at level shadow, and the result of the first of them."""

    going: int = 0
    first: Shared | None = None


class SingleFlight:
    """The first of equal operations leads, the others follow, each up to its own deadline.

    A leader's failure is its own: one of its followers leads anew. What a run has written since the leader began keeps
    the run from following a read.
    """

    def __init__(self, clock: Clock, written: Written) -> None:
        self._clock = clock
        self._written = written
        self._flights: dict[Hashable, _Flight] = {}  # bounded by the operations under way, as _crowds is
        self._crowds: dict[Hashable, _Crowd] = {}

    async def __call__(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Remedy.

        Raises:
            DeadlineExceeded: the operation's own deadline passed while another did its work.
        """
        work = work_of(operation, policy)
        if work is None:
            return await next(operation)
        for _ in range(LEADERS):
            flight = self._flights.get(work.key)
            if flight is None or not work.fresh(flight.seen, operation.scope.run, self._written):
                return await self._lead(work, operation, next)
            result = await self._follow(flight, operation)
            if result is not None:
                operation.attributes[names.ANSWERED_BY] = policy.id
                return await result.outcome(operation)
        return await next(operation)

    async def shadow(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Shadowed: of equal operations under way together, each is compared with the first that ended."""
        work = work_of(operation, policy)
        if work is None:
            return await next(operation)
        crowd = self._crowds.setdefault(work.key, _Crowd())
        crowd.going += 1
        try:
            outcome = await next(operation)
            result = shared(operation, outcome)
            if crowd.first is None:
                crowd.first = result
            elif result is not None:
                operation.attributes[names.SHADOW_EQUAL] = result.body == crowd.first.body
            return outcome
        finally:
            crowd.going -= 1
            if not crowd.going:
                del self._crowds[work.key]

    async def _lead(self, work: Work, operation: Operation, next: Next) -> Outcome:
        flight = self._flights[work.key] = _Flight(self._written.count)
        result: Shared | None = None
        try:
            outcome = await next(operation)
            result = shared(operation, outcome)
            return outcome
        finally:
            if self._flights.get(work.key) is flight:  # else a later one leads, of a run that had written
                del self._flights[work.key]
            flight.done.set_result(result)

    async def _follow(self, flight: _Flight, operation: Operation) -> Shared | None:
        deadline = operation.deadline_unix_ms
        left_s = None if deadline is None else max(0.0, deadline / 1000 - self._clock.unix_ns() / 1e9)
        done, _ = await asyncio.wait([flight.done], timeout=left_s)
        if not done:
            raise DeadlineExceeded(
                f"{operation.kind} {operation.target}: equal work under way had no result in {left_s:.3g} s; allow "
                "more time",
                path=operation.path,
            )
        return flight.done.result()
