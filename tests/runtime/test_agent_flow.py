"""Agents on the in-memory bus: ask, submit, call, publish, gather, group, emit, state, tools."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antiphon import Agent, Context, Done, Message, Progress, Restarted, System, Token, remote, tool
from antiphon.runtime.compose import open_host
from antiphon.runtime.errors import (
    Busy,
    ConfigurationError,
    DeadlineExceeded,
    ForeignTask,
    HandlerFailed,
    InvalidMessage,
    TaskCancelled,
    TaskDead,
    UnknownAgent,
    UnknownHandler,
    UnknownType,
)
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import MemoryBus, MemoryServer, memory_system
from antiphon.schemas.task import TaskState


class Question(Message):
    """A question."""

    text: str


class Draft(Message):
    """A draft."""

    text: str


class Review(Message):
    """A verdict."""

    accepted: bool
    comment: str


class Count(Message):
    """A number."""

    n: int


class Nothing(Message):
    """No content."""


@tool(effect="read", ttl="10m")
async def search_notes(query: str) -> list[str]:
    """Passages that match."""
    return [f"note on {query}"]


def newsroom() -> tuple[System, Any, Any]:
    """The README's system."""
    critic = Agent("critic")
    writer = Agent("writer", tools=[search_notes])

    @critic.handles
    async def review(draft: Draft, ctx: Context) -> Review:
        """Say whether a draft answers well."""
        return await ctx.model.generate(Review, f"Is this a clear answer?\n\n{draft.text}")

    @writer.handles
    async def write(question: Question, ctx: Context) -> Draft:
        """Answer a question from our notes."""
        notes = await ctx.tool(search_notes, question.text)
        draft = await ctx.model.generate(Draft, f"{question.text}\n\nNotes: {notes}")
        verdict = await ctx.call(review, draft)
        return draft if verdict.accepted else Draft(text=f"{draft.text} ({verdict.comment})")

    return System("newsroom", agents=[writer, critic]), write, review


def script() -> ScriptedModel:
    """Answers drafts and reviews by the schema that is asked for."""

    def answer(request: Any) -> str:
        return (
            '{"text": "Rayleigh scattering."}'
            if request.output.name == "Draft"
            else ('{"accepted": false, "comment": "too short"}')
        )

    return ScriptedModel(answer)


async def test_a_task_runs_models_tools_and_peers() -> None:
    """The README's system answers through submit, with the critic's verdict applied."""
    system, write, _ = newsroom()
    async with memory_system(system, models={"smollm2-135m": script()}) as client:
        task = await client.submit(write, Question(text="Why is the sky blue?"))
        assert (await task.result(timeout_s=60)).text == "Rayleigh scattering. (too short)"
        outcome = await task.outcome()
    assert outcome is not None
    assert outcome.state is TaskState.SUCCEEDED


async def test_an_ask_is_answered_and_typed() -> None:
    """A quick request returns the handler's message."""
    system, write, _ = newsroom()
    async with memory_system(system, models={"smollm2-135m": script()}, nodes=2) as client:
        assert isinstance(await client.ask(write, Question(text="Why?"), timeout_s=60), Draft)


async def test_an_idempotency_key_names_one_task() -> None:
    """Submitting twice under one key runs the handler once and gives the same result."""
    agent = Agent("counter")
    runs: list[int] = []

    @agent.handles
    async def count(message: Count, ctx: Context) -> Count:
        runs.append(message.n)
        return Count(n=len(runs))

    async with memory_system(System("s", agents=[agent])) as client:
        first = await client.submit(count, Count(n=1), idempotency_key="k")
        assert (await first.result(timeout_s=60)).n == 1
        second = await client.submit(count, Count(n=1), idempotency_key="k")
        assert second.id == first.id
        assert (await second.result(timeout_s=60)).n == 1
    assert runs == [1]


async def test_unknown_agents_and_handlers_are_named() -> None:
    """The error says what there is instead."""
    system, _, _ = newsroom()
    async with memory_system(system, models={"smollm2-135m": script()}) as client:
        with pytest.raises(UnknownAgent, match="known: critic, writer"):
            await client.ask(remote("nobody.here", Question, Draft), Question(text="?"))
        with pytest.raises(UnknownHandler, match="it has: write"):
            await client.submit(remote("writer.rite", Question, Draft), Question(text="?"))


