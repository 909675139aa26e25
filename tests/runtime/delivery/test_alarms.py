"""Parked tasks wake at their time, once, whichever nodes watch."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from antiphon.runtime.approvals import Approvals
from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import TASKS, ensure_streams
from antiphon.runtime.clock import LoopClock
from antiphon.runtime.delivery.alarms import RETRY_S, Alarms
from antiphon.runtime.delivery.parking import Parking
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.testing import virtual_time
from antiphon.schemas import subjects
from antiphon.schemas.approval import Approval
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.parking import ParkedTask, Wait, WaitKind


def now_ms() -> int:
    return LoopClock().unix_ns() // 1_000_000


def parked(task: str, after_s: float | None, *, number: int = 1, parent: str = "", question: str = "q") -> ParkedTask:
    until_ms = None if after_s is None else now_ms() + round(after_s * 1000)
    return ParkedTask(
        task=task,
        run="r",
        agent="a",
        handler="h",
        version="1",
        number=number,
        parent=parent,
        waits=(Wait(kind=WaitKind.APPROVAL, path="1", id=question, until_unix_ms=until_ms),),
        parked_unix_ms=now_ms(),
    )


@asynccontextmanager
async def watching(nodes: int = 1) -> AsyncGenerator[tuple[MemoryBus, Parking, list[Alarms]], None]:
    """So many nodes, and a parking."""
    bus = MemoryBus()
    await ensure_streams(bus)
    parking = await Parking.open(bus, "default")
    alarms = [Alarms(bus, await Parking.open(bus, "default"), LoopClock(), "default") for _ in range(nodes)]
    for each in alarms:
        await each.start()
    try:
        yield bus, parking, alarms
    finally:
        for each in alarms:
            await each.stop()


async def woken(bus: MemoryBus) -> list[tuple[str, int, int]]:
    """Task, number and the milliseconds after the start of those that were sent on their way."""
    found: list[StoredMessage] = [m async for m in bus.streams.read(TASKS.name, subjects.every(subjects.Kind.TASK))]
    envelopes = [(Envelope.from_headers(message.headers), message.unix_ms) for message in found]
    start_ms = now_ms() - round(asyncio.get_running_loop().time() * 1000)
    return [(envelope.task, envelope.wake, unix_ms - start_ms) for envelope, unix_ms in envelopes]


@virtual_time(seeds=range(10))
async def test_each_wakes_at_its_time_once() -> None:
    """Three nodes watch; the order of parking does not matter, a day is as good as a second."""
    async with watching(nodes=3) as (bus, parking, _):
        for task, after_s in (("late", 80_000.0), ("soon", 0.75), ("past", -5.0), ("then", 61.421)):
            await parking.put(parked(task, after_s))
        await parking.put(parked("never", None))
        await asyncio.sleep(80_001)
        found = await woken(bus)
    assert [(task, number) for task, number, _ in found] == [("past", 1), ("soon", 1), ("then", 1), ("late", 1)]
    assert all(
        0 <= at_ms - due_ms <= 2 for (_, _, at_ms), due_ms in zip(found, (0, 750, 61_421, 80_000_000), strict=True)
    )


@virtual_time(seeds=range(5))
async def test_what_was_removed_or_parked_anew_wakes_as_it_is_now() -> None:
    """An old alarm of the same task is void."""
    async with watching() as (bus, parking, _):
        await parking.put(parked("gone", 5.0))
        await parking.put(parked("again", 5.0))
        await asyncio.sleep(1)
        await parking.remove("gone")
        await parking.put(parked("again", 9.0, number=2))
        await asyncio.sleep(60)
        assert [(task, number, round(at_ms, -2)) for task, number, at_ms in await woken(bus)] == [("again", 2, 10_000)]


@virtual_time()
async def test_a_bus_that_refuses_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wake-up is not lost with the first attempt."""
    wake, refusals = Parking.wake_parked, [True, True]

    async def refuse(self: Parking, parked: ParkedTask) -> None:
        if refusals:
            refusals.pop()
            raise BusUnavailable("away")
        await wake(self, parked)

    monkeypatch.setattr(Parking, "wake_parked", refuse)
    async with watching() as (bus, parking, _):
        await parking.put(parked("t", 1.0))
        await asyncio.sleep(1 + 3 * RETRY_S)
        [(task, _, at_ms)] = await woken(bus)
    assert (task, at_ms // 1000) == ("t", 3)


@virtual_time()
async def test_children_of_an_ended_task_wake() -> None:
    """So that whoever gets them sees that nobody waits any more; those of others sleep on."""
    async with watching() as (bus, parking, [alarms]):
        await parking.put(parked("mine", 500.0, parent="p"))
        await parking.put(parked("other", 500.0, parent="q"))
        await asyncio.sleep(0.1)
        assert len(alarms) == 2
        alarms.wake_children("p")
        await asyncio.sleep(0.1)
        assert [task for task, _, _ in await woken(bus)] == ["mine"]


@virtual_time()
async def test_other_tenants_have_their_own_nodes() -> None:
    """They share the bucket."""
    async with watching() as (bus, _, [alarms]):
        other = await Parking.open(bus, "other")
        await other.put(parked("t", 0.5))
        await asyncio.sleep(2)
        assert len(alarms) == 0
        assert await woken(bus) == []


@virtual_time(seeds=range(5))
async def test_an_answer_wakes_whoever_died_after_storing_it() -> None:
    """Before or after the parking; a question that is still open wakes nobody."""
    async with watching(nodes=2) as (bus, parking, _):
        approvals = Approvals(bus, LoopClock(), "default", nobody)
        for id in ("before", "after", "open"):
            asked = Approval(
                id=id,
                task=id,
                run="r",
                agent="a",
                handler="h",
                path="1",
                proposal_type="P",
                proposal={},
                json_schema={},
                asked_unix_ms=now_ms(),
            )
            await approvals.ask(asked)
        await approvals.answer("before", approved=True, by="ada")
        for id in ("before", "after", "open"):
            await parking.put(parked(id, None, question=id))
        await asyncio.sleep(5)
        await approvals.answer("after", approved=False, by="ada")
        await asyncio.sleep(5)
        assert [(task, at_ms // 1000) for task, _, at_ms in await woken(bus)] == [("before", 0), ("after", 5)]


async def nobody(task: str) -> None:
    """Whoever answered died before it could wake the task."""


@virtual_time()
async def test_a_child_whose_wake_up_the_bus_refuses_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal of its parent's end comes once; the child may wait for a person, and has no other alarm."""
    real = Parking.wake_parked
    refusals = iter((True, False))

    async def refuse(self: Parking, parked: ParkedTask) -> None:
        if next(refusals):
            raise BusUnavailable("away")
        await real(self, parked)

    async with watching() as (bus, parking, [alarms]):
        await parking.put(parked("mine", None, parent="p"))
        await asyncio.sleep(0.1)
        monkeypatch.setattr(Parking, "wake_parked", refuse)
        alarms.wake_children("p")
        await asyncio.sleep(2 * RETRY_S)
        assert [task for task, _, _ in await woken(bus)] == ["mine"]
