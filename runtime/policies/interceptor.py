"""Policies at work: for each operation those that are about it, each around the next."""

from collections.abc import Awaitable, Mapping
from typing import Final

import structlog

from antiphon.runtime.clock import Clock
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.policies.arms import Arm, arm_of
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.policies.live import LivePolicies
from antiphon.runtime.policies.remedy import Remedy, Shadowed
from antiphon.runtime.policies.table import PolicyTable
from antiphon.runtime.policies.written import Written
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas.identity import Address
from antiphon.schemas.policy import Policy
from antiphon.schemas.task import Effect

_SAID: Final = 1_024  # faults that were told of

log = structlog.get_logger()


class PolicyInterceptor:
    """Decides the arm of each policy that is about an operation, writes it down, and lets remedies do their work.

    A remedy that breaks costs its policy's effect and one line in the log, not the operation. ``remedies`` are by
    kind; a policy whose kind is not among them does nothing here.
    """

    def __init__(self, live: LivePolicies, remedies: Mapping[str, Remedy], written: Written, clock: Clock) -> None:
        self._live = live
        self._remedies = remedies
        self._written = written
        self._clock = clock
        self._said: set[tuple[str, str]] = set()

    def __call__(self, operation: Operation, next: Next) -> Awaitable[Outcome]:
        """Pass the operation on as the policies have it."""
        table = self._live.table
        return self._governed(table, operation, next) if table.operations else next(operation)

    async def _governed(self, table: PolicyTable, operation: Operation, next: Next) -> Outcome:
        found = table.matching(f"{operation.kind} {operation.target}", operation.scope.agent)
        chain = self._chain(found, operation, next) if found else next
        if not self._writes(operation):
            return await chain(operation)
        run = operation.scope.run
        self._written.note(run)
        try:
            return await chain(operation)
        finally:
            self._written.note(run)

    def _writes(self, operation: Operation) -> bool:
        """Whether the run has written when this is over, as far as is known: a peer's own writes are seen here."""
        if operation.effect is not Effect.WRITE:
            return False
        if operation.kind in (OperationKind.ASK, OperationKind.CALL):
            return Address.parse(operation.target).agent not in self._live.agents
        return operation.kind in (OperationKind.TOOL, OperationKind.RUN, OperationKind.STATE)

    def _chain(self, policies: tuple[Policy, ...], operation: Operation, next: Next) -> Next:
        unix_ms = self._clock.unix_ns() // 1_000_000
        arms = [(policy, arm_of(policy, operation.scope.run, unix_ms)) for policy in policies]
        operation.attributes[names.POLICY_ARM] = [f"{policy.id}={arm}" for policy, arm in arms]
        findings = [policy.finding for policy in policies if policy.finding is not None]
        if findings:
            operation.attributes[names.FINDING_ID] = findings
        for policy, arm in reversed(arms):
            if arm in (Arm.TREATED, Arm.SHADOW):
                next = self._around(policy, arm, next)
        return next

    def _around(self, policy: Policy, arm: Arm, next: Next) -> Next:
        remedy = self._remedies.get(policy.proposal.action.kind)
        if arm is Arm.SHADOW and isinstance(remedy, Shadowed):
            remedy = remedy.shadow
        elif arm is Arm.SHADOW or remedy is None:
            self._say("policy_without_remedy", policy, kind=policy.proposal.action.kind)
            return next
        return lambda operation: self._remedied(remedy, policy, operation, next)

    async def _remedied(self, remedy: Remedy, policy: Policy, operation: Operation, next: Next) -> Outcome:
        tried = _Tried(next)
        try:
            return await remedy(operation, policy, tried)
        except AntiphonError:
            raise
        except Exception as error:
            if error is tried.error:
                raise
            self._say("policy_broke", policy, error=f"{type(error).__name__}: {error}")
            if tried.outcome is not None:
                return tried.outcome
            if tried.begun:
                raise  # it may have happened: to do it again is not ours to decide
        return await next(operation)

    def _say(self, event: str, policy: Policy, **facts: str) -> None:
        """Once for each policy, until very many have been told of."""
        if (event, policy.id) not in self._said and len(self._said) < _SAID:
            self._said.add((event, policy.id))
            log.warning(event, policy=policy.id, **facts)


class _Tried:
    """What became of ``next`` inside a remedy."""

    __slots__ = ("_next", "begun", "error", "outcome")

    def __init__(self, next: Next) -> None:
        self._next = next
        self.begun = False
        self.error: Exception | None = None
        self.outcome: Outcome | None = None

    async def __call__(self, operation: Operation) -> Outcome:
        self.begun = True
        try:
            self.outcome = await self._next(operation)
        except Exception as error:
            self.error = error
            raise
        return self.outcome
