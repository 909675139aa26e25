"""Handlers as MCP tools, as the official client sees them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, TextContent
from pydantic import Field, SecretStr

from antiphon import Agent, Context, Message, System
from antiphon.runtime.errors import ConfigurationError, UnknownAgent, UnknownHandler
from antiphon.runtime.gateways.mcp.handler_tools import TASK_META, HandlerTools
from antiphon.runtime.gateways.mcp.http_server import http_app
from antiphon.runtime.testing import memory_system
from antiphon.schemas.telemetry import SpanRecord

TOKEN = "web-0123456789abcdef"


class Question(Message):
    """What somebody wants to know."""

    text: str = Field(max_length=20)


class Answer(Message):
    """What there is to say."""

    text: str
    by: str = ""


class Desk:
    """Two agents, and what a test may hold up."""

    def __init__(self) -> None:
        self.waiting = asyncio.Event()
        self.stopped = asyncio.Event()
        self.system = System("desk", agents=[self._writer(), self._porter()])

    def _writer(self) -> Agent:
        writer = Agent("writer")

        @writer.handles
        async def write(question: Question, ctx: Context) -> Answer:
            """Answer a question."""
            await ctx.emit("thinking")
            await ctx.emit({"done": 0.5})
            return Answer(text=f"{question.text}!", by=f"{ctx.labels.get('caller')}:{bool(ctx.task_id)}")

        @writer.handles(key=lambda question: question.text)
        async def keep(question: Question, ctx: Context) -> Answer:
            """In order."""
            return Answer(text=ctx.key)

        return writer

    def _porter(self) -> Agent:
        porter = Agent("porter", max_attempts=1)

        @porter.handles
        async def wait(question: Question, ctx: Context) -> Answer:
            self.waiting.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.stopped.set()
            raise AssertionError("nobody sets it")

        @porter.handles
        async def fail(question: Question, ctx: Context) -> Answer:
            raise ValueError("no ink")

        return porter


@pytest.fixture
def desk() -> Desk:
    """The agents."""
    return Desk()


@pytest.fixture
def spans() -> list[SpanRecord]:
    """What was traced so far."""
    return []


@pytest.fixture
async def client(desk: Desk, spans: list[SpanRecord]) -> AsyncIterator[Any]:
    """A connection to a node that serves them."""
    async with memory_system(desk.system, spans=lambda batch: spans.extend(batch.spans)) as client:
        yield client


def text(result: CallToolResult) -> str:
    part = result.content[0]
    assert isinstance(part, TextContent)
    return part.text


async def test_what_is_listed(client: Any) -> None:
    """Names without a dot, descriptions from docstrings, schemas of both messages; all of an agent, or one handler."""
    async with Client(HandlerTools(client, ["writer", "porter.fail"]).server) as mcp:
        tools = {tool.name: tool for tool in (await mcp.list_tools()).tools}
    assert set(tools) == {"writer__write", "writer__keep", "porter__fail"}
    assert tools["writer__write"].description == "Answer a question."
    assert tools["writer__write"].input_schema == Question.model_json_schema()
    assert tools["writer__write"].output_schema == Answer.model_json_schema()
    assert tools["porter__fail"].description == "porter.fail of Antiphon"


async def test_a_call_is_an_ask(client: Any) -> None:
    """Its reply is structured content that fits the schema (the client checks it), and text for old clients."""
    async with Client(HandlerTools(client, ["writer"]).server) as mcp:
        result = await mcp.call_tool("writer__write", {"text": "sky"})
    assert result.structured_content == {"text": "sky!", "by": "mcp:False"}
    assert text(result) == '{"text": "sky!", "by": "mcp:False"}'


async def test_a_durable_call_shows_what_is_emitted(client: Any) -> None:
    """As progress; the task's id is in the result's metadata."""
    shown: list[tuple[float, str | None]] = []

    async def show(progress: float, total: float | None, message: str | None) -> None:
        shown.append((progress, message))

    async with Client(HandlerTools(client, ["writer.write"], durable=True).server) as mcp:
        result = await mcp.call_tool("writer__write", {"text": "sky"}, progress_callback=show)
    assert result.structured_content == {"text": "sky!", "by": "mcp:True"}
    assert shown == [(1, "thinking"), (2, '{"done": 0.5}')]
    assert result.meta is not None
    assert len(result.meta[TASK_META]) == 32


async def test_a_keyed_handler_is_always_durable(client: Any) -> None:
    """Its messages run in order, which an ask does not."""
    async with Client(HandlerTools(client, ["writer"]).server) as mcp:
        result = await mcp.call_tool("writer__keep", {"text": "ada"})
    assert (result.structured_content, result.is_error) == ({"text": "ada", "by": ""}, False)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("porter__fail", {"text": ""}, "ValueError: no ink"),
        ("writer__write", {}, "InvalidMessage: Question: text: required"),
        ("writer__write", {"text": "x" * 21}, "InvalidMessage: Question: text: expected at most 20 characters"),
        ("writer__sing", {}, "there is no tool 'writer__sing'; there are: porter__fail, writer__keep, writer__write"),
        ("porter__wait", {}, "there is no tool 'porter__wait'"),  # it was not chosen
    ],
)
async def test_errors_are_results_that_a_model_can_read(
    client: Any, tool: str, arguments: dict[str, Any], said: str
) -> None:
    """Type and message, and nothing of the insides."""
    async with Client(HandlerTools(client, ["writer", "porter.fail"]).server) as mcp:
        result = await mcp.call_tool(tool, arguments)
    assert result.is_error
    assert said in text(result)


async def test_a_call_that_is_cancelled_stops_the_handler(client: Any, desk: Desk) -> None:
    """An ask has nobody else who waits for it."""
    async with Client(HandlerTools(client, ["porter"]).server, mode="legacy") as mcp:
        calling = asyncio.create_task(mcp.call_tool("porter__wait", {"text": ""}))
        await asyncio.wait_for(desk.waiting.wait(), 60)
        calling.cancel()
        await asyncio.wait_for(desk.stopped.wait(), 60)
        await asyncio.wait((calling,))


@pytest.mark.parametrize(
    ("chosen", "error", "message"),
    [
        (["nobody"], UnknownAgent, "no agent 'nobody'"),
        (["writer.sing"], UnknownHandler, r"has no handler 'sing' \(it has: keep, write\)"),
        (["Writer!"], ConfigurationError, r"expected AGENT or AGENT\.HANDLER"),
    ],
)
async def test_what_was_never_served_is_said_before_anything_is(
    client: Any, chosen: list[str], error: type[Exception], message: str
) -> None:
    """So that a client's log shows a mistake in its configuration."""
    with pytest.raises(error, match=message):
        await HandlerTools(client, chosen).check()


