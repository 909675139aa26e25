"""The policies in force in a process: given by code, stored over them, through outages of the bus."""

import asyncio
from collections.abc import AsyncGenerator

import structlog
from tests.runtime.policies.desk import Desk, policy_of

from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.policies.book import BUCKET, Change
from antiphon.runtime.policies.live import READ_S, RETRY_S, LivePolicies
from antiphon.runtime.testing import MemoryBus, MemoryServer, VirtualClock, virtual_time
from antiphon.schemas.policy import Cache, Level, Policy, Route

SEARCH = policy_of(Cache(ttl_s=30), "tool search")
COUNT = policy_of(Cache(ttl_s=30), "tool count", id="count")


class Shaky:
    """A book whose bus can be away, and whose watch can miss what happened."""

    def __init__(self) -> None:
        self.stored: dict[str, Policy] = {}
        self.away = False
        self.changes: asyncio.Queue[Change] = asyncio.Queue()

    async def entries(self) -> list[Policy]:
        if self.away:
            raise BusUnavailable("away")
        return list(self.stored.values())

    async def watch(self) -> AsyncGenerator[Change, None]:
        for id, policy in list(self.stored.items()):
            yield Change(id, policy)
        while True:
            getting = asyncio.create_task(self.changes.get())
            done, _ = await asyncio.wait([getting], timeout=0.5)
            if done:
                yield getting.result()
            else:
                getting.cancel()
            if self.away:
                raise BusUnavailable("away")


def ids(live: LivePolicies) -> list[str]:
    """Of the policies in force."""
    return sorted(policy.id for policy in live.table.policies)


async def test_a_stored_policy_wins_over_one_by_hand() -> None:
    """Of the same id: that is how a person switches one of the code off; when it is removed the code's is back."""
    live, book = LivePolicies(), Shaky()
    live.give([SEARCH, COUNT])
    book.stored["p"] = SEARCH.model_copy(update={"level": Level.SUGGEST})
    await live.load(book)  # type: ignore[arg-type]
    assert ids(live) == ["count"]
    book.stored.clear()
    await live.load(book)  # type: ignore[arg-type]
    assert ids(live) == ["count", "p"]


@virtual_time()
async def test_policies_stay_while_the_bus_is_away_and_follow_when_it_is_back() -> None:
    """Nothing flaps; what changed meanwhile is seen, removals too."""
    live, book = LivePolicies(), Shaky()
    book.stored["p"] = SEARCH
    await live.load(book)  # type: ignore[arg-type]
    changes: list[list[str]] = []
    live.on_change.append(lambda: changes.append(ids(live)))
    following = asyncio.create_task(live.follow(book))  # type: ignore[arg-type]
    await asyncio.sleep(2)
    book.away = True
    await asyncio.sleep(10)
    book.stored = {"count": COUNT}
    assert ids(live) == ["p"] and changes == []
    book.away = False
    await asyncio.sleep(2 * RETRY_S + 1)
    assert changes == [["count"]]
    following.cancel()
    await asyncio.wait([following])


@virtual_time()
async def test_a_removal_that_no_watch_told_is_seen_within_a_minute() -> None:
    """By reading everything."""
    live, book = LivePolicies(), Shaky()
    book.stored["p"] = SEARCH
    following = asyncio.create_task(live.follow(book))  # type: ignore[arg-type]
    await asyncio.sleep(1)
    assert ids(live) == ["p"]
    del book.stored["p"]
    await asyncio.sleep(READ_S + 1)
    assert ids(live) == []
    following.cancel()
    await asyncio.wait([following])


async def test_two_that_contradict_are_told_of_once() -> None:
    """As two nodes may have stored them at once: one applies, by a rule that is the same everywhere."""
    live, book = LivePolicies(), Shaky()
    for id in ("b", "a"):
        book.stored[id] = policy_of(Route(model=id), "model m", id=id)
    with structlog.testing.capture_logs() as said:
        await live.load(book)  # type: ignore[arg-type]
        live.give([COUNT])
    assert [(line["policy"], line["applied"]) for line in said if line["event"] == "policies_contradict"] == [
        ("b", "a")
    ]
    assert ids(live) == ["a", "count"]


@virtual_time()
async def test_an_entry_that_cannot_be_read_breaks_nothing() -> None:
    """Rubbish in the bucket before a node starts and while it runs: other policies apply, operations go on."""
    server = MemoryServer(clock=VirtualClock())
    bus = MemoryBus(server)
    bucket = await bus.buckets.open(BUCKET)
    await bucket.put("default.old", b"\xff")
    async with Desk().open(server=server) as desk:
        assert await desk.run("search a", "search a") == ("a 1", "a 2")
        await bucket.put("default.newer", b'{"id":"newer","proposal":{"action":{"kind":"teleport"},"target":"x"}}')
        await desk.book.set(SEARCH)
        await bucket.put("default.worse", b"[]")
        await asyncio.sleep(1)
        assert await desk.run("search a", "search a") == ("a 3", "a 3")
    await bus.close()
