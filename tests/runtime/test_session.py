"""``ctx.session``: conversations that survive crashes, replays and several devices."""

import asyncio
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import structlog.testing

from antiphon import Agent, Client, Context, Handler, Message, System
from antiphon.runtime.bus.memory import MemoryStreams
from antiphon.runtime.bus.memory_streams import MemoryLease
from antiphon.runtime.delivery.journal import read_history
from antiphon.runtime.errors import ConfigurationError, LeaseLost
from antiphon.runtime.sessions.store import SessionStore
from antiphon.runtime.sessions.window import Window
from antiphon.runtime.settings import Settings
from antiphon.runtime.telemetry import attributes as names
from antiphon.runtime.testing import (
    MemoryServer,
    ScriptedModel,
    memory_cluster,
    memory_system,
    run_virtual,
    virtual_time,
)
from antiphon.schemas.inference import GenerateRequest, Role, turn
from antiphon.schemas.telemetry import TelemetryBatch


class Say(Message):
    """Something that somebody says."""

    user: str
    text: str


class Reply(Message):
    """What the agent says to it."""

    text: str


def heard(request: GenerateRequest) -> str:
    """A reply that tells what the prompt was."""
    return "+".join(found.text for found in request.conversation)


def chat(window: Window | None = None) -> tuple[System, Handler[Say, Reply]]:
    bot = Agent("bot", model="m", lease_s=2.0)

    @bot.handles(key=lambda said: said.user)
    async def say(said: Say, ctx: Context) -> Reply:
        session = ctx.session if window is None else ctx.session.windowed(window)
        return Reply(text=await ctx.model.generate(str, said.text, session=session))

    return System("s", agents=[bot]), say


async def tell(client: Client, say: Handler[Say, Reply], text: str, user: str = "ada") -> str:
    return (await (await client.submit(say, Say(user=user, text=text))).result(timeout_s=60)).text


async def conversation(client: Client, key: str = "ada", agent: str = "bot") -> list[str]:
    """All that was said, summaries in brackets."""
    store = SessionStore.of(client.host)
    head = await store.head(agent, key)
    nodes = [node async for _, node in store.nodes(head.node if head is not None else "")]
    return [f"[{one.text}]" if node.covers else one.text for node in nodes[::-1] for one in node.turns]


async def test_the_second_prompt_has_the_first_turn() -> None:
    """Keys do not see one another; earlier turns are marked as history for the logging agent."""
    system, say = chat()
    model = ScriptedModel(heard)
    async with memory_system(system, models={"m": model}) as client:
        assert await tell(client, say, "one") == "one"
        assert await tell(client, say, "eve's", user="eve") == "eve's"
        assert await tell(client, say, "two") == "one+one+two"
        assert await conversation(client) == ["one", "one", "two", "one+one+two"]
    assert [found.segment for found in model.requests[-1].conversation] == ["history", "history", "user"]


async def test_a_handler_without_key_has_no_session() -> None:
    """Said with what to do, in an ask and in durable work."""
    bot = Agent("bot")

    @bot.handles
    async def say(said: Say, ctx: Context) -> Reply:
        await ctx.session.history()
        return Reply(text="")

    async with memory_system(System("s", agents=[bot])) as client:
        for work in (client.ask(say, Say(user="a", text="")), tell(client, say, "")):
            with pytest.raises(ConfigurationError, match=r"without key: declare it with @agent\.handles\(key="):
                await work


async def test_all_keyed_handlers_of_an_agent_share_the_conversation() -> None:
    """And what a handler appends by itself is there for the model of another."""
    bot = Agent("bot", model="m")

    @bot.handles(key=lambda said: said.user)
    async def note(said: Say, ctx: Context) -> Reply:
        with pytest.raises(ConfigurationError, match="without turns"):
            await ctx.session.append()
        await ctx.session.append(turn(Role.USER, said.text), turn(Role.ASSISTANT, "noted"))
        return Reply(text="")

    @bot.handles(key=lambda said: said.user)
    async def read(said: Say, ctx: Context) -> Reply:
        return Reply(text=" ".join(found.text for found in await ctx.session.history()))

    async with memory_system(System("s", agents=[bot])) as client:
        await tell(client, note, "milk")
        assert await tell(client, read, "") == "milk noted"