async def test_two_handlers_of_one_name_are_refused() -> None:
    """``a.b__c`` and ``a__b.c`` would be the same tool."""
    agents = [Agent("a"), Agent("a__b")]
    for agent, name in zip(agents, ("b__c", "c"), strict=True):

        async def handler(question: Question, ctx: Context) -> Answer:
            return Answer(text="")

        handler.__name__ = name
        agent.handles(handler)
    async with memory_system(System("s", agents=agents)) as client:
        await HandlerTools(client, ["a"]).check()
        with pytest.raises(ConfigurationError, match="would both be the tool 'a__b__c'"):
            await HandlerTools(client, ["a", "a__b"]).check()


async def test_over_http_a_token_of_the_door_is_needed(
    client: Any, serve_app: Callable[[Any], AbstractAsyncContextManager[str]], spans: list[SpanRecord]
) -> None:
    """The run knows whose it was, and is part of the caller's trace."""
    app = http_app(HandlerTools(client, ["writer"]).server, {"web": SecretStr(TOKEN)})
    trace = "0af7651916cd43dd8448eb211c80319c"
    async with serve_app(app) as url, httpx2.AsyncClient(headers={"authorization": f"Bearer {TOKEN}"}) as http:
        assert (await http.post(url, json={}, headers={"authorization": "Bearer wrong"})).status_code == 401
        foreign = await http.post(url, json={}, headers={"origin": "https://evil.example"})
        assert foreign.status_code == 403
        async with Client(streamable_http_client(url, http_client=http)) as mcp:
            meta: Any = {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
            result = await mcp.call_tool("writer__write", {"text": "sky"}, meta=meta)
    assert result.structured_content == {"text": "sky!", "by": "web:False"}
    async with asyncio.timeout(60):
        while not any(span.trace_id.hex() == trace for span in spans):  # noqa: ASYNC110  # telemetry comes in batches
            await asyncio.sleep(0.01)
