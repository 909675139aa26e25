"""The journal around every operation of a durable task: a recorded one is not done again.

What is promised, in the words of DESIGN section 4: no *recorded* effect happens twice; between an effect and its entry
only the idempotency key protects, or the intent that ``policies/intent.py`` writes.
"""

from collections.abc import Awaitable
from typing import Final

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.recorded import error_entry, fingerprint, raised, result_entry, value_of_entry
from antiphon.runtime.delivery.task_run import TaskRun
from antiphon.runtime.policies.chain import Next, Operation, OperationKind, Outcome
from antiphon.schemas.journal import Entry
from antiphon.schemas.task import Effect

_PLAIN: Final = frozenset({OperationKind.TOOL, OperationKind.RUN})


class JournalInterceptor:
    """Answers operations from the journal, and records those that it cannot answer."""

    def __init__(self, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock

    def __call__(self, operation: Operation, next: Next) -> Awaitable[Outcome]:
        """Pass the operation on once in the life of the task.

        Raises:
            Diverged: the journal has something else at this path.
            LeaseLost: another worker has the task now.
            ConfigurationError: a tool that is declared pure is not.
        """
        run = operation.task_run
        return next(operation) if run is None else self._journaled(operation, run, next)

    async def _journaled(self, operation: Operation, run: TaskRun, next: Next) -> Outcome:
        if run.stopped is not None:
            raise run.stopped
        request = fingerprint(operation.body)
        entry = run.find(operation.path, operation.kind, operation.target, request)
        if entry is not None:
            operation.span_id = entry.span
            if entry.error:
                raise raised(entry)
            return await self._restored(operation, entry)
        started_ms = self._now_ms()
        try:
            outcome = await next(operation)
        except Exception as error:
            failed = error_entry(operation, request, error, started_ms, self._now_ms())
            if run.unrepeatable is error:
                await run.journal.commit(failed)
            elif run.stopped is None:
                run.journal.note(failed)
            raise
        if operation.effect is Effect.PURE and operation.kind is OperationKind.TOOL:
            run.check_pure(operation.target, request, fingerprint(outcome.body))
        await self._record(operation, run, request, outcome, started_ms)
        if operation.kind in _PLAIN and operation.restore is not None:
            # What a later attempt would be given: a handler must not see a type now that it would not see then.
            return Outcome(operation.restore(outcome.body), outcome.body)
        return outcome

    async def _record(
        self, operation: Operation, run: TaskRun, request: str, outcome: Outcome, started_ms: int
    ) -> None:
        owner = run.journal.owner
        entry = await result_entry(
            self._bus, owner, operation, request, outcome, started_ms, self._now_ms(), run.journal.history.blocks
        )
        await run.journal.commit(entry)

    async def _restored(self, operation: Operation, entry: Entry) -> Outcome:
        record = await value_of_entry(self._bus, entry)
        value = operation.restore(record) if operation.restore is not None else None
        return Outcome(value, record)

    def _now_ms(self) -> int:
        return self._clock.unix_ns() // 1_000_000
