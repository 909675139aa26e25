"""Attempts in place: what failed and may be mended by another try is tried again, without troubling its handler."""

import asyncio
import random
from typing import Final

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.retry import MAX_S, delay_s
from antiphon.runtime.errors import AntiphonError, error_type, to_info
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.runtime.policies.repeatable import may_be_repeated
from antiphon.runtime.policies.tokens import SAVED, Purses
from antiphon.runtime.telemetry import attributes as names
from antiphon.schemas import policy as policies

SHARE: Final = 0.1  # retries of all calls, beyond those saved up: against an overload they must not add to


class Retrier:
    """Tries again what may be done twice, up to the policy's ``attempts``, with growing and random waits between.

    Never past the deadline, and while most calls fail only one retry for every tenth of them: retries make an outage
    longer (patterns.md, P14). A server that says when to come again is heard.
    """

    def __init__(self, rng: random.Random, clock: Clock) -> None:
        self._rng = rng
        self._clock = clock
        self._purses = Purses(SAVED)

    async def __call__(self, operation: Operation, policy: policies.Policy, next: Next) -> Outcome:
        """See Remedy. Raises the last attempt's error."""
        action = policy.proposal.action
        assert isinstance(action, policies.Retry)
        tokens = self._purses.of(policy.id)
        tokens.earn(SHARE)
        for attempt in range(1, action.attempts):
            try:
                return await next(operation)
            except Exception as error:
                wait_s = self._wait_s(error, attempt, action)
                if not (_mendable(operation, error) and self._in_time(operation, wait_s) and tokens.take()):
                    raise
                if operation.span is not None:
                    operation.span.add_event(
                        names.RETRY_EVENT, {names.ERROR_TYPE: error_type(error), names.RETRY_WAIT_S: wait_s}
                    )
            await asyncio.sleep(wait_s)
        return await next(operation)

    def _wait_s(self, error: Exception, attempt: int, action: policies.Retry) -> float:
        own_s = delay_s(attempt, self._rng, first_s=action.backoff_s, max_s=MAX_S)
        return max(own_s, _told_s(error))

    def _in_time(self, operation: Operation, wait_s: float) -> bool:
        deadline = operation.deadline_unix_ms
        return deadline is None or self._clock.unix_ns() / 1e9 + wait_s < deadline / 1e3


def _mendable(operation: Operation, error: Exception) -> bool:
    run = operation.task_run
    stopped = run is not None and run.stopped is not None  # its lease is lost: nothing more may be done for the task
    return not stopped and to_info(error).retryable and may_be_repeated(operation)


def _told_s(error: Exception) -> float:
    told = error.details.get("retry_after_s", "0") if isinstance(error, AntiphonError) else "0"
    try:
        return float(told)
    except ValueError:
        return 0.0