async def test_state_is_kept_by_key_where_there_is_one() -> None:
    """A keyed handler sees what was put under its own key; a plain one what the agent keeps for all."""
    bot = Agent("bot")

    async def swap(said: Say, ctx: Context) -> Reply:
        old = await ctx.state.get("last", Reply)
        await ctx.state.put("last", Reply(text=said.text))
        return old or Reply(text="nothing")

    @bot.handles(key=lambda said: said.user)
    async def keyed(said: Say, ctx: Context) -> Reply:
        return await swap(said, ctx)

    @bot.handles
    async def plain(said: Say, ctx: Context) -> Reply:
        return await swap(said, ctx)

    async with memory_system(System("s", agents=[bot])) as client:
        found = [
            await tell(client, handler, text, user)
            for handler, text, user in (
                (keyed, "ada's", "ada"),
                (keyed, "eve's", "eve"),
                (plain, "all's", "ada"),
                (keyed, "-", "ada"),
                (keyed, "-", "eve"),
                (plain, "-", "eve"),
            )
        ]
    assert found == ["nothing"] * 3 + ["ada's", "eve's", "all's"]


async def test_the_journal_has_an_address_and_not_the_conversation() -> None:
    """However long it is: the entry of ``history`` is as small as that of an empty one."""
    bot = Agent("bot")
    tasks: list[str] = []

    @bot.handles(key=lambda said: said.user)
    async def say(said: Say, ctx: Context) -> Reply:
        tasks.append(ctx.task_id)
        await ctx.session.history()
        await ctx.session.append(turn(Role.USER, said.text))
        return Reply(text="")

    async with memory_system(System("s", agents=[bot])) as client:
        for _ in range(20):
            await tell(client, say, "x" * 1000)
        journal, _ = await read_history(client.host.bus, "default", tasks[-1])
    values = {entry.path: entry.value for entry in journal.all if entry.operation == "state"}
    assert len(values["1"]) == 34
    assert values["2"] == b""


async def test_what_a_prompt_was_made_of_is_known() -> None:
    """The history is a cause of the model call, though the journal has only its address."""
    system, say = chat()
    batches: list[TelemetryBatch] = []
    async with memory_system(system, models={"m": ScriptedModel(heard)}, spans=batches.append) as client:
        await tell(client, say, "the first thing that was ever said")
        await tell(client, say, "two")
    spans = [span for batch in batches for span in batch.spans if span.end_ns]
    histories = {span.span_id.hex() for span in spans if "session.history" in span.name}
    last = [span.attributes[names.CAUSES] for span in spans if span.name == "chat m"][-1]
    assert len(set(last) & histories) == 1


def test_a_crash_at_any_append_to_the_bus_changes_nothing() -> None:
    """Before or after each message that the node stores: the same conversation, nothing lost, nothing there twice."""
    expected = ["one", "one", "two", "one+one+two"]
    survived = 0
    for cut in range(100):
        for after in (False, True):
            done, killed = run_virtual(_conversation_with_crash(cut, after=after), seed=cut)
            assert done == expected, f"killed at append {cut}, {after=}"
            survived += killed
        if not killed:
            break
    assert survived > 20


async def _conversation_with_crash(cut: int, *, after: bool) -> tuple[list[str], bool]:
    system, say = chat()
    count, killed = -1, False
    real = MemoryStreams.append

    async def counted(streams: MemoryStreams, *args: Any, **kwargs: Any) -> int:
        nonlocal count, killed
        here = cluster.here
        count += here.startswith("node")
        is_now = here.startswith("node") and count == cut
        killed |= is_now
        if is_now and not after:
            await cluster.kill(here)
        sequence = await real(streams, *args, **kwargs)
        if is_now and after:
            await cluster.kill(here)
        return sequence

    models = {"m": ScriptedModel(heard)}
    with structlog.testing.capture_logs():
        async with memory_cluster(system, models=models, nodes=2) as cluster:
            with mock.patch.object(MemoryStreams, "append", counted):
                for text in ("one", "two"):
                    await tell(cluster.client, say, text)
            return await conversation(cluster.client), killed


@virtual_time(seeds=range(3))
async def test_a_worker_that_was_taken_for_dead_cannot_append() -> None:
    """It stands still before its append until others have done the task and the next; the task is not its own then."""
    system, say = chat()
    late: list[asyncio.Task[None]] = []
    arrived, goes_on = asyncio.Event(), asyncio.Event()
    real, extend = SessionStore.append, MemoryLease.extend

    async def slow(store: SessionStore, *args: Any, **kwargs: Any) -> None:
        async def still() -> None:
            if cluster.here == "node-0":
                arrived.set()
                await goes_on.wait()
            await real(store, *args, **kwargs)

        late.append(asyncio.create_task(still()))  # a process that stands still is not even told to stop
        await asyncio.shield(late[-1])

    async def deaf(lease: MemoryLease) -> None:
        if cluster.here != "node-0":
            await extend(lease)

    with (
        structlog.testing.capture_logs(),
        mock.patch.object(SessionStore, "append", slow),
        mock.patch.object(MemoryLease, "extend", deaf),
    ):
        async with memory_cluster(system, models={"m": ScriptedModel(heard)}, nodes=1) as cluster:
            first = asyncio.create_task(tell(cluster.client, say, "one"))
            await arrived.wait()
            await cluster.start("node-1")
            assert await first == "one"
            assert await tell(cluster.client, say, "two") == "one+one+two"
            goes_on.set()
            with pytest.raises(LeaseLost, match="was taken over by another worker; this one stops"):
                await late[0]
            assert await conversation(cluster.client) == ["one", "one", "two", "one+one+two"]


