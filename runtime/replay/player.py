"""The chain's outermost part on a stage: what the record has is answered from it, when it was answered then."""

import asyncio
from collections.abc import Awaitable

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.recorded import fingerprint, raised
from antiphon.runtime.delivery.task_run import TaskRun
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.schemas.journal import Entry


class Player:
    """Answers operations by their path. ``made`` are all that were made, by task and path; ``answered`` are
    the entries that were used, each with its task.

    Each answer comes at the moment at which it came then, so that branches end in the order in which they ended.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.made: dict[tuple[str, str], Operation] = {}
        self.answered: list[tuple[str, Entry]] = []

    def __call__(self, operation: Operation, next: Next) -> Awaitable[Outcome]:
        """Pass on what the record does not have.

        Raises:
            Diverged: the record has something else at this path.
        """
        run = operation.task_run
        return next(operation) if run is None else self._played(operation, run, next)

    async def _played(self, operation: Operation, run: TaskRun, next: Next) -> Outcome:
        if run.stopped is not None:
            raise run.stopped
        self.made[operation.scope.task, operation.path] = operation
        entry = run.find(operation.path, operation.kind, operation.target, fingerprint(operation.body))
        if entry is None:
            return await next(operation)
        left_s = entry.ended_unix_ms / 1000 - self._clock.unix_ns() / 1e9
        if left_s > 0:  # else it was answered by the journal then too: at once, without a turn of the loop
            await asyncio.sleep(left_s)
        self.answered.append((operation.scope.task, entry))
        return answer(operation, entry)


def answer(operation: Operation, entry: Entry) -> Outcome:
    """What the handler was told then. Raises what it was raised."""
    if entry.error:
        raise raised(entry)
    return Outcome(operation.restore(entry.value) if operation.restore is not None else None, entry.value)
