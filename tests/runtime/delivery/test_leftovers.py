"""What somebody who died at the end of a task left behind goes, and nothing else does."""

from antiphon.runtime.approvals import Approvals
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import TASKS, ensure_streams
from antiphon.runtime.clock import LoopClock
from antiphon.runtime.delivery.leftovers import clear_leftovers
from antiphon.runtime.delivery.outcome import store_result
from antiphon.runtime.delivery.parking import Parking
from antiphon.schemas import subjects
from antiphon.schemas.approval import Approval
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.parking import ParkedTask, Wait, WaitKind
from antiphon.schemas.task import TaskResult, TaskState


async def system(*ended: str) -> MemoryBus:
    """A bus on which these tasks have ended."""
    bus = MemoryBus()
    await ensure_streams(bus)
    for task in ended:
        result = TaskResult(task=task, state=TaskState.CANCELLED, attempts=0, started_unix_ms=0, finished_unix_ms=0)
        assert await store_result(bus, "default", result, ttl_s=3600.0)
    return bus


async def nobody(task: str) -> None:
    """Wakes nobody."""


def question(task: str) -> Approval:
    return Approval(
        id=f"of-{task}",
        task=task,
        run="r",
        agent="a",
        handler="h",
        path="1",
        proposal_type="P",
        proposal={},
        json_schema={},
        asked_unix_ms=0,
    )


def parked(task: str, parent: str = "") -> ParkedTask:
    wait = Wait(kind=WaitKind.APPROVAL, path="1", id="q")
    return ParkedTask(
        task=task,
        run="r",
        agent="a",
        handler="h",
        version="1",
        number=1,
        parent=parent,
        waits=(wait,),
        parked_unix_ms=0,
    )


async def test_questions_of_ended_tasks_are_withdrawn() -> None:
    """A person is not asked for nothing; one whose task goes on stays, and so do other tenants'."""
    bus = await system("ended")
    approvals, others = (Approvals(bus, LoopClock(), tenant, nobody) for tenant in ("default", "other"))
    for task in ("ended", "goes-on"):
        await approvals.ask(question(task))
        await others.ask(question(task))
    assert await clear_leftovers(bus) == 1
    assert [approval.task for approval in await approvals.all()] == ["goes-on"]
    assert len(await others.all()) == 2
    assert await clear_leftovers(bus) == 0


async def test_parked_tasks_that_nobody_would_wake_are_woken_once() -> None:
    """One that was cancelled, and one whose parent has ended: whoever gets them tidies up."""
    bus = await system("cancelled", "parent")
    parking = await Parking.open(bus, "default")
    await parking.put(parked("cancelled"))
    await parking.put(parked("child", "parent"))
    await parking.put(parked("waits", "goes-on"))
    for _ in range(2):
        assert await clear_leftovers(bus) == 2
    stored = [message async for message in bus.streams.read(TASKS.name, subjects.every(subjects.Kind.TASK))]
    assert sorted(Envelope.from_headers(message.headers).task for message in stored) == ["cancelled", "child"]