@virtual_time(seeds=range(3))
async def test_two_devices_in_one_conversation() -> None:
    """Clients that write the same key at once make one conversation: nothing lost, each prompt has all before it."""
    system, say = chat(Window(tokens=100_000))
    model = ScriptedModel(lambda request: f"reply {len(request.conversation)}")
    async with memory_cluster(system, models={"m": model}, nodes=2, lag_s=0.01) as cluster:

        async def device(name: str) -> None:
            tasks = [await cluster.client.submit(say, Say(user="ada", text=f"{name} {n}")) for n in range(5)]
            for task in tasks:
                await task.result()

        await asyncio.gather(device("phone"), device("laptop"))
        said = await conversation(cluster.client)
    assert said[1::2] == [f"reply {n}" for n in range(1, 20, 2)]
    for name in ("phone", "laptop"):
        assert [text for text in said[::2] if text.startswith(name)] == [f"{name} {n}" for n in range(5)]


async def test_another_tenant_s_key_is_another_conversation(tmp_path: Path) -> None:
    """On the same bus, with the same agents and the same key."""
    system, say = chat()
    server = MemoryServer()
    for tenant in ("default", "other"):
        settings = Settings(tenant=tenant, home=tmp_path)
        models = {"m": ScriptedModel(heard)}
        async with memory_system(system, models=models, server=server, settings=settings) as client:
            assert await tell(client, say, "one") == "one"
            assert [head.turn_count for head in await SessionStore.of(client.host).heads()] == [2]


async def test_what_runs_over_is_summed_up_once() -> None:
    """The summary is kept with the conversation and shown first; what is newer follows. Nothing is summed up twice."""
    system, say = chat(Window(tokens=256, summarise=True))
    asked: list[str] = []

    def script(request: GenerateRequest) -> str:
        prompt = request.conversation[-1].text
        if prompt.startswith("Sum up this conversation"):
            asked.append(prompt)
            return f"summary {len(asked)}"
        return "ok"

    model = ScriptedModel(script)
    async with memory_system(system, models={"m": model}) as client:
        for n in range(12):
            await tell(client, say, f"{n} " + "word " * 40)
        said = await conversation(client)
    assert len(asked) == 4
    assert "What was said before that: summary 1" in asked[1]
    assert [text for text in said if text.startswith("[summary")] == [f"[summary {n}]" for n in (1, 2, 3, 4)]
    assert [text.split()[0] for text in said if "word" in text] == [str(n) for n in range(12)]  # nothing is gone
    shown = [found.text.split()[0] for found in model.requests[-1].conversation]
    last = max(int(line.split()[1]) for line in asked[-1].splitlines() if line.startswith("user: "))
    assert shown == ["Sum", "summary", *(word for n in range(last + 1, 11) for word in (str(n), "ok")), "11"]
    assert [found.segment for found in model.requests[-1].conversation[:3]] == ["summary", "summary", "history"]


async def test_a_long_conversation_without_summaries_may_begin_to_have_them() -> None:
    """What is far back is not read: a prompt for a summary has no more than the newest part."""
    system, say = chat(Window(tokens=256, summarise=True))
    model = ScriptedModel(lambda request: "ok")
    async with memory_system(system, models={"m": model}) as client:
        store = SessionStore.of(client.host)

        async def nobody(newest: str) -> None:
            """No fence."""

        for n in range(50):
            turns = (turn(Role.USER, f"{n} " + "word " * 40), turn(Role.ASSISTANT, "ok"))
            await store.append("bot", "ada", turns, by=str(n), since=None, fence=nobody)
        await tell(client, say, "and now?")
    assert len(model.requests) == 2
    assert len(model.requests[0].conversation[0].text) < 2_000
    assert all(f"\nuser: {n} " not in model.requests[0].conversation[0].text for n in range(40))
