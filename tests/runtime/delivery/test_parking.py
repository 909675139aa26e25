"""Tasks that wait: a record that others find, and one wake-up for each parking."""

import pytest

from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.topology import TASKS, ensure_streams
from antiphon.runtime.delivery.parking import Parking
from antiphon.schemas import subjects
from antiphon.schemas.envelope import Envelope
from antiphon.schemas.identity import Address
from antiphon.schemas.parking import ParkedTask, Wait, WaitKind


def parked(task: str = "t", *, number: int = 1, lane: str = "", until_unix_ms: int | None = None) -> ParkedTask:
    return ParkedTask(
        task=task,
        run="r",
        agent="a",
        handler="h",
        version="1",
        number=number,
        lane=lane,
        parent="p",
        waits=(Wait(kind=WaitKind.TIME, path="1", until_unix_ms=until_unix_ms),),
        headers={"Antiphon-Task": task},
        body_base64="e30=",
        parked_unix_ms=0,
    )


@pytest.fixture
async def bus() -> MemoryBus:
    bus = MemoryBus()
    await ensure_streams(bus)
    return bus


async def woken(bus: MemoryBus) -> list[StoredMessage]:
    return [message async for message in bus.streams.read(TASKS.name, subjects.every(subjects.Kind.TASK))]


async def test_a_record_says_that_a_task_waits_and_holds_no_body(bus: MemoryBus) -> None:
    """The body is in the journal: ten thousand parked tasks are ten thousand small records."""
    parking = await Parking.open(bus, "default")
    await parking.put(parked())
    found = await parking.get("t")
    assert found == parked().model_copy(update={"body_base64": "", "headers": {}})
    await parking.remove("t")
    await parking.remove("t")
    assert await parking.get("t") is None


async def test_all_that_wait_are_those_of_the_tenant(bus: MemoryBus) -> None:
    """Another tenant's are in the same bucket."""
    parking = await Parking.open(bus, "default")
    await (await Parking.open(bus, "default-too")).put(parked("x"))
    await parking.put(parked("a:b"))
    await parking.put(parked("c"))
    await parking.remove("c")
    assert [each.task for each in await parking.all()] == ["a:b"]


async def test_a_wake_up_carries_the_number_of_the_parking(bus: MemoryBus) -> None:
    """On the task's own subject and lane, without body: whoever gets it goes on from the journal."""
    parking = await Parking.open(bus, "default")
    await parking.put(parked(number=3, lane="l"))
    assert await parking.wake("t")
    [message] = await woken(bus)
    assert message.subject == subjects.task("default", Address("a", "h"), "l")
    assert message.body == b""
    envelope = Envelope.from_headers(message.headers)
    assert (envelope.task, envelope.run, envelope.parent, envelope.wake) == ("t", "r", "p", 3)


async def test_waking_twice_for_one_parking_is_waking_once(bus: MemoryBus) -> None:
    """The answer, the timer and the child may come together; the next parking has its own wake-up."""
    parking = await Parking.open(bus, "default")
    for number in (1, 2):
        await parking.put(parked(number=number))
        for _ in range(3):
            assert await parking.wake("t")
    assert [Envelope.from_headers(message.headers).wake for message in await woken(bus)] == [1, 2]


async def test_a_task_that_does_not_wait_is_not_woken(bus: MemoryBus) -> None:
    """Nor one of another tenant."""
    parking, other = await Parking.open(bus, "default"), await Parking.open(bus, "other")
    await other.put(parked())
    assert not await parking.wake("t")
    assert await woken(bus) == []


async def test_a_task_id_may_have_colons(bus: MemoryBus) -> None:
    """Keys of a bucket have none."""
    parking = await Parking.open(bus, "default")
    await parking.put(parked("key:1"))
    assert await parking.wake("key:1")
