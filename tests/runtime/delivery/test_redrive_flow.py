"""Redriving as its user sees it: a whole system on the in-memory bus, with real workers."""

from typing import Any

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.client import Client
from antiphon.runtime.delivery.journal_codec import encode_batch
from antiphon.runtime.delivery.letters import Letter, Letters
from antiphon.runtime.delivery.outcome import await_result
from antiphon.runtime.delivery.recorded import fingerprint
from antiphon.runtime.delivery.redrive import Redriver, Resolution
from antiphon.runtime.delivery.task_status import find_task
from antiphon.runtime.errors import ModelUnavailable, TaskDead
from antiphon.runtime.testing import memory_system
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.task import TaskResult, TaskState

WAIT_MS = 10_000


class Order(Message):
    """Work."""

    n: int


async def letter(client: Client) -> Letter:
    """The only one."""
    (found,) = [each async for each in Letters(client.host.bus, client.host.tenant).each()]
    return found


def redriver(client: Client) -> Redriver:
    """As a command has it."""
    return Redriver(client.host.bus, client.host.clock, client.host.tenant)


async def outcome(client: Client, task: str) -> TaskResult:
    """The end of a task, in time."""
    host = client.host
    deadline = host.clock.unix_ns() // 1_000_000 + WAIT_MS
    return await await_result(host.bus, host.clock, host.tenant, task, deadline_unix_ms=deadline)


async def test_what_was_recorded_before_the_death_is_not_done_again() -> None:
    """Every attempt counts anew, and whoever waits gets the new result."""
    agent = Agent("shop", max_attempts=2, first_retry_s=0.01)
    attempts, looks = 0, 0

    async def look() -> int:
        nonlocal looks
        looks += 1
        return 40

    @agent.handles
    async def sell(order: Order, ctx: Context) -> Order:
        nonlocal attempts
        attempts += 1
        found = await ctx.run("look", look, effect="read")
        if attempts <= 3:
            raise ModelUnavailable("down")
        return Order(n=order.n + found)

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(sell, Order(n=2))
        with pytest.raises(TaskDead):
            await task.result(timeout_s=WAIT_MS / 1000)
        assert attempts == 2
        assert await redriver(client).redrive(await letter(client))
        assert (await task.result(timeout_s=WAIT_MS / 1000)).n == 42
        assert (attempts, looks) == (4, 1)
        assert await find_task(client.host.bus, "default", task.id) is TaskState.SUCCEEDED


@pytest.mark.parametrize(
    ("resolution", "paid", "charges"),
    [(Resolution(done=True, value={"paid": 9}), 9, 0), (Resolution(done=False), 5, 1)],
)
async def test_a_doubt_ends_as_the_person_said(resolution: Resolution, paid: int, charges: int) -> None:
    """A write that happened is not made; one that did not is made once."""
    agent = Agent("shop")
    charged = 0

    async def charge() -> dict[str, Any]:
        nonlocal charged
        charged += 1
        return {"paid": 5}

    @agent.handles
    async def sell(order: Order, ctx: Context) -> Order:
        return Order(n=(await ctx.run("charge", charge, effect="write"))["paid"])

    async with memory_system(System("s", agents=[agent])) as client:
        bus = client.host.bus
        # What a worker leaves that is killed in the middle of the write.
        intent = Entry(
            kind=EntryKind.INTENT,
            path="1",
            operation="run",
            target="charge",
            request=fingerprint(b""),
            effect="write",
        )
        batch = JournalBatch(
            task="t1", run="t1", agent="shop", handler="sell", version="1", origin=1, attempt=1, entries=(intent,)
        )
        await bus.streams.append(subjects.journal("default", "t1"), encode_batch(batch))
        headers = Envelope(type="Order", task="t1", attempt=2).headers()
        await bus.streams.append(subjects.task("default", sell.address), b'{"n": 1}', headers)

        died = await outcome(client, "t1")
        assert died.error is not None
        assert (died.state, died.error.type) == (TaskState.DEAD, "InDoubt")
        assert charged == 0
        assert await redriver(client).redrive(await letter(client), resolution)
        ended = await outcome(client, "t1")
        assert (ended.state, ended.value) == (TaskState.SUCCEEDED, {"n": paid})
        assert charged == charges
