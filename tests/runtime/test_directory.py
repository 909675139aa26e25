"""Who is alive and what they serve."""

import pytest

from antiphon import Agent, Context, Message
from antiphon.runtime.directory import LEASE_S, RENEW_S, Directory
from antiphon.runtime.errors import UnknownAgent, UnknownHandler
from antiphon.runtime.testing import MemoryBus, MemoryServer
from antiphon.schemas.identity import Address
from antiphon.schemas.node import NodeCard


class Nothing(Message):
    """No content."""


def agent(name: str = "writer") -> Agent:
    """An agent with one handler."""
    found = Agent(name)

    @found.handles
    async def write(message: Nothing, ctx: Context) -> Nothing:
        return message

    return found


def card(node: str) -> NodeCard:
    """A node that has just started."""
    return NodeCard(node=node, kind="node", host="h", pid=1, version="0", started_unix_ms=1)


@pytest.fixture
async def directory() -> Directory:
    """The default tenant's, on a bus of its own."""
    return await Directory.open(MemoryBus(MemoryServer()), "default")


async def test_nodes_come_and_go(directory: Directory) -> None:
    """Announced, listed, withdrawn; a lease outlives two missed renewals."""
    await directory.announce(card("a"))
    await directory.announce(card("b"))
    await directory.withdraw("a")
    assert [found.node for found in await directory.nodes()] == ["b"]
    assert LEASE_S > 3 * RENEW_S


async def test_an_agent_s_card_stays_when_its_nodes_are_gone(directory: Directory) -> None:
    """Work for it can still be stored."""
    await directory.register(agent().card())
    found = await directory.find("writer")
    assert found is not None
    assert [handler.input.name for handler in found.handlers] == ["Nothing"]
    assert await directory.serves(Address("writer", "write"))
    assert not await directory.serves(Address("writer", "rite"))
    assert not await directory.serves(Address("riter", "write"))


async def test_a_no_is_asked_again(directory: Directory) -> None:
    """An agent that starts later is found by a client that asked too early."""
    assert not await directory.serves(Address("writer", "write"))
    await directory.register(agent().card())
    assert await directory.serves(Address("writer", "write"))


async def test_tenants_do_not_see_one_another() -> None:
    """Same bus, other tenant: nothing; a tenant whose name begins alike neither."""
    bus = MemoryBus(MemoryServer())
    ours, theirs = await Directory.open(bus, "acme"), await Directory.open(bus, "acme-2")
    await theirs.register(agent().card())
    await theirs.announce(card("a"))
    assert (await ours.agents(), await ours.nodes(), await ours.find("writer")) == ([], [], None)


async def test_an_address_that_nobody_answers_is_explained(directory: Directory) -> None:
    """What there is instead, and what to do."""
    assert "known: none yet" in (await directory.nobody(Address("writer", "write"), durable=True)).message
    await directory.register(agent().card())
    await directory.register(agent("critic").card())
    unknown = await directory.nobody(Address("riter", "write"), durable=True)
    assert isinstance(unknown, UnknownAgent)
    assert "known: critic, writer" in unknown.message
    missing = await directory.nobody(Address("writer", "rite"), durable=False)
    assert isinstance(missing, UnknownHandler)
    assert "it has: write" in missing.message
    asleep = await directory.nobody(Address("writer", "write"), durable=False)
    assert isinstance(asleep, UnknownAgent)
    assert "a durable task" in asleep.message
