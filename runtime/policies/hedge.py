"""A second attempt beside one that lasts too long; the first that succeeds is the answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from antiphon.runtime.branches import settle
from antiphon.runtime.errors import BusError
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.runtime.policies.remedy import apart
from antiphon.runtime.policies.repeatable import changes_nothing, shows
from antiphon.runtime.policies.tokens import Purses
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas import policy as policies
from antiphon.schemas.identity import new_id

BUSY_SHARE: Final = 0.7  # of a pool: beyond it a second attempt makes the others wait (patterns.md, P16)
_TARGETS: Final = 1_024

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Attempt:
    operation: Operation
    task: "asyncio.Task[Outcome]"

    @property
    def succeeded(self) -> bool:
        return self.task.done() and not self.task.cancelled() and self.task.exception() is None


class Hedger:
    """Hedges what changes nothing (Dean and Barroso, The Tail at Scale, 2013).

    At most the policy's ``budget`` of all calls are hedged, none while the pool that served the target last was more
    than BUSY_SHARE busy, where an instance says so, and none whose text is shown as it comes. The attempt that lost is
    cancelled before the answer is given: its model stops, and ``give_up`` tells the peer that was asked.
    """

    def __init__(self, give_up: Callable[[str], Awaitable[None]]) -> None:
        self._give_up = give_up
        self._purses = Purses(0.0)
        self._busy: OrderedDict[str, float] = OrderedDict()  # target: busy share of its pool when it last answered

    async def __call__(self, operation: Operation, policy: policies.Policy, next: Next) -> Outcome:
        """See Remedy. Where both attempts fail, the later error is raised."""
        action = policy.proposal.action
        assert isinstance(action, policies.Hedge)
        # What ``ctx.run`` is given may use ctx, which belongs to the handler's own task.
        if not changes_nothing(operation) or operation.kind is OperationKind.RUN or shows(operation):
            return await next(operation)
        tokens = self._purses.of(policy.id)
        tokens.earn(action.budget)
        attempts = [_begin(operation, next)]
        try:
            done, _ = await asyncio.wait([attempts[0].task], timeout=action.delay_s)
            if not done and self._has_room(operation.target) and tokens.take():
                attempts.append(_begin(operation, next))
            answer = await _answer(attempts)
        finally:
            await self._stop(attempts)
        operation.attributes.update(answer.operation.attributes)
        self._learn(operation)
        if len(attempts) > 1 and operation.span is not None:
            won = attempts.index(answer) + 1 if answer.succeeded else 0
            operation.span.add_event(names.HEDGE_EVENT, {names.HEDGE_WON: won})
        return answer.task.result()

    async def _stop(self, attempts: Sequence[_Attempt]) -> None:
        late = [attempt.operation.waiter for attempt in attempts if not attempt.task.done()]
        await settle([attempt.task for attempt in attempts])
        for waiter in late:
            if waiter:
                try:
                    await self._give_up(waiter)
                except BusError as error:
                    log.info("hedge_not_given_up", error=error.message)

    def _has_room(self, target: str) -> bool:
        return self._busy.get(target, 0.0) <= BUSY_SHARE

    def _learn(self, operation: Operation) -> None:
        active, capacity = (operation.attributes.get(name) for name in (names.POOL_ACTIVE, names.POOL_CAPACITY))
        if active is None or not capacity:
            return
        self._busy[operation.target] = active / capacity
        self._busy.move_to_end(operation.target)
        if len(self._busy) > _TARGETS:
            self._busy.popitem(last=False)


def _begin(operation: Operation, next: Next) -> _Attempt:
    own = apart(operation)
    if own.kind is OperationKind.ASK:
        own.waiter = new_id()
    return _Attempt(own, asyncio.create_task(_carried_out(own, next)))


async def _carried_out(operation: Operation, next: Next) -> Outcome:
    return await next(operation)


async def _answer(attempts: Sequence[_Attempt]) -> _Attempt:
    """The first attempt that succeeds, or the last that fails."""
    waiting = {attempt.task: attempt for attempt in attempts}
    while True:
        ended, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            last = waiting.pop(task)
            if last.succeeded or not waiting:
                return last
