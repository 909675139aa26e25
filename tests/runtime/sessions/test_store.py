"""Conversations on the bus: chains that never change, heads that do."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.bus.topology import SESSIONS, ensure_streams
from antiphon.runtime.delivery.bodies import INLINE_MAX
from antiphon.runtime.errors import BusError, Conflict, LeaseLost, MessageTooLarge, SessionExists, UnknownSession
from antiphon.runtime.sessions.store import SessionStore
from antiphon.runtime.testing import ManualClock, MemoryBus, MemoryServer
from antiphon.schemas import subjects
from antiphon.schemas.inference import Role, Turn, turn
from antiphon.schemas.session import MAX_BACK

MAX_BODY = 2_000_000


async def no_fence(newest: str) -> None:
    """Everybody may."""


async def store_on(bus: Bus, tenant: str = "default") -> SessionStore:
    await ensure_streams(bus)
    return SessionStore(bus, ManualClock(unix_s=1), tenant, max_body=MAX_BODY)


def said(text: str) -> tuple[Turn, Turn]:
    return turn(Role.USER, text), turn(Role.ASSISTANT, f"{text}!")


async def append(store: SessionStore, text: str, *, key: str = "ada", since: str | None = None) -> None:
    await store.append("bot", key, said(text), by=f"task:{text}", since=since, fence=no_fence)


async def texts(store: SessionStore, key: str = "ada") -> list[str]:
    """What users said, the oldest first."""
    head = await store.head("bot", key)
    found = [node.turns[0].text async for _, node in store.nodes(head.node if head is not None else "")]
    return found[::-1]


@asynccontextmanager
async def nats(folder: Path) -> AsyncGenerator[Bus, None]:
    async with embedded_server(folder) as server:
        bus = await NatsBus.connect(server.url, server.token)
        try:
            yield bus
        finally:
            await bus.close()


async def test_a_conversation_is_what_was_appended_in_order() -> None:
    """With its counts, and the time of the last append."""
    store = await store_on(MemoryBus(MemoryServer()))
    assert await store.head("bot", "ada") is None
    for text in ("one", "two", "three"):
        await append(store, text)
    assert await texts(store) == ["one", "two", "three"]
    head = await store.head("bot", "ada")
    assert head is not None
    assert (head.turn_count, head.tokens, head.updated_unix_ms) == (6, 6 * 4 + 4 * 1 + 2 * 2, 1000)


async def test_a_long_conversation_is_read_many_nodes_at_a_time() -> None:
    """One request for every MAX_BACK nodes and two: addresses in a node lead to those before it."""
    bus = MemoryBus(MemoryServer())
    store = await store_on(bus)
    for n in range(3 * MAX_BACK + 5):
        await append(store, str(n))
    asked: list[int] = []
    last_of = bus.streams.last_of

    async def counted(wanted: list[str]) -> object:
        asked.append(len(wanted))
        return await last_of(wanted)

    bus.streams.last_of = counted  # type: ignore[method-assign,assignment]  # counts, and passes on
    assert await texts(store) == [str(n) for n in range(3 * MAX_BACK + 5)]
    assert len(asked) == 3 + 2
    assert max(asked) <= MAX_BACK


async def test_an_append_that_is_tried_again_happens_once() -> None:
    """Where an earlier attempt began to look is enough to find what it wrote, whatever was said since."""
    store = await store_on(MemoryBus(MemoryServer()))
    await append(store, "before")
    since = (await store.heads())[0].node
    await append(store, "mine")
    await append(store, "another's")
    await append(store, "mine", since=since)
    assert await texts(store) == ["before", "mine", "another's"]


async def test_one_that_did_not_happen_happens_when_it_is_tried_again() -> None:
    """The earlier attempt died between its look and its write, also in a conversation that had not begun."""
    store = await store_on(MemoryBus(MemoryServer()))
    await append(store, "another's")
    await append(store, "mine", since="")
    assert await texts(store) == ["another's", "mine"]


async def test_a_writer_that_has_lost_its_task_cannot_append() -> None:
    """Stopped by the fence, or behind the fence by whoever was faster."""
    store = await store_on(MemoryBus(MemoryServer()))

    async def closed(newest: str) -> None:
        raise LeaseLost("another worker has it")

    with pytest.raises(LeaseLost):
        await store.append("bot", "ada", said("stale"), by="task:1", since=None, fence=closed)
    assert await store.head("bot", "ada") is None

    passed = 0

    async def overtaken(newest: str) -> None:
        nonlocal passed
        passed += 1
        if passed == 1:  # the task's new owner does the same while this worker stands still behind the fence
            await store.append("bot", "ada", said("mine"), by="task:1", since=newest, fence=no_fence)

    await store.append("bot", "ada", said("mine"), by="task:1", since=None, fence=overtaken)
    assert (passed, await texts(store)) == (1, ["mine"])


@settings(max_examples=20, deadline=None)
@given(writers=st.integers(2, 5), each=st.integers(1, 5))
def test_writers_at_the_same_time_make_one_conversation(writers: int, each: int) -> None:
    """Nothing is lost, nothing is there twice, and each writer's own order is kept."""

    async def main() -> list[str]:
        store = await store_on(MemoryBus(MemoryServer()))

        async def write(name: int) -> None:
            for n in range(each):
                await append(store, f"{name}.{n}")

        await asyncio.gather(*map(write, range(writers)))
        return await texts(store)

    found = asyncio.run(main())
    assert sorted(found) == sorted(f"{name}.{n}" for name in range(writers) for n in range(each))
    for name in range(writers):
        assert [text for text in found if text.startswith(f"{name}.")] == [f"{name}.{n}" for n in range(each)]


