"""Order by key: one at a time and in the order of submission, whatever fails, crashes or waits."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path

import pytest
import structlog.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon import Agent, Context, Handler, Message, System, TaskHandle, remote
from antiphon.runtime.bus.base import Bus
from antiphon.runtime.bus.nats import NatsBus
from antiphon.runtime.bus.server import embedded_server
from antiphon.runtime.bus.topology import TASKS
from antiphon.runtime.client import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.errors import BusError, ConfigurationError, InvalidMessage, NotDurable, TaskDead
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import memory_cluster, memory_system, run_virtual
from antiphon.schemas import subjects
from antiphon.schemas.approval import Approval
from antiphon.schemas.identity import derived_id


class Said(Message):
    """What a user said, in which place; ``fails`` attempts fail first."""

    user: str
    n: int = 0
    fails: int = 0
    wait_s: float = 0.0


class Ledger:
    """What ran, by user, and that no two of a user's ran at once."""

    def __init__(self) -> None:
        self.done: dict[str, list[int]] = defaultdict(list)
        self.running: dict[str, int] = {}

    def agent(self, *, lease_s: float = 2.0, slots: int = 4) -> Agent:
        """A keyed handler that writes into this."""
        chat = Agent("chat", lease_s=lease_s, slots=slots, first_retry_s=0.05, max_retry_s=0.2)

        @chat.handles(key=lambda said: said.user)
        async def say(said: Said, ctx: Context) -> Said:
            """Says it."""
            assert said.user not in self.running, f"{said.user} {said.n} beside {self.running[said.user]}"
            self.running[said.user] = said.n
            try:
                await asyncio.sleep(said.wait_s)
                if ctx.attempt <= said.fails:
                    raise OSError("not yet")
                self.done[ctx.key].append(said.n)
                return said
            finally:
                del self.running[said.user]

        return chat

    def in_order(self) -> dict[str, list[int]]:
        """By user; one that was done again before its end was stored counts once."""
        return {user: [n for n, _ in groupby(numbers)] for user, numbers in self.done.items()}


def say_of(agent: Agent) -> Handler[Said, Said]:
    return agent.handlers["say"]


MESSAGES = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 2), st.sampled_from([0.0, 0.01, 0.5])), min_size=1, max_size=20
)


@settings(max_examples=40, deadline=None)
@given(messages=MESSAGES, kills=st.lists(st.integers(0, 20), max_size=3), seed=st.integers(0, 1000))
def test_messages_of_a_key_run_in_order_through_retries_and_crashes(
    messages: list[tuple[str, int, float]], kills: list[int], seed: int
) -> None:
    """Two nodes, failures, and nodes that are killed and come back: every key sees its own messages in order."""
    ledger = Ledger()

    async def main() -> None:
        agent = ledger.agent()
        say = say_of(agent)
        async with memory_cluster(System("s", agents=[agent]), nodes=2, lag_s=0.002) as cluster:
            tasks = []
            for n, (user, fails, wait_s) in enumerate(messages):
                said = Said(user=user, n=n, fails=fails, wait_s=wait_s)
                tasks.append(await cluster.client.submit(say, said))
                if n in kills:
                    await cluster.kill(f"node-{n % 2}")
                    await cluster.start(f"node-{n % 2}")
            for task in tasks:
                await task.result()

    with structlog.testing.capture_logs():
        run_virtual(main(), seed=seed)
    expected: dict[str, list[int]] = defaultdict(list)
    for n, (user, _, _) in enumerate(messages):
        expected[user].append(n)
    assert ledger.in_order() == expected


async def test_other_keys_go_on_while_one_waits() -> None:
    """A key that waits for a person holds up its lane, not the handler."""
    chat = Agent("chat")

    @chat.handles(key=lambda said: said.user)
    async def say(said: Said, ctx: Context) -> Said:
        if said.user == "slow":
            await ctx.approve(said)
        return said

    others = [user for user in "abcdef" if subjects.key_lane(user) != subjects.key_lane("slow")]
    async with memory_system(System("s", agents=[chat])) as client:
        first = await client.submit(say, Said(user="slow", n=1))
        second = await client.submit(say, Said(user="slow", n=2))
        for user in others:
            assert (await (await client.submit(say, Said(user=user))).result(timeout_s=60)).user == user
        for task in (first, second):
            approval = await asyncio.wait_for(asked(client), 60)
            assert approval.task == task.id
            assert await client.host.parking.get(task.id) is None  # it waits in place
            await client.host.approvals.answer(approval.id, approved=True, by="ada")
            await task.result(timeout_s=60)


