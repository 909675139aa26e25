"""The contract of the model seam: what ``runtime/models/base.py`` promises, of every adapter."""

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing
from typing import Any

import pytest

from antiphon.runtime.errors import ContextTooLong, InvalidRequest, ModelUnavailable
from antiphon.runtime.models.structured import collect, message_of, output_schema
from antiphon.schemas.inference import (
    Chunk,
    EmbedRequest,
    Finish,
    FinishReason,
    GenerateRequest,
    Role,
    TextChunk,
    ToolCall,
    ToolResult,
    Turn,
)
from antiphon.schemas.message import Message

Ask = Callable[..., GenerateRequest]
Subject = Any  # tests.contract.models.conftest.Subject, which importlib mode cannot import


async def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    """Wait until ``condition`` holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - counters of doubles, which announce nothing
            await asyncio.sleep(0.005)


async def test_chunks_come_before_exactly_one_finish(subject: Subject, ask: Ask) -> None:
    """Text as it comes, then the one Finish with counts, then nothing."""
    async with aclosing(subject.model.generate(ask())) as stream:
        chunks: list[Chunk] = [chunk async for chunk in stream]
    assert [type(chunk) for chunk in chunks] == [*[TextChunk] * (len(chunks) - 1), Finish]
    finish = chunks[-1]
    assert isinstance(finish, Finish)
    assert finish.usage.input_tokens > 0
    assert 0 < finish.usage.output_tokens <= 16
    assert finish.model


async def test_max_tokens_bounds_the_output(subject: Subject, ask: Ask) -> None:
    """A reply that would be longer stops at max_tokens and says so."""
    reply = await collect(subject.model.generate(ask(max_tokens=5)))
    assert reply.finish.reason is FinishReason.LENGTH
    assert reply.finish.usage.output_tokens == 5


async def test_temperature_zero_repeats_itself(subject: Subject, ask: Ask) -> None:
    """The same greedy request gives the same text."""
    first = await collect(subject.model.generate(ask()))
    assert (await collect(subject.model.generate(ask()))).text == first.text


async def test_a_stop_string_ends_the_text_before_it(subject: Subject, ask: Ask) -> None:
    """The reply is what comes before the first stop string, wherever token borders fall."""
    whole = (await collect(subject.model.generate(ask()))).text
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    reply = await collect(subject.model.generate(ask(stop=("never said", stop))))
    assert reply.text == whole[: whole.index(stop)]
    assert reply.finish.reason is FinishReason.STOP


async def test_closing_the_generator_frees_the_instance(subject: Subject, ask: Ask) -> None:
    """A reader that stops reading stops the work, also at the far end; the instance goes on serving."""
    async with aclosing(subject.model.generate(ask(max_tokens=900))) as stream:
        assert isinstance(await anext(stream), TextChunk)
        assert subject.active() == 1
    await until(lambda: subject.active() == 0)
    assert (await collect(subject.model.generate(ask()))).finish.usage.output_tokens > 0


async def test_cancelling_the_reader_frees_the_instance(subject: Subject, ask: Ask) -> None:
    """Cancelling the task that reads is as good as closing the generator."""
    reading = asyncio.Event()

    async def read() -> None:
        async with aclosing(subject.model.generate(ask(max_tokens=900))) as stream:
            async for _ in stream:
                reading.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(reading.wait(), 60)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert task.cancelled()
    await until(lambda: subject.active() == 0)


async def test_close_fails_requests_under_way_and_later_ones(subject: Subject, ask: Ask) -> None:
    """Nobody hangs on a closed instance, and closing twice is as good as once."""
    stream = subject.model.generate(ask(max_tokens=900))
    async with aclosing(stream):
        await anext(stream)
        rest = asyncio.create_task(collect(stream))
        await asyncio.sleep(0)  # let it wait for a chunk
        await subject.model.close()
        with pytest.raises(ModelUnavailable):
            await asyncio.wait_for(rest, 60)
    await until(lambda: subject.active() == 0)
    with pytest.raises(ModelUnavailable):
        await asyncio.wait_for(collect(subject.model.generate(ask())), 60)
    await subject.model.close()


async def test_a_deadline_in_the_past_ends_at_once(subject: Subject, ask: Ask) -> None:
    """No work is begun for somebody who has stopped waiting."""
    reply = await collect(subject.model.generate(ask(deadline_unix_ms=1)))
    assert reply.finish.reason is FinishReason.CANCELLED
    assert reply.text == ""


async def test_a_deadline_ends_the_reply_with_what_was_used(subject: Subject, ask: Ask) -> None:
    """What came before the deadline counts, and the finish says why there is no more."""
    await collect(subject.model.generate(ask(max_tokens=1)))  # connects, so that the deadline measures generation
    soon = ask(max_tokens=900, deadline_unix_ms=int(time.time() * 1000) + 600)
    reply = await asyncio.wait_for(collect(subject.model.generate(soon)), 60)
    assert reply.finish.reason is FinishReason.CANCELLED
    assert 0 < reply.finish.usage.output_tokens < 900
    assert reply.text
    await until(lambda: subject.active() == 0)


async def test_a_prompt_longer_than_the_context_is_refused(subject: Subject, ask: Ask) -> None:
    """The error names the limit; nothing is cut in silence."""
    with pytest.raises(ContextTooLong, match="1024"):
        await collect(subject.model.generate(ask("word " * 1_200)))


async def test_the_context_bounds_prompt_and_output_together(subject: Subject, ask: Ask) -> None:
    """A prompt that fits leaves its rest for the output, which then ends with LENGTH."""
    reply = await collect(subject.model.generate(ask("a " * 450, max_tokens=1_024)))
    assert reply.finish.reason is FinishReason.LENGTH
    assert reply.finish.usage.input_tokens + reply.finish.usage.output_tokens <= 1_024


async def test_an_output_schema_gives_a_valid_message(subject: Subject, ask: Ask, city: type[Message]) -> None:
    """Asked for a message, the reply is one."""
    request = ask(max_tokens=48).model_copy(update={"output": output_schema(city)})
    reply = await collect(subject.model.generate(request))
    assert isinstance(message_of(reply, city), city)
    assert reply.finish.reason is FinishReason.STOP


async def test_tools_are_called_or_refused(subject: Subject, ask: Ask) -> None:
    """An instance that cannot call tools says so; one that can asks for a tool or answers, and says which it did."""
    if (await subject.model.capabilities()).tools is False:
        with pytest.raises(InvalidRequest):
            await collect(subject.model.generate(ask(tools=True)))
        return
    reply = await collect(subject.model.generate(ask(tools=True)))
    called = [call.name for call in reply.tool_calls]
    assert called == ["search"] or (not called and reply.text)
    assert (reply.finish.reason is FinishReason.TOOL_CALLS) is bool(called)


async def test_a_conversation_may_have_tool_turns(subject: Subject, ask: Ask) -> None:
    """Calls and results of earlier turns, errors among them, and after them an answer in a schema."""
    if (await subject.model.capabilities()).tools is False:
        return
    request = ask(max_tokens=48, output=True)
    calls = tuple(ToolCall(id=id, name="search", arguments={"query": "sky"}) for id in ("a", "b"))
    results = (
        ToolResult(id="a", name="search", content="blue"),
        ToolResult(id="b", name="search", content="?", error=True),
    )
    more = (Turn(role=Role.ASSISTANT, parts=calls), Turn(role=Role.TOOL, parts=results))
    request = request.model_copy(update={"conversation": (*request.conversation, *more)})
    reply = await collect(subject.model.generate(request))
    assert reply.finish.reason is FinishReason.STOP
    assert reply.text


async def test_an_instance_that_does_not_embed_says_so(subject: Subject) -> None:
    """The caller is at fault, so another attempt is not suggested."""
    with pytest.raises(InvalidRequest):
        await subject.model.embed(EmbedRequest(model="scripted", texts=("a",)))


async def test_concurrent_requests_do_not_mix(subject: Subject, ask: Ask) -> None:
    """Several readers at once each get their own whole reply."""
    alone = (await collect(subject.model.generate(ask()))).text
    replies = await asyncio.gather(*(collect(subject.model.generate(ask(max_tokens=n))) for n in (4, 8, 16, 12)))
    assert [reply.finish.usage.output_tokens for reply in replies] == [4, 8, 16, 12]
    assert all(alone.startswith(reply.text) for reply in replies)


async def test_capabilities_name_the_model(subject: Subject) -> None:
    """An instance describes itself; here all know their context."""
    capabilities = await subject.model.capabilities()
    assert capabilities.model
    assert capabilities.context_tokens == 1_024


async def test_metrics_name_the_model(subject: Subject) -> None:
    """What an instance cannot say of itself is None, and asking for it disturbs nothing."""
    metrics = await subject.model.metrics()
    assert metrics.model
    assert metrics.engine is None or metrics.engine.running == 0
