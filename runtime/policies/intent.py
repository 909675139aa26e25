"""Writes that take no idempotency key: announced in the journal before they begin, and never repeated.

A later attempt that finds the intent without a result stops as InDoubt, for a person or the operation's own resolver.
Innermost of the chain, so that what a budget or a deadline refuses was never announced.
"""

from collections.abc import Awaitable

import msgspec

from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.recorded import fingerprint
from antiphon.runtime.delivery.task_run import TaskRun
from antiphon.runtime.errors import InDoubt
from antiphon.runtime.policies.chain import Next, Operation, Outcome
from antiphon.schemas.journal import Entry, EntryKind


class IntentInterceptor:
    """Stands before every write without key of a durable task."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def __call__(self, operation: Operation, next: Next) -> Awaitable[Outcome]:
        """Pass the write on once in the life of the task.

        Raises:
            InDoubt: an earlier attempt began it, or this one did, and nothing says whether it happened.
        """
        run = operation.task_run
        return next(operation) if run is None or not operation.unkeyed else self._announced(operation, run, next)

    async def _announced(self, operation: Operation, run: TaskRun, next: Next) -> Outcome:
        if operation.path in run.journal.history.intents:
            record = await self._happened(operation, run)
            if record is not None:
                return Outcome(operation.restore(record) if operation.restore is not None else None, record)
        await run.journal.commit(
            Entry(
                kind=EntryKind.INTENT,
                path=operation.path,
                operation=operation.kind.value,
                target=operation.target,
                request=fingerprint(operation.body),
                effect=operation.effect.value,
                started_unix_ms=self._clock.unix_ns() // 1_000_000,
            )
        )
        try:
            return await next(operation)
        except InDoubt as error:
            # Whoever did it cannot say: the intent stays without a result, as if this process had died.
            raise run.halt(_in_doubt(operation, run, f" ({error.message})")) from None
        except Exception as error:
            run.unrepeatable = error
            raise

    async def _happened(self, operation: Operation, run: TaskRun) -> bytes | None:
        """What the write of an earlier attempt returned; None if it did not happen. Raises InDoubt."""
        said = run.journal.history.resolved.get(operation.path)
        if said is not None:
            answer = msgspec.json.decode(said.value)
            return msgspec.json.encode(answer.get("value")) if answer["done"] else None
        if operation.resolve is not None:
            happened = await operation.resolve(operation.key)
            return None if happened is None else msgspec.json.encode(happened.value)
        raise run.halt(_in_doubt(operation, run))


def _in_doubt(operation: Operation, run: TaskRun, why: str = "") -> InDoubt:
    task = run.journal.owner.task
    return InDoubt(
        f"{operation.kind} {operation.target!r} of task {task} began and nothing says whether it happened{why}: look "
        "there, then `antiphon dead redrive NUMBER --resolve done=JSON` or `--resolve not-done`; a function that takes "
        "the idempotency key as its parameter is repeated instead",
        path=operation.path,
        task=task,
        target=operation.target,
        key=operation.key,
    )