async def test_a_wrong_message_is_refused_by_type_and_by_shape() -> None:
    """Another type, and a body that does not validate, come back as what they are; the task fails with a letter."""
    system, _, _ = newsroom()
    async with memory_system(system, models={"smollm2-135m": script()}) as client:
        with pytest.raises(UnknownType, match="expected 'Question'"):
            await client.ask(remote("writer.write", Count, Draft), Count(n=1))

        class Wrong(Message, name="Question"):
            words: str

        with pytest.raises(InvalidMessage, match="text: Field required"):
            await client.ask(remote("writer.write", Wrong, Draft), Wrong(words="?"))
        task = await client.submit(remote("writer.write", Wrong, Draft), Wrong(words="?"))
        with pytest.raises(InvalidMessage):
            await task.result(timeout_s=60)
        dead = await client.host.bus.streams.last("antiphon.default.dead.writer")
    assert dead is not None


async def test_a_failing_ask_raises_at_the_caller_with_the_remote_type() -> None:
    """A foreign exception crosses as HandlerFailed that names it."""
    agent = Agent("broken")

    @agent.handles
    async def fail(message: Nothing, ctx: Context) -> Nothing:
        raise ZeroDivisionError("no")

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(HandlerFailed, match="ZeroDivisionError: no") as caught:
            await client.ask(fail, Nothing())
    assert caught.value.details["type"] == "ZeroDivisionError"
    assert caught.value.retryable


async def test_a_task_is_tried_again_and_then_succeeds() -> None:
    """An error that another attempt may mend leads to another attempt, seen as Restarted by a reader."""
    agent = Agent("flaky")

    @agent.handles
    async def work(message: Nothing, ctx: Context) -> Count:
        await ctx.emit(f"attempt {ctx.attempt}")
        if ctx.attempt == 1:
            raise OSError("once")
        return Count(n=ctx.attempt)

    async with memory_system(System("s", agents=[agent])) as client:
        events = [event async for event in client.stream(work, Nothing())]
    assert events == [Token(text="attempt 1"), Restarted(attempt=2), Token(text="attempt 2"), Done(Count(n=2))]


async def test_a_task_whose_every_attempt_fails_is_dead() -> None:
    """The waiter is told so, and the dead letter keeps the original bytes."""
    agent = Agent("doomed", max_attempts=2)

    @agent.handles
    async def work(message: Nothing, ctx: Context) -> Count:
        raise OSError("always")

    async with memory_system(System("s", agents=[agent])) as client:
        task = await client.submit(work, Nothing())
        with pytest.raises(TaskDead, match=r"2 attempts.*OSError: always"):
            await task.result(timeout_s=60)
        letter = await client.host.bus.streams.last("antiphon.default.dead.doomed")
    assert letter is not None
    assert b'"attempts":2' in letter.body


async def test_cancel_stops_a_running_handler_and_a_queued_task() -> None:
    """Both end as cancelled; a task that has ended is not cancelled any more."""
    agent = Agent("slow", slots=1)
    started = asyncio.Event()
    stopped = asyncio.Event()

    @agent.handles
    async def work(message: Nothing, ctx: Context) -> Count:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        return Count(n=0)

    async with memory_system(System("s", agents=[agent])) as client:
        running = await client.submit(work, Nothing())
        await asyncio.wait_for(started.wait(), 60)
        queued = await client.submit(work, Nothing())
        assert await queued.cancel()
        assert await running.cancel()
        await asyncio.wait_for(stopped.wait(), 60)
        for task in (running, queued):
            with pytest.raises(TaskCancelled):
                await task.result(timeout_s=60)
            assert not await task.cancel()


async def test_a_deadline_stops_the_handler_and_tells_the_caller() -> None:
    """Ask and task both end when the time the caller gave has passed."""
    agent = Agent("slow")
    stopped: list[str] = []

    @agent.handles
    async def work(message: Nothing, ctx: Context) -> Count:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(ctx.task_id or "ask")
        return Count(n=0)

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(DeadlineExceeded):
            await client.ask(work, Nothing(), timeout_s=0.2)
        task = await client.submit(work, Nothing(), timeout_s=0.2)
        with pytest.raises(DeadlineExceeded):
            await task.result(timeout_s=60)
    assert sorted(stopped) == sorted(["ask", task.id])


