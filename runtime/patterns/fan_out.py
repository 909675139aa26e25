"""The same work for many messages at once, and what came back of it."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

from antiphon.runtime.agent import Handler
from antiphon.runtime.context import Context
from antiphon.runtime.errors import ConfigurationError, QuorumMissed, error_type
from antiphon.runtime.patterns.pipeline import Pipeline, start
from antiphon.schemas.message import Message

In = TypeVar("In", bound=Message)
Out = TypeVar("Out", bound=Message)


@dataclass(frozen=True, slots=True, kw_only=True)
class FanIn(Generic[Out]):
    """What came back, by the index of the message.

    ``unfinished`` were cancelled, or never began: the quorum was there, or the time was up.
    """

    values: Mapping[int, Out]
    errors: Mapping[int, BaseException]
    unfinished: tuple[int, ...]

    @property
    def is_complete(self) -> bool:
        """Whether every message has a value."""
        return not self.errors and not self.unfinished


async def fan_out(
    ctx: Context,
    work: Handler[In, Out] | Pipeline[In, Out],
    messages: Sequence[In],
    *,
    at_most: int = 8,
    quorum: int | None = None,
    at_least: int | None = None,
    timeout_s: float | None = None,
) -> FanIn[Out]:
    """Have ``work`` done for every message, ``at_most`` of them at a time, each a durable call.

    One that fails stops no other. Leaves when ``quorum`` have succeeded (None: when all have ended), or after
    ``timeout_s``; the rest is cancelled. Without a quorum the result has whatever there is. ``at_least`` as
    ``ctx.group`` has it: a policy may have it leave with fewer successes.

    Raises:
        QuorumMissed: fewer than ``quorum`` succeeded, or than ``at_least`` of it.
        ConfigurationError: ``at_most`` below 1, or a quorum that no number of successes could reach.
    """
    if at_most < 1:
        raise ConfigurationError(f"fan_out: at_most is {at_most}, expected 1 or more")
    if quorum is not None and not 1 <= quorum <= len(messages):
        raise ConfigurationError(f"fan_out: quorum is {quorum}, expected 1 to {len(messages)}, as there are messages")
    gate = _Gate(ctx, at_most)

    async def one(message: In) -> Out:
        async with gate.passed():
            return await start(ctx, work, message)

    async with ctx.group(quorum=quorum, at_least=at_least, timeout_s=timeout_s) as group:
        for message in messages:
            group.start(one(message))
    ended = list(enumerate(group.outcomes))
    found: FanIn[Out] = FanIn(
        values={index: outcome.value for index, outcome in ended if outcome.succeeded},
        errors={index: outcome.error for index, outcome in ended if outcome.error is not None},
        unfinished=tuple(index for index, outcome in ended if outcome.cancelled),
    )
    if quorum is not None and len(found.values) < (at_least or quorum):
        raise _missed(found, at_least or quorum, len(messages))
    return found


def _missed(found: FanIn[Out], quorum: int, calls: int) -> QuorumMissed:
    errors = [f"; message {index} failed with {error_type(error)}: {error}" for index, error in found.errors.items()]
    return QuorumMissed(
        f"{len(found.values)} of {calls} calls succeeded, expected {quorum}: {len(found.errors)} failed and "
        f"{len(found.unfinished)} had not ended in time{errors[0] if errors else ''}",
        succeeded=len(found.values),
        quorum=quorum,
        calls=calls,
    )


class _Gate:
    """Lets so many branches through at a time, in the order of their numbers.

    A branch that waits here counts as waiting, so that the task can give its slot back and be parked.
    """

    def __init__(self, ctx: Context, width: int) -> None:
        self._run = ctx.task_run
        self._free = asyncio.Semaphore(width)

    @asynccontextmanager
    async def passed(self) -> AsyncGenerator[None, None]:
        waiting = self._run.waiting(None) if self._run is not None and self._free.locked() else nullcontext()
        async with waiting:
            await self._free.acquire()
        try:
            yield
        finally:
            self._free.release()
