"""Stored policies: what is refused, what is read, and what one cannot read."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
import structlog
from tests.runtime.policies.desk import Desk, policy_of

from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.directory import Directory
from antiphon.runtime.errors import ConfigurationError, UnknownAgent
from antiphon.runtime.policies.book import BUCKET, PolicyBook
from antiphon.runtime.testing import ManualClock
from antiphon.schemas.policy import Cache, Level

SEARCH = policy_of(Cache(ttl_s=30), "tool search")


@pytest.fixture
async def bus() -> AsyncGenerator[MemoryBus, None]:
    """Where the desk's agents were served once."""
    bus = MemoryBus(MemoryServer())
    directory = await Directory.open(bus, "default")
    for agent in (Desk().desk, Desk().clerk):
        await directory.register(agent.card())
    yield bus
    await bus.close()


@pytest.fixture
async def book(bus: MemoryBus) -> PolicyBook:
    """An empty book."""
    return await PolicyBook.open(bus, await Directory.open(bus, "default"), ManualClock(), "default")


async def test_what_was_set_is_there_with_its_time(book: PolicyBook) -> None:
    """By id; set again it is changed; removed it is gone."""
    stored = await book.set(SEARCH)
    assert stored.since_unix_ms > 0
    assert await book.entries() == [stored] and await book.get("p") == stored
    changed = await book.set(SEARCH.model_copy(update={"level": Level.CANARY}))
    assert await book.entries() == [changed]
    assert await book.remove("p")
    assert not await book.remove("p")
    assert await book.entries() == [] and await book.get("p") is None


async def test_tenants_do_not_see_one_another(bus: MemoryBus, book: PolicyBook) -> None:
    """The bucket is shared, the policies are not; nor do they contradict."""
    other = await PolicyBook.open(bus, await Directory.open(bus, "default"), ManualClock(), "other")
    await other.set(policy_of(Cache(ttl_s=5), "tool search", id="theirs"))
    await book.set(SEARCH)
    assert [policy.id for policy in await book.entries()] == ["p"]


async def test_a_contradiction_is_refused_with_both_ids(book: PolicyBook) -> None:
    """The stored one stays as it is; as a suggestion the other may be kept."""
    stored = await book.set(SEARCH)
    other = policy_of(Cache(ttl_s=5), "tool search", id="q", level=Level.CANARY)
    with pytest.raises(ConfigurationError, match="policies 'q' and 'p' both change cache of 'tool search'"):
        await book.set(other)
    assert await book.entries() == [stored]
    await book.set(other.model_copy(update={"level": Level.SUGGEST}))


async def test_an_unknown_agent_is_refused_and_may_be_put_to_rest(book: PolicyBook, bus: MemoryBus) -> None:
    """A policy whose agent has gone for good can still be set to suggest."""
    gone = policy_of(Cache(ttl_s=5), "tool search", agent="gone")
    with pytest.raises(UnknownAgent, match=r"no agent 'gone' \(known: clerk, desk\)"):
        await book.set(gone)
    await book.set(gone.model_copy(update={"level": Level.SUGGEST}))


@pytest.mark.parametrize(
    "raw",
    [
        b"\xff\x00 not json",
        b"{}",
        b'{"id":"bad","proposal":{"action":{"kind":"teleport"},"target":"tool search"}}',
        SEARCH.model_copy(update={"id": "bad"}).model_dump_json().replace('"reason":""', '"newer":1').encode(),
        policy_of(Cache(ttl_s=1), "desk", id="bad").model_dump_json().encode(),
        SEARCH.model_dump_json().encode(),  # under another's key
    ],
)
async def test_what_cannot_be_read_is_logged_by_id_and_left_out(bus: MemoryBus, book: PolicyBook, raw: bytes) -> None:
    """The others are read, and a new one can be set, also in its place."""
    await book.set(policy_of(Cache(ttl_s=5), "tool count", id="good"))
    bucket = await bus.buckets.open(BUCKET)
    await bucket.put("default.bad", raw)
    with structlog.testing.capture_logs() as said:
        assert [policy.id for policy in await book.entries()] == ["good"]
        async with aclosing(book.watch()) as changes:
            seen = {(await anext(changes)).id: 1 for _ in range(2)}
    assert [line["policy"] for line in said if line["event"] == "policy_unreadable"] == ["bad", "bad"]
    assert seen == {"good": 1, "bad": 1}
    await book.set(SEARCH.model_copy(update={"id": "bad"}))
    assert [policy.id for policy in await book.entries()] == ["bad", "good"]