async def test_a_full_mailbox_answers_busy() -> None:
    """One runs, one waits, the third is refused at once."""
    agent = Agent("small", slots=1, mailbox=1)
    release = asyncio.Event()

    @agent.handles
    async def work(message: Nothing, ctx: Context) -> Nothing:
        await release.wait()
        return Nothing()

    async with memory_system(System("s", agents=[agent])) as client:
        asks = [asyncio.create_task(client.ask(work, Nothing(), timeout_s=60)) for _ in range(3)]
        done, _ = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
        assert isinstance(done.pop().exception(), Busy)
        release.set()
        results = await asyncio.gather(*asks, return_exceptions=True)
    assert sum(isinstance(result, Nothing) for result in results) == 2


async def test_events_reach_every_subscribing_agent_once() -> None:
    """Replicas share a topic's events, different agents each get them."""
    seen: list[tuple[str, int]] = []
    both = asyncio.Event()

    def subscriber(name: str) -> Agent:
        agent = Agent(name)

        @agent.on("counts.new")
        async def heard(message: Count, ctx: Context) -> None:
            seen.append((name, message.n))
            if len(seen) == 2:
                both.set()

        return agent

    async with memory_system(System("s", agents=[subscriber("a"), subscriber("b")]), nodes=2) as client:
        await client.publish("counts.new", Count(n=7))
        await asyncio.wait_for(both.wait(), 60)
    assert sorted(seen) == [("a", 7), ("b", 7)]


async def test_gather_keeps_order_and_numbers() -> None:
    """Results come in order, and branches number their own operations whatever the scheduling."""
    agent = Agent("fan")
    paths: list[str] = []

    @agent.handles
    async def double(message: Count, ctx: Context) -> Count:
        return Count(n=message.n * 2)

    @agent.handles
    async def fan(message: Count, ctx: Context) -> Count:
        async def branch(n: int) -> int:
            operation = ctx.ask(double, Count(n=n))
            first = await operation
            return (await ctx.ask(double, first)).n

        found = await ctx.gather(*(branch(n) for n in range(message.n)))
        return Count(n=sum(found))

    def collect(batch: Any) -> None:
        paths.extend(
            span.attributes["antiphon.path"]
            for span in batch.spans
            if span.end_ns and span.attributes.get("antiphon.agent") == "fan" and "antiphon.path" in span.attributes
        )

    async with memory_system(System("s", agents=[agent]), spans=collect) as client:
        assert (await client.ask(fan, Count(n=3))).n == 12
    assert sorted(paths) == ["1.a.1", "1.a.2", "1.b.1", "1.b.2", "1.c.1", "1.c.2"]


async def test_a_failing_branch_cancels_the_others() -> None:
    """gather raises the first error after the other branches have ended."""
    agent = Agent("fan")
    cancelled = asyncio.Event()

    @agent.handles
    async def fan(message: Nothing, ctx: Context) -> Nothing:
        async def waits() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async def fails() -> None:
            raise InvalidMessage("bad branch")

        await ctx.gather(waits(), fails())
        return Nothing()

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(InvalidMessage, match="bad branch"):
            await client.ask(fan, Nothing())
    assert cancelled.is_set()


async def test_a_group_leaves_at_its_quorum() -> None:
    """Two of three answers are enough; the third is cancelled and says so."""
    agent = Agent("vote")

    @agent.handles
    async def vote(message: Count, ctx: Context) -> Count:
        if message.n == 2:
            await asyncio.Event().wait()
        return message

    @agent.handles
    async def poll(message: Nothing, ctx: Context) -> Count:
        async with ctx.group(quorum=2) as group:
            for n in range(3):
                group.ask(vote, Count(n=n))
        assert [outcome.cancelled for outcome in group.outcomes] == [False, False, True]
        return Count(n=len(group.values))

    async with memory_system(System("s", agents=[agent]), drain_s=0.1) as client:
        assert (await client.ask(poll, Nothing())).n == 2


