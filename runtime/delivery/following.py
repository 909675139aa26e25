"""What a reader of a task sees: chunks in order, restarts and gaps, and the stored outcome at the end."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Generic, TypeVar

import structlog

from antiphon.runtime.bus.base import Bus, Subscription
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.inbox import Inbox
from antiphon.runtime.delivery.ordering import Ordering, Shown
from antiphon.runtime.delivery.outcome import await_result
from antiphon.runtime.delivery.patience import Patience
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import BusError, BusUnavailable, MessageError
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import new_id
from antiphon.schemas.task import Gap, Position, ResumeStream, StreamBatch, TaskResult

AWAY_S = 60.0  # how long the bus may be away before a reader is told
RETRY_S = 0.25

T = TypeVar("T")
log = structlog.get_logger()


class Following(Generic[T]):
    """An iterator over the events of one task; the last is what ``finish`` makes of the outcome.

    ``position`` is where the reader is: after a break, a new one goes on from there. Break off with ``aclose``, or by
    forgetting it.
    """

    def __init__(
        self,
        bus: Bus,
        clock: Clock,
        tenant: str,
        task: str,
        *,
        begin: Callable[[], Awaitable[object]],
        finish: Callable[[TaskResult], T],
        after: Position | None = None,
    ) -> None:
        """``begin`` is awaited once everything that is shown from now on arrives here.

        ``after``: what was shown behind this position is asked for first. None: the task has not begun.
        """
        self.task = task
        self.position = after or Position()
        self._finish = finish
        self._events = _events(bus, clock, tenant, task, begin, after)

    def __aiter__(self) -> "Following[T]":
        return self

    async def __anext__(self) -> Shown | T:
        position, event = await anext(self._events)
        self.position = position
        if not isinstance(event, TaskResult):
            return event
        await self.aclose()
        return self._finish(event)

    async def aclose(self) -> None:
        """Read no more. Idempotent."""
        await self._events.aclose()


async def _events(
    bus: Bus, clock: Clock, tenant: str, task: str, begin: Callable[[], Awaitable[object]], after: Position | None
) -> AsyncGenerator[tuple[Position, Shown | TaskResult], None]:
    ordering = Ordering(after or Position())
    inbox = Inbox()
    inbox.refused = after is not None
    reply = subjects.control(tenant, "reader", new_id())
    subscriptions: list[Subscription] = []
    ending: asyncio.Task[TaskResult] | None = None
    try:
        for subject in (subjects.stream(tenant, task), reply):
            subscriptions.append(await bus.subscribe(subject, inbox.receive))
        await begin()
        ending = asyncio.create_task(_outcome(bus, clock, tenant, task))
        ending.add_done_callback(lambda _: inbox.ring())
        patience = Patience(clock.monotonic_s())
        while True:
            while (body := inbox.take()) is not None:
                for seen in _read(ordering, task, body):
                    yield seen
            result = ending.result() if ending.done() else None
            if result is not None and (ordering.ended or (result.shown == 0 and not ordering.broken)):
                break
            missing = ordering.broken or result is not None
            move = patience.next(clock.monotonic_s(), ordering.position, missing=missing, behind=inbox.refused)
            if move.give_up:
                if not ordering.broken:
                    break
                for seen in ordering.give_up():
                    yield seen
                continue
            if move.ask:
                inbox.refused = False
                await _ask(bus, tenant, task, ordering.position, reply)
            await inbox.wait(move.wait_s)
        result = ending.result()
        n = ordering.position.n
        if result.shown is not None and result.shown > n:
            log.warning("stream_items_missed", task=task, n=n, missed=result.shown - n)
            yield Position(ordering.position.attempt, result.shown), Gap(n=n, missed=result.shown - n)
        yield Position(ordering.position.attempt, max(n, result.shown or 0)), result
    finally:
        if ending is not None:
            ending.cancel()
            await asyncio.wait([ending])
        for subscription in subscriptions:
            await subscription.stop()


def _read(ordering: Ordering, task: str, body: bytes) -> list[tuple[Position, Shown]]:
    try:
        batch = decode(StreamBatch, body)
    except MessageError as error:
        log.warning("stream_batch_unreadable", task=task, error=error.message)
        return []
    return [(seen.position, seen.event) for seen in ordering.take(batch)]


async def _ask(bus: Bus, tenant: str, task: str, position: Position, reply: str) -> None:
    """Every node that has something behind ``position`` sends it; the others are silent."""
    headers = Envelope(type=ResumeStream.message_name, task=task).headers()
    request = ResumeStream(attempt=position.attempt, n=position.n)
    try:
        await bus.publish(subjects.control(tenant, "stream", task), encode(request), headers, reply)
    except BusError as error:
        log.info("stream_not_asked", task=task, error=error.message)  # the bus is away: asked again soon


async def _outcome(bus: Bus, clock: Clock, tenant: str, task: str) -> TaskResult:
    """The outcome, through any time that the bus is away for less than AWAY_S. Raises BusUnavailable."""
    away_s = 0.0
    while True:
        began_s = clock.monotonic_s()
        try:
            return await await_result(bus, clock, tenant, task, deadline_unix_ms=None)
        except BusUnavailable as error:
            tried_s = clock.monotonic_s() - began_s + RETRY_S
            away_s = tried_s if tried_s > AWAY_S / 2 else away_s + tried_s  # a long wait: the bus was there meanwhile
            if away_s >= AWAY_S:
                raise
            log.info("stream_waits_for_the_bus", task=task, error=error.message)
        await asyncio.sleep(RETRY_S)
