"""The one terminal outcome of a task: stored under a fence, waited for, read."""

import asyncio
from typing import Any

import msgspec

from antiphon.runtime.agent import Out
from antiphon.runtime.bus.base import Bus, Delivery, StoredMessage
from antiphon.runtime.clock import Clock
from antiphon.runtime.delivery.bodies import INLINE_MAX, MAX_BODY, pack, unpack
from antiphon.runtime.delivery.payload import decode, encode
from antiphon.runtime.errors import Conflict, DeadlineExceeded, HandlerFailed, TaskCancelled, TaskDead, from_info
from antiphon.runtime.policies.chain import Outcome
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.task import TaskResult, TaskState

POLL_MAX_S = 2.0  # a wake-up message normally comes first; polling covers one that was lost
POLL_WOKEN_S = 0.005  # the wake-up may overtake the stream's own store


def encode_success(result: TaskResult, value: bytes) -> bytes:
    """``encode`` of a result whose reply is the JSON ``value``, without taking it apart (1.6 µs for 11.5)."""
    return msgspec.json.encode({**result.__dict__, "value": msgspec.Raw(value)})


async def store_result(
    bus: Bus,
    tenant: str,
    result: TaskResult,
    *,
    ttl_s: float,
    max_body: int = MAX_BODY,
    value: bytes | None = None,
) -> bool:
    """Publish the outcome with expected sequence 0, kept for ``ttl_s``; False if there is one. Raises BusError.

    ``value`` is the reply's JSON, where ``result.value`` was not filled in.
    """
    headers = Envelope(type=TaskResult.message_name, run=result.run, task=result.task).headers()
    subject = subjects.result(tenant, result.task)
    body = encode(result) if value is None else encode_success(result, value)
    if len(body) > INLINE_MAX:
        body, headers = await pack(bus, body, headers, tenant, result.task, max_bytes=max_body)
    try:
        await bus.streams.append(subject, body, headers, expected_last=0, ttl_s=ttl_s)
    except Conflict:
        return False
    return True


async def read_result(bus: Bus, tenant: str, task: str) -> TaskResult | None:
    """The task's outcome, or None while it has none."""
    return await result_of(bus, await bus.streams.last(subjects.result(tenant, task)))


async def result_of(bus: Bus, stored: StoredMessage | None) -> TaskResult | None:
    """The outcome in the newest message on a result's subject."""
    return None if stored is None else decode(TaskResult, await unpack(bus, stored.body, stored.headers))


async def await_result(bus: Bus, clock: Clock, tenant: str, task: str, *, deadline_unix_ms: int | None) -> TaskResult:
    """Wait for the outcome. What counts is the stored record; the message on the wire only wakes the waiter.

    Raises:
        DeadlineExceeded: it did not come in time; the task itself goes on.
    """
    woken = asyncio.Event()

    async def wake(_: Delivery) -> None:
        woken.set()

    subscription = await bus.subscribe(subjects.result(tenant, task), wake)
    try:
        pause_s = POLL_MAX_S / 8
        while True:
            woken.clear()
            result = await read_result(bus, tenant, task)
            if result is not None:
                return result
            left_s = None if deadline_unix_ms is None else deadline_unix_ms / 1000 - clock.unix_ns() / 1e9
            if left_s is not None and left_s <= 0:
                raise DeadlineExceeded(
                    f"task {task} had no outcome in time; it goes on: wait for it with `antiphon result {task}`",
                    task=task,
                )
            try:
                async with asyncio.timeout(pause_s if left_s is None else min(pause_s, left_s)):
                    await woken.wait()
                pause_s = POLL_WOKEN_S
            except TimeoutError:
                pause_s = min(POLL_MAX_S, pause_s * 2)
    finally:
        await subscription.stop()


def value_of(result: TaskResult, output: type[Out]) -> Outcome:
    """The reply of a task that succeeded.

    Raises:
        TaskDead: every attempt failed; the last error is in the message.
        AntiphonError: the error the handler ended with, by type; TaskCancelled if somebody stopped it.
    """
    if result.state is TaskState.SUCCEEDED:
        body = msgspec.json.encode(result.value)
        return Outcome(decode(output, body), body)
    raise failure_of(result)


def failure_of(result: TaskResult) -> Exception:
    """The exception that a task without a reply stands for; its ``details`` carry the task id."""
    error = result.error
    where = f"task {result.task}" + (f" of {result.agent}.{result.handler}" if result.agent else "")
    if result.state is TaskState.CANCELLED and error is None:
        return TaskCancelled(f"{where} was cancelled", task=result.task)
    if error is None:
        return HandlerFailed(
            f"{where} ended as {result.state} without an error; see `antiphon trace`", task=result.task
        )
    if result.state is TaskState.DEAD:
        return TaskDead(
            f"{where} is dead after {result.attempts} attempts; the last said {error.type}: {error.message}",
            task=result.task,
            type=error.type,
        )
    found: Any = from_info(error)
    found.details.setdefault("task", result.task)
    return found  # type: ignore[no-any-return]  # from_info returns our exceptions