async def asked(client: Client) -> Approval:
    """The approval that is open, once there is one."""
    while True:
        for approval in await client.host.approvals.all():
            return approval
        await asyncio.sleep(0.01)


async def test_state_is_kept_per_key() -> None:
    """Each key has its own, and nobody else changes it meanwhile."""
    chat = Agent("chat", slots=16)

    @chat.handles(key=lambda said: said.user)
    async def say(said: Said, ctx: Context) -> Said:
        before = await ctx.state.get("count", Said) or Said(user=said.user)
        await ctx.state.put("count", Said(user=said.user, n=before.n + 1))
        return Said(user=ctx.key, n=before.n + 1)

    async with memory_system(System("s", agents=[chat])) as client:
        tasks = [await client.submit(say, Said(user="ab"[n % 2])) for n in range(10)]
        assert [(await task.result(timeout_s=60)).n for task in tasks] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


async def test_an_ask_is_refused_on_both_sides() -> None:
    """Where the key is known before anything is sent, else by the node; the error names the way."""
    agent = Ledger().agent()
    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(NotDurable, match=r"chat.say is keyed.*ctx.call.*submit"):
            await client.ask(say_of(agent), Said(user="a"))
        with pytest.raises(NotDurable, match=r"chat.say is keyed"):
            await client.ask(remote("chat.say", Said, Said), Said(user="a"))


async def test_what_has_no_key_fails_as_a_task() -> None:
    """A body that is none, a key function that raises, and one that gives no text: nobody behind them waits."""
    chat = Agent("chat", max_attempts=2, first_retry_s=0.01)

    @chat.handles(key=lambda said: {"a": "", "b": 7 // said.n}.get(said.user, "c") if said.n < 2 else "c")
    async def say(said: Said, ctx: Context) -> Said:
        return said

    async with memory_system(System("s", agents=[chat])) as client:
        bus = client.host.bus
        number = await bus.streams.append("antiphon.default.task.chat.say", b'{"user": 3}')
        bare = derived_id(TASKS.name, str(number))
        empty = await client.submit(say, Said(user="a", n=1))
        raising = await client.submit(say, Said(user="b"))
        good = await client.submit(say, Said(user="a", n=3))
        assert (await good.result(timeout_s=60)).n == 3
        with pytest.raises(ConfigurationError, match=r"the key of a message to chat\.say is '', expected a text"):
            await empty.result(timeout_s=60)
        with pytest.raises(TaskDead, match="division"):
            await raising.result(timeout_s=60)
        with pytest.raises(InvalidMessage):
            await TaskHandle(client.host, bare, bare, say).result(timeout_s=60)


async def test_a_keyed_handler_that_calls_itself_is_told() -> None:
    """It would wait for its own end."""
    chat = Agent("chat")

    @chat.handles(key=lambda said: said.user)
    async def say(said: Said, ctx: Context) -> Said:
        return await ctx.call(say, said)

    async with memory_system(System("s", agents=[chat])) as client:
        task = await client.submit(say, Said(user="a"))
        with pytest.raises(ConfigurationError, match="keyed and calls itself"):
            await task.result(timeout_s=60)


@asynccontextmanager
async def node(bus: Bus, name: str, agent: Agent, home: Path) -> AsyncGenerator[Client, None]:
    """A node on a bus of its own."""
    async with open_host(Settings(home=home), node=name, bus=bus) as host, Node(host, [agent], drain_s=0.05):
        yield Client(host)


@pytest.mark.nats
async def test_on_a_real_server_a_node_dies_and_order_stays(tmp_path: Path) -> None:
    """Retries with delay block what is behind them; a node whose connection is cut loses its lanes to the other."""
    ledger = Ledger()
    agent = ledger.agent(lease_s=1.0, slots=8)
    say = say_of(agent)
    messages = [Said(user="abc"[n % 3], n=n, fails=int(n % 4 == 0), wait_s=0.02) for n in range(24)]
    async with embedded_server(tmp_path) as address:
        first, second = [await NatsBus.connect(address.url, address.token) for _ in range(2)]
        async with node(second, "second", agent, tmp_path) as client:
            doomed = node(first, "first", agent, tmp_path)
            await doomed.__aenter__()
            tasks = [await client.submit(say, said) for said in messages[:12]]
            await first.close()  # what it runs goes on, but it can say nothing more
            tasks += [await client.submit(say, said) for said in messages[12:]]
            for task in tasks:
                await task.result(timeout_s=60)
            assert ledger.in_order() == {user: [s.n for s in messages if s.user == user] for user in "abc"}
            with contextlib.suppress(BusError):
                await doomed.__aexit__(None, None, None)
        await second.close()
