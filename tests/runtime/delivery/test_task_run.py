"""One attempt: what it finds recorded, when it gives its slot back, and when it is parked."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from antiphon.runtime.branches import Branches, gather
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import ensure_streams
from antiphon.runtime.clock import LoopClock
from antiphon.runtime.delivery.history import History
from antiphon.runtime.delivery.journal import Journal, Owner
from antiphon.runtime.delivery.running import Running
from antiphon.runtime.delivery.slots import Slot, Slots
from antiphon.runtime.delivery.task_run import LEAST_S, LINGER_S, MAX_IDLE, TaskRun
from antiphon.runtime.errors import BusUnavailable, Diverged, LeaseLost, NodeStopping, TaskCancelled, TaskParked
from antiphon.runtime.testing import virtual_time
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch
from antiphon.schemas.parking import Wait, WaitKind

OWNER = Owner(tenant="default", task="t", run="t", agent="a", handler="h", version="1", origin=1, node="n")
ANSWER = Wait(kind=WaitKind.APPROVAL, path="1", id="q")
CHILD = Wait(kind=WaitKind.TASK, path="2", id="c")


@dataclass(slots=True)
class Attempt:
    """A run in the hands of a test."""

    run: TaskRun
    branches: Branches
    slots: Slots

    async def wait(self, wait: Wait, *, for_s: float = 3600.0) -> None:
        """As a handler that waits so long for something."""
        async with self.run.waiting(wait):
            await asyncio.sleep(for_s)

    async def work(self, for_s: float) -> None:
        """As a handler that does something itself."""
        await asyncio.sleep(for_s)


def now_ms() -> int:
    return LoopClock().unix_ns() // 1_000_000


def history(*entries: Entry) -> History:
    batch = JournalBatch(task="t", run="t", agent="a", handler="h", version="1", origin=1, attempt=1, entries=entries)
    return History.of([batch])


async def attempt(
    handler: Callable[[Attempt], Coroutine[Any, Any, None]], *entries: Entry, idle: int = 0, keyed: bool = False
) -> tuple[Attempt, float]:
    """Run a handler to its end; when it ended."""
    bus = MemoryBus()
    await ensure_streams(bus)
    slots = Slots("a", 1, 16)
    slots.idle = idle
    slot = Slot(slots)
    await slot.take()
    journal = Journal(bus, LoopClock(), OWNER, history(*entries) if entries else None)
    run = TaskRun(journal, slot, LoopClock(), key="k" if keyed else "", keyed=keyed)
    made: list[Attempt] = []

    async def body() -> None:
        run.begin(Running(LoopClock()).enter("t", "", None))
        branches = Branches()
        run.watch(branches)
        made.append(Attempt(run, branches, slots))
        try:
            await handler(made[0])
        finally:
            run.end()

    await asyncio.wait([asyncio.create_task(body())])
    slot.close()
    assert (slots.active, slots.idle) == (0, idle)
    return made[0], asyncio.get_running_loop().time()


@virtual_time()
async def test_waiting_for_a_person_parks_at_once() -> None:
    """With all that it waits for."""
    found, ended_s = await attempt(lambda it: it.wait(ANSWER))
    assert isinstance(found.run.stopped, TaskParked)
    assert found.run.waits == (ANSWER,)
    assert ended_s == pytest.approx(LEAST_S)


@virtual_time()
async def test_waiting_for_a_child_stays_a_while() -> None:
    """Most are done by then; one that is not is waited for without memory."""
    found, ended_s = await attempt(lambda it: it.wait(CHILD, for_s=LINGER_S - 0.1))
    assert found.run.stopped is None
    found, ended_s = await attempt(lambda it: it.wait(CHILD))
    assert isinstance(found.run.stopped, TaskParked)
    assert ended_s == pytest.approx(2 * LINGER_S - 0.1)


@virtual_time()
async def test_what_is_over_soon_is_waited_for_here() -> None:
    """Even where many wait: parked, it would be woken before it had gone."""
    wait = Wait(kind=WaitKind.TIME, path="1", until_unix_ms=now_ms() + 500)
    found, _ = await attempt(lambda it: it.wait(wait, for_s=0.5), idle=MAX_IDLE + 1)
    assert found.run.stopped is None


@virtual_time()
async def test_where_many_wait_already_a_child_is_not_lingered_for() -> None:
    """Memory is bounded."""
    found, ended_s = await attempt(lambda it: it.wait(CHILD), idle=MAX_IDLE + 1)
    assert isinstance(found.run.stopped, TaskParked)
    assert ended_s == pytest.approx(LEAST_S)


@virtual_time()
async def test_a_keyed_run_waits_in_place() -> None:
    """It may not let go of its key; its slot it gives back."""
    active: list[int] = []

    async def handler(it: Attempt) -> None:
        asyncio.get_running_loop().call_later(1, lambda: active.append(it.slots.active))
        await it.wait(ANSWER, for_s=60.0)

    found, ended_s = await attempt(handler, keyed=True)
    assert found.run.stopped is None
    assert (ended_s, active) == (60.0, [0])


@virtual_time(seeds=range(10))
async def test_a_run_is_not_parked_while_one_of_its_branches_works() -> None:
    """Only when the last one waits does the slot go back, and the run after it."""
    active: list[int] = []

    async def works_first(it: Attempt) -> None:
        await it.work(5)
        await it.wait(CHILD)

    async def handler(it: Attempt) -> None:
        asyncio.get_running_loop().call_later(4, lambda: active.append(it.slots.active))
        asyncio.get_running_loop().call_later(5.1, lambda: active.append(it.slots.active))
        await gather(it.branches, [it.wait(ANSWER), works_first(it)])

    found, ended_s = await attempt(handler)
    assert isinstance(found.run.stopped, TaskParked)
    assert set(found.run.waits) == {ANSWER, CHILD}
    assert ended_s == pytest.approx(5 + LINGER_S)
    assert active == [1, 0]


@virtual_time(seeds=range(10))
async def test_a_branch_that_ends_leaves_the_others_to_decide() -> None:
    """What still waits is parked; the handler itself only waits for its branches."""

    async def handler(it: Attempt) -> None:
        await gather(it.branches, [it.wait(ANSWER), it.work(3)])

    found, ended_s = await attempt(handler)
    assert found.run.waits == (ANSWER,)
    assert ended_s == pytest.approx(3 + LEAST_S)


@virtual_time()
async def test_an_operation_that_was_recorded_is_found() -> None:
    """As long as it is the same one; an intent alone is no result."""
    done = Entry(kind=EntryKind.OPERATION, path="1", operation="run", target="look", request="r", value=b"5")
    intent = Entry(kind=EntryKind.INTENT, path="2", operation="run", target="charge", request="r")
    seen: list[Any] = []

    async def handler(it: Attempt) -> None:
        seen.append(it.run.find("1", "run", "look", "r"))
        seen.append(it.run.find("2", "run", "charge", "r"))
        seen.append(it.run.find("3", "run", "look", "r"))

    await attempt(handler, done, intent)
    assert seen == [done, None, None]


@virtual_time()
@pytest.mark.parametrize("other", [("call", "look", "r"), ("run", "see", "r"), ("run", "look", "s")])
async def test_another_operation_at_a_recorded_path_is_a_divergence(other: tuple[str, str, str]) -> None:
    """The run is halted, so that a handler that swallows the error cannot go on."""
    done = Entry(kind=EntryKind.OPERATION, path="1", operation="run", target="look", request="r", value=b"5")

    async def handler(it: Attempt) -> None:
        with pytest.raises(Diverged, match=r"diverged at operation 1.*version="):
            it.run.find("1", *other)

    found, _ = await attempt(handler, done)
    assert isinstance(found.run.stopped, Diverged)


@virtual_time()
async def test_a_handler_that_returns_early_has_diverged() -> None:
    """Its journal knows of operations that it did not make."""
    done = Entry(kind=EntryKind.OPERATION, path="2.a.1", operation="run", target="look")

    async def handler(it: Attempt) -> None:
        it.branches.next_path()
        with pytest.raises(Diverged, match="returned without it"):
            it.run.check_complete()
        it.branches.next_path()
        it.run.check_complete()

    await attempt(handler, done)


@virtual_time()
async def test_a_drawn_value_is_the_same_in_every_attempt() -> None:
    """The recorded one, to the last bit; a new one is noted."""
    drawn = Entry(kind=EntryKind.DRAW, path="1", operation="now", value=repr(0.1 + 0.2).encode())
    seen: list[float] = []

    async def handler(it: Attempt) -> None:
        seen.append(it.run.draw("1", "now", 7.0))
        seen.append(it.run.draw("2", "now", 8.0))

    found, _ = await attempt(handler, drawn)
    assert seen == [0.1 + 0.2, 8.0]
    assert found.run.journal.history.entries["2"].value == b"8.0"


@virtual_time()
async def test_who_had_ended_when_a_group_was_left_is_recorded() -> None:
    """Another attempt waits for those and no others."""
    seen: list[frozenset[int] | None] = []

    async def handler(it: Attempt) -> None:
        seen.append(it.run.left("1"))
        await it.run.leave("1", [0, 2])

    found, _ = await attempt(handler)
    [entry] = found.run.journal.history.all

    async def again(it: Attempt) -> None:
        seen.append(it.run.left("1"))

    await attempt(again, entry)
    assert seen == [None, frozenset({0, 2})]


@virtual_time()
@pytest.mark.parametrize(
    ("reason", "goes_on"),
    [(TaskParked, True), (NodeStopping, True), (LeaseLost, True), (BusUnavailable, True), (TaskCancelled, False)],
)
async def test_children_go_on_exactly_if_the_task_does(reason: type[Any], goes_on: bool) -> None:
    """Here or elsewhere."""

    async def handler(it: Attempt) -> None:
        it.run.halt(reason("stopped"))

    found, _ = await attempt(handler)
    assert found.run.leaves_children is goes_on