async def test_ctx_from_a_foreign_task_is_refused() -> None:
    """asyncio.create_task around ctx operations raises, and says what to use."""
    agent = Agent("foreign")

    @agent.handles
    async def work(message: Nothing, ctx: Context) -> Nothing:
        async def inside() -> None:
            await ctx.publish("x", message)

        await asyncio.create_task(inside())
        return Nothing()

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(ForeignTask, match=r"ctx\.gather"):
            await client.ask(work, Nothing())


async def test_state_is_shared_and_updates_do_not_get_lost() -> None:
    """Concurrent updates from two nodes all count."""
    agent = Agent("tally")

    @agent.handles
    async def add(message: Count, ctx: Context) -> Count:
        return await ctx.state.update("total", Count, lambda old: Count(n=(old.n if old else 0) + message.n))

    @agent.handles
    async def read(message: Nothing, ctx: Context) -> Count:
        return await ctx.state.get("total", Count) or Count(n=0)

    async with memory_system(System("s", agents=[agent]), nodes=2) as client:
        assert (await client.ask(read, Nothing())).n == 0
        await asyncio.gather(*(client.ask(add, Count(n=1)) for _ in range(5)))
        assert (await client.ask(read, Nothing())).n == 5


async def test_progress_and_tokens_stream_before_the_result() -> None:
    """emit shows text as Token and messages as Progress, in order, and the result comes last."""
    agent = Agent("chat")

    @agent.handles
    async def chat(message: Nothing, ctx: Context) -> Draft:
        await ctx.emit({"step": 1})
        text = await ctx.model.generate(str, "say it", emit=True)
        return Draft(text=text)

    async with memory_system(
        System("s", agents=[agent]), models={"smollm2-135m": ScriptedModel(["one two"])}
    ) as client:
        events = [event async for event in client.stream(chat, Nothing())]
    assert events[0] == Progress(value={"step": 1})
    assert "".join(event.text for event in events if isinstance(event, Token)) == "one two"
    assert events[-1] == Done(Draft(text="one two"))


async def test_a_killed_worker_s_task_is_taken_over(tmp_path: Path) -> None:
    """A node that vanishes without a word loses its lease, and another finishes the task."""
    agent = Agent("relay", lease_s=1.0)
    attempts: list[int] = []
    first = asyncio.Event()

    @agent.handles
    async def work(message: Nothing, ctx: Context) -> Count:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            first.set()
            await asyncio.Event().wait()
        return Count(n=ctx.attempt)

    server = MemoryServer()
    doomed = MemoryBus(server)
    system = System("s", agents=[agent])
    async with open_host(Settings(home=tmp_path), node="doomed", bus=doomed) as host:
        node = await Node(host, system.agents, drain_s=0.0).__aenter__()
        async with memory_system(System("other", agents=[Agent("other")]), server=server) as client:
            task = await client.submit(work, Nothing())
            await asyncio.wait_for(first.wait(), 60)
            await doomed.close()  # as SIGKILL would: no ack, no heartbeat, nothing withdrawn
            async with memory_system(system, server=server):
                assert (await task.result(timeout_s=60)).n == 2
        await node.__aexit__(None, None, None)
    assert attempts == [1, 2]


def not_async(message: Nothing, ctx: Context) -> Nothing:
    """A handler that forgot async."""
    return message


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (lambda: Agent("Bad Name"), "expected 1 to 64 characters"),
        (lambda: Agent("a", slots=0), "slots is 0"),
        (lambda: Agent("a").handles(not_async), "async"),  # type: ignore[arg-type]
        (lambda: tool(effect="maybe"), "expected pure, read or write"),
        (lambda: tool(effect="read", ttl="soon"), "ttl is 'soon'"),
        (lambda: tool(ttl="1m"), "has no ttl"),
        (lambda: System("s", agents=[]), "no agents"),
        (lambda: System("s", agents=[Agent("a"), Agent("a")]), "two agents called 'a'"),
    ],
)
def test_wrong_definitions_are_explained(define: Callable[[], object], says: str) -> None:
    """A definition that cannot work is refused where it is made."""
    with pytest.raises(ConfigurationError, match=says):
        define()
