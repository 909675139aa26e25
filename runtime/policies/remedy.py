"""The seam of policies: how one kind of policy changes an operation that it is about."""

from dataclasses import replace
from typing import Protocol, runtime_checkable

from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.schemas.policy import Policy


class Remedy(Protocol):
    """What a kind of policy does for runs that are treated. One instance serves a whole process, all its policies."""

    async def __call__(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """The operation's outcome with the policy at work.

        ``next`` carries the operation out; it may be called more than once, each time with ``apart(operation)`` where
        two would run at once, or not at all. What ``next`` raises passes. An AntiphonError of the remedy's own is the
        operation's outcome; any other is a fault: the operation is then done without the policy if ``next`` was not
        begun, and served from ``next`` if that had ended well.
        """
        ...


@runtime_checkable
class Shadowed(Protocol):
    """A remedy that can be compared with the old way: level shadow."""

    async def shadow(self, operation: Operation, policy: Policy, next: Next) -> Outcome:
        """The outcome of ``next``, no later than without the policy.

        Whether the new way gives the same goes onto a span as SHADOW_EQUAL: the operation's own, or one linked to it
        where the comparison takes longer.
        """
        ...


def apart(operation: Operation) -> Operation:
    """A copy that can be carried out beside the original: what one learns of itself is not written onto the other."""
    return replace(operation, attributes=dict(operation.attributes))
