"""Frameworks with tasks of their own inside a handler: their operations are the handler's."""

import asyncio

import pytest

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import ForeignTask, HandlerFailed
from antiphon.runtime.patterns.hosted import Desk, hosted
from antiphon.runtime.testing import ScriptedModel, memory_cluster, memory_system, virtual_time
from antiphon.schemas.inference import GenerateRequest

MODEL = "smollm2-135m"


class Text(Message):
    """Some text."""

    text: str


@virtual_time()
async def test_tasks_of_a_framework_hand_their_operations_in() -> None:
    """In the order in which they ask, each with its own answer, though the tasks are not the handler's."""
    agent = Agent("agent")

    @agent.handles
    async def work(message: Text, ctx: Context) -> Text:
        """Ask a model from tasks that ctx did not start."""

        async def framework(desk: Desk) -> str:
            said = (desk.do(lambda word=word: ctx.model.generate(str, word)) for word in ("one", "two"))  # type: ignore[misc]
            return " ".join(await asyncio.gather(*said))

        return Text(text=await hosted(framework))

    model = ScriptedModel(lambda request: f"{request.conversation[-1].text}!")
    async with memory_system(System("s", agents=[agent]), models={MODEL: model}) as client:
        assert (await (await client.submit(work, Text(text=""))).result()).text == "one! two!"
    assert [request.conversation[-1].text for request in model.requests] == ["one", "two"]


@virtual_time()
async def test_what_an_operation_raises_goes_to_who_asked_and_what_the_framework_raises_to_the_handler() -> None:
    """By type; and whoever asks too late is told."""
    agent = Agent("agent", max_attempts=1)
    late: list[BaseException] = []

    @agent.handles
    async def work(message: Text, ctx: Context) -> Text:
        """Let an operation fail, leave a task behind, and fail."""

        async def fail() -> str:
            raise KeyError("nothing here")

        async def straggler(desk: Desk) -> None:
            try:
                await asyncio.sleep(5)
                await desk.do(fail)
            except ForeignTask as error:
                late.append(error)

        async def framework(desk: Desk) -> str:
            left = asyncio.create_task(straggler(desk))
            try:
                await desk.do(fail)
            except KeyError:
                raise ValueError(f"caught, {left.done()}") from None
            return ""

        return Text(text=await hosted(framework))

    async with memory_system(System("s", agents=[agent])) as client:
        with pytest.raises(HandlerFailed, match="ValueError: caught, False"):
            await client.ask(work, Text(text=""))
        await asyncio.sleep(6)
    assert len(late) == 1


@virtual_time()
async def test_a_handler_that_is_stopped_leaves_nobody_waiting() -> None:
    """Not even a task of the framework that nothing else would end: its operation is stopped with the handler."""
    waiting, ended = asyncio.Event(), asyncio.Event()
    tasks: list[asyncio.Task[None]] = []

    async def hang() -> None:
        waiting.set()
        await asyncio.Event().wait()

    async def aside(desk: Desk) -> None:
        try:
            await desk.do(hang)
        finally:
            ended.set()

    async def framework(desk: Desk) -> None:
        tasks.append(asyncio.create_task(aside(desk)))
        await asyncio.Event().wait()

    handler = asyncio.create_task(hosted(framework))
    await waiting.wait()
    handler.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handler
    async with asyncio.timeout(60):
        await ended.wait()


@virtual_time(seeds=range(5))
async def test_a_crash_between_operations_repeats_none_that_was_finished() -> None:
    """Another node runs the framework again, and the journal answers."""
    agent = Agent("agent", lease_s=2.0)
    crashed: list[str] = []

    @agent.handles
    async def work(message: Text, ctx: Context) -> Text:
        """Ask twice, and die in between the first time."""

        async def framework(desk: Desk) -> str:
            first = await asyncio.create_task(desk.do(lambda: ctx.model.generate(str, "one")))
            if not crashed:
                crashed.append(cluster.here)
                await cluster.kill(cluster.here)
            return first + await asyncio.create_task(desk.do(lambda: ctx.model.generate(str, "two")))

        return Text(text=await hosted(framework))

    def say(request: GenerateRequest) -> str:
        return request.conversation[-1].text

    model = ScriptedModel(say)
    async with memory_cluster(System("s", agents=[agent]), models={MODEL: model}, nodes=2, lag_s=0.001) as cluster:
        assert (await (await cluster.client.submit(work, Text(text=""))).result()).text == "onetwo"
    assert [say(request) for request in model.requests] == ["one", "two"]
