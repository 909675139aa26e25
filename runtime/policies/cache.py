"""Repeated work is answered from its last result, while that is good."""

from typing import Final, NamedTuple

from antiphon.runtime.clock import Clock
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.policies.sharing import Shared, Work, shared, work_of
from antiphon.runtime.policies.shelf import Shelf
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.policy import Cache, Policy

MOST: Final = 8_192  # results
MAX_BYTES: Final = 64 * 1024 * 1024  # of all results in this process


class _Kept(NamedTuple):
    result: Shared
    started_s: float
    seen: int  # writes when its work began: one that came during the work may not be in it


class Caching:
    """Results of this process's operations. They are good for the policy's ttl or the tool's, whichever is shorter.

    A run that has written is not given what was read before.
    """

    def __init__(self, clock: Clock, written: Written, *, most: int = MOST, max_bytes: int = MAX_BYTES) -> None:
        self._clock = clock
        self._written = written
        self._shelf: Shelf[_Kept] = Shelf(most=most, max_bytes=max_bytes)

    async def __call__(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Remedy."""
        work = work_of(operation, policy)
        if work is None:
            return await next(operation)
        kept = self._good(work, operation, policy)
        if kept is not None:
            operation.attributes[names.ANSWERED_BY] = policy.id
            return await kept.result.outcome(operation)
        return await self._done(work, operation, next)

    async def shadow(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """See Shadowed: what would have been answered is compared with what came."""
        work = work_of(operation, policy)
        kept = None if work is None else self._good(work, operation, policy)
        if work is None:
            return await next(operation)
        if kept is None:
            return await self._done(work, operation, next)
        outcome = await next(operation)
        operation.attributes[names.SHADOW_EQUAL] = outcome.body == kept.result.body
        return outcome

    def _good(self, work: Work, operation: Operation, policy: Policy) -> _Kept | None:
        action = policy.proposal.action
        assert isinstance(action, Cache)
        kept = self._shelf.get(work.key)
        if kept is None:
            return None
        ttl_s = action.ttl_s if work.ttl_s is None else min(action.ttl_s, work.ttl_s)
        if self._clock.monotonic_s() - kept.started_s >= ttl_s:
            self._shelf.drop(work.key)
            return None
        return kept if work.fresh(kept.seen, operation.scope.run, self._written) else None

    async def _done(self, work: Work, operation: Operation, next: Next) -> Outcome:
        started_s, seen = self._clock.monotonic_s(), self._written.count
        outcome = await next(operation)
        result = shared(operation, outcome)
        if result is not None:
            self._shelf.put(work.key, _Kept(result, started_s, seen), result.size)
        return outcome