async def test_one_who_is_never_fast_enough_is_told() -> None:
    """Not tried for ever."""
    store = await store_on(MemoryBus(MemoryServer()))

    async def overtaken(newest: str) -> None:
        await append(store, f"after {newest}")

    with pytest.raises(Conflict, match=r"agent 'bot' with 'ada' changed 16 times"):
        await store.append("bot", "ada", said("slow"), by="task:slow", since=None, fence=overtaken)


async def test_a_fork_goes_its_own_way() -> None:
    """With all that was said, or up to a node; the conversation it came from stays as it is."""
    store = await store_on(MemoryBus(MemoryServer()))
    for text in ("one", "two", "three"):
        await append(store, text)
    whole = await store.fork("bot", "ada", "whole")
    nodes = [address async for address, _ in store.nodes(whole.node)]
    half = await store.fork("bot", "ada", "half", at=nodes[1][:8])
    assert (whole.turn_count, half.turn_count) == (6, 4)
    await append(store, "another", key="half")
    assert await texts(store, "half") == ["one", "two", "another"]
    assert await texts(store, "whole") == await texts(store) == ["one", "two", "three"]
    assert {head.key for head in await store.heads()} == {"ada", "whole", "half"}


async def test_what_cannot_be_forked_is_said() -> None:
    """No such conversation, no one such node, and a key that has one."""
    store = await store_on(MemoryBus(MemoryServer()))
    with pytest.raises(UnknownSession, match=r"agent 'bot' has no conversation under 'ada': `antiphon session list`"):
        await store.fork("bot", "ada", "eve")
    for n in range(20):
        await append(store, str(n))
    with pytest.raises(UnknownSession, match=r"0 nodes .* begin with 'zz', expected one"):
        await store.fork("bot", "ada", "eve", at="zz")
    digits = [address[0] async for address, _ in store.nodes((await store.heads())[0].node)]
    twice = next(digit for digit in digits if digits.count(digit) > 1)  # there are 20 addresses and 16 digits
    with pytest.raises(UnknownSession, match=rf"nodes .* begin with '{twice}', expected one"):
        await store.fork("bot", "ada", "eve", at=twice)
    with pytest.raises(SessionExists, match="has a conversation under 'ada' already: choose another key"):
        await store.fork("bot", "ada", "ada")


@pytest.mark.parametrize("key", ["", ".", "a.b", "*", ">", "Ä\x00漢 字", "x" * 10_000])
async def test_a_key_may_be_any_text(key: str) -> None:
    """It never becomes part of a subject."""
    store = await store_on(MemoryBus(MemoryServer()))
    await append(store, "hi", key=key)
    assert await texts(store, key) == ["hi"]
    assert [head.key for head in await store.heads()] == [key]


async def test_another_tenant_sees_nothing() -> None:
    """The same agent and key are another conversation; addresses lead nowhere."""
    bus = MemoryBus(MemoryServer())
    mine, other = await store_on(bus), await store_on(bus, "other")
    await append(mine, "secret")
    head = await mine.head("bot", "ada")
    assert head is not None
    assert (await other.head("bot", "ada"), await other.heads()) == (None, [])
    with pytest.raises(UnknownSession):
        await other.fork("bot", "ada", "eve")
    with pytest.raises(BusError, match="is missing"):
        await anext(other.nodes(head.node))


async def test_a_node_that_was_changed_is_noticed() -> None:
    """Its content no longer hashes to its address."""
    bus = MemoryBus(MemoryServer())
    store = await store_on(bus)
    await append(store, "true")
    head = (await store.heads())[0]
    await bus.streams.append(subjects.session_node("default", head.node), b"{}", rollup=True)
    with pytest.raises(BusError, match="is damaged"):
        await texts(store)


async def test_large_turns_travel_as_blobs() -> None:
    """The message is small, the conversation is whole; what is over the limit is refused by name."""
    bus = MemoryBus(MemoryServer())
    store = await store_on(bus)
    await append(store, "x" * (INLINE_MAX + 1))
    await append(store, "short")
    assert [len(text) for text in await texts(store)] == [INLINE_MAX + 1, 5]
    stored = [message async for message in bus.streams.read(SESSIONS.name, "antiphon.default.session.>")]
    assert max(len(message.body) for message in stored) < 1000
    assert len(await bus.blobs.entries()) == 1
    with pytest.raises(MessageTooLarge):
        await append(store, "x" * MAX_BODY)
    assert len(await texts(store)) == 2


@pytest.mark.nats
async def test_on_a_real_server(tmp_path: Path) -> None:
    """Appends, a concurrent one, blobs, a fork and the list."""
    async with nats(tmp_path) as bus:
        store = await store_on(bus)
        await append(store, "x" * (INLINE_MAX + 1))
        await asyncio.gather(*(append(store, str(n)) for n in range(4)))
        for n in range(4, MAX_BACK + 3):
            await append(store, str(n))
        await append(store, "0", since="")
        found = await texts(store)
        assert len(found) == MAX_BACK + 4
        fork = await store.fork("bot", "ada", "eve")
        assert (await texts(store, "eve"), fork.turn_count) == (found, 2 * len(found))
        assert {head.key for head in await store.heads()} == {"ada", "eve"}
