"""Who is alive and what they serve."""

import json
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.aio.client import Client as Outside
from pydantic import SecretStr

from antiphon import Agent, Client, Context, Message
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.compose import open_host
from antiphon.runtime.directory import KEEP, LEASE_S, REMEMBER_S, RENEW_S, Directory
from antiphon.runtime.errors import ConfigurationError, UnknownAgent, UnknownHandler, VersionMismatch
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import ManualClock, MemoryBus, MemoryServer
from antiphon.schemas.identity import Address
from antiphon.schemas.node import NodeCard


class Nothing(Message):
    """No content."""


def agent(name: str = "writer", version: str = "1") -> Agent:
    """An agent with one handler."""
    found = Agent(name, version=version)

    @found.handles
    async def write(message: Nothing, ctx: Context) -> Nothing:
        return message

    return found


def renamed(version: str) -> Agent:
    """A version of the agent whose handler has another name."""
    found = Agent("writer", version=version)

    @found.handles
    async def compose(message: Nothing, ctx: Context) -> Nothing:
        return message

    @found.handles(key=lambda message: "k")
    async def chat(message: Nothing, ctx: Context) -> Nothing:
        return message

    return found


def card(node: str, *agents: Agent) -> NodeCard:
    """A node that has just started."""
    versions = tuple(f"{agent.name}@{agent.version}" for agent in agents)
    return NodeCard(node=node, kind="node", host="h", pid=1, version="0", versions=versions, started_unix_ms=1)


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


async def test_versions_lie_side_by_side(directory: Directory) -> None:
    """What is served is what lives; when nothing does, what was there last."""
    old, new = agent(), renamed("2")
    for each in (old, new):
        await directory.register(each.card())
    assert [found.version for found in await directory.agents()] == ["2"]
    await directory.announce(card("a", old))
    assert [found.version for found in await directory.agents()] == ["1"]
    await directory.announce(card("b", new))
    assert [found.version for found in await directory.agents()] == ["1", "2"]
    assert await directory.versions("writer") == ["1", "2"]
    assert await directory.version_with(Address("writer", "compose")) == "2"
    assert await directory.version_with(Address("writer", "write")) == "1"
    assert await directory.version_with(Address("writer", "rite")) is None
    error = await directory.nobody(Address("writer", "rite"), durable=True)
    assert "it has: chat, compose, write" in error.message
    await directory.withdraw("a")
    assert [found.version for found in await directory.agents()] == ["2"]
    await directory.withdraw("b")
    assert (await directory.find("writer")) == new.card()


async def test_a_version_is_checked_with_its_handlers(directory: Directory) -> None:
    """It lives, has the handler, and that has no order of its own."""
    old, new = agent(), renamed("2.0-rc_1")
    for each in (old, new):
        await directory.register(each.card())
        await directory.announce(card(f"node-{each.version[0]}", each))
    await directory.check_version(Address("writer", "write"), "1")
    await directory.check_version(Address("writer", "compose"), "2.0-rc_1")
    with pytest.raises(VersionMismatch, match=r"in version '2' \(versions alive: 2\.0-rc_1\)"):
        await directory.check_version(Address("writer", "compose"), "2")
    with pytest.raises(VersionMismatch, match=r"writer\.write in version '2\.0-rc_1' \(versions alive: 1\)"):
        await directory.check_version(Address("writer", "write"), "2.0-rc_1")
    with pytest.raises(ConfigurationError, match="is keyed"):
        await directory.check_version(Address("writer", "chat"), "2.0-rc_1")


async def test_a_handler_that_disappeared_is_forgotten() -> None:
    """A yes is remembered for some seconds, not for ever."""
    bus, clock = MemoryBus(MemoryServer()), ManualClock()
    buckets = bus.buckets
    directory = Directory(await buckets.open("nodes"), await buckets.open("agents"), "default", clock)
    await directory.register(agent().card())
    assert await directory.serves(Address("writer", "write"))
    await directory.register(renamed("2").card())
    assert await directory.serves(Address("writer", "write"))
    clock.advance(REMEMBER_S)
    assert not await directory.serves(Address("writer", "write"))
    assert await directory.serves(Address("writer", "compose"))


async def test_old_versions_are_not_kept_for_ever(directory: Directory) -> None:
    """The newest by registration stay; another agent's do not count."""
    await directory.register(agent("critic").card())
    versions = [f"1.{number}" for number in range(KEEP + 3)]
    for version in versions:
        await directory.register(agent(version=version).card())
    await directory.announce(card("a", *(agent(version=version) for version in versions)))
    assert [found.version for found in await directory.agents()] == ["1", *versions[3:]]


@pytest.mark.nats
async def test_any_client_discovers_agents_by_the_services_protocol(tmp_path: Path) -> None:
    """nats-py alone: who is there, in which versions, what they take and return, where durable work goes, figures."""
    old, new = agent(), renamed("2.0-rc_1")
    async with embedded_server(tmp_path) as address:
        outside = await nats.connect(address.url, token=address.token)
        async with AsyncExitStack() as stack:
            for each, name in ((old, "one"), (new, "two")):
                settings = Settings(home=tmp_path, nats_url=address.url, nats_token=SecretStr(address.token))
                host = await stack.enter_async_context(open_host(settings, node=name))
                await stack.enter_async_context(Node(host, [each]))
            await Client(host).ask(old.handlers["write"], Nothing())
            pings = await gathered(outside, "$SRV.PING", 2)
            assert {(ping["name"], ping["id"], ping["metadata"]["version"]) for ping in pings} == {
                ("writer", "one", "1"),
                ("writer", "two", "2.0-rc_1"),
            }
            info = json.loads((await outside.request("$SRV.INFO.writer.two", timeout=60)).data)
            endpoints = {each["name"]: each for each in info["endpoints"]}
            assert endpoints["compose"]["subject"] == "antiphon.default.ask.writer.compose"
            assert endpoints["chat"]["metadata"] == {
                "task_subject": "antiphon.default.task.writer.chat",
                "input": "Nothing@1",
                "output": "Nothing@1",
                "keyed": "true",
            }
            stats = await gathered(outside, "$SRV.STATS.writer", 2)
            requests = {
                (each["id"], endpoint["name"]): endpoint["num_requests"]
                for each in stats
                for endpoint in each["endpoints"]
            }
            assert requests == {("one", "write"): 1, ("two", "compose"): 0, ("two", "chat"): 0}
            task = await outside.jetstream().publish(endpoints["compose"]["metadata"]["task_subject"], b"{}")
            assert task.stream == "ANTIPHON_TASKS"
        await outside.close()


async def gathered(client: Outside, subject: str, count: int) -> list[dict[str, Any]]:
    """So many answers to one request."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    await client.publish(subject, reply=inbox)
    return [json.loads((await answers.next_msg(60)).data) for _ in range(count)]
