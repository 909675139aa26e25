"""Dead letters by number: each is there until it is removed, and only that one."""

from collections.abc import AsyncGenerator

import pytest

from antiphon.runtime.bus.base import StoredMessage
from antiphon.runtime.bus.topology import DEAD, ensure_streams
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.delivery.dead_letter import bury
from antiphon.runtime.delivery.letters import Letters
from antiphon.runtime.errors import UnknownLetter
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas.task import ErrorInfo


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    """With letters 1 to 4, of agents a, b, a, a; and 5 of another tenant."""
    bus = MemoryBus(MemoryServer())
    await ensure_streams(bus)
    for number, agent in enumerate("abaa", start=1):
        await died(bus, agent, number)
    await died(bus, "a", 5, tenant="other")
    yield bus
    await bus.close()


async def died(bus: MemoryBus, agent: str, n: int, tenant: str = "default") -> None:
    """Another letter."""
    message = StoredMessage(f"antiphon.{tenant}.task.{agent}.h", str(n).encode(), {}, n, 0)
    reason = ErrorInfo(type="T", message="m")
    await bury(bus, SystemClock(), tenant, agent, message, reason=reason, attempts=1, task=f"t{n}")


async def numbers(bus: MemoryBus, agent: str | None = None) -> list[int]:
    """Those that are there."""
    return [letter.number async for letter in Letters(bus, "default").each(agent)]


async def test_letters_are_listed_by_agent_and_tenant(bus: MemoryBus) -> None:
    """The oldest first."""
    assert await numbers(bus) == [1, 2, 3, 4]
    assert await numbers(bus, "a") == [1, 3, 4]
    letter = await Letters(bus, "default").get(3)
    assert (letter.agent, letter.content.task, await letter.body(bus)) == ("a", "t3", b"3")


async def test_removing_one_leaves_the_others(bus: MemoryBus) -> None:
    """From the middle and from the front; its room is free at once, and again changes nothing."""
    letters = Letters(bus, "default")
    third = await letters.get(3)
    for _ in range(2):
        await letters.remove(third)
        assert await numbers(bus) == [1, 2, 4]
        assert (await bus.inspector.usage(DEAD.name)).messages == 4
    await letters.remove(await letters.get(1))
    assert await numbers(bus) == [2, 4]


async def test_a_letter_that_was_removed_is_told_from_one_that_never_was(bus: MemoryBus) -> None:
    """And another tenant's is none."""
    letters = Letters(bus, "default")
    await letters.remove(await letters.get(1))
    with pytest.raises(UnknownLetter, match="letter 1 was redriven or dropped before"):
        await letters.get(1)
    for number in (0, -1, 5, 99):
        with pytest.raises(UnknownLetter, match=f"no dead letter {number}: `antiphon dead list`"):
            await letters.get(number)
