"""``antiphon mcp serve`` as a process, on a real server, with the official client and with our own."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client

from antiphon import Agent, Client, Context, Message
from antiphon.runtime.compose import open_host
from antiphon.runtime.gateways.mcp.remote import McpServer
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings
from antiphon.schemas.task import TaskState

pytestmark = pytest.mark.nats

SERVE = ["-m", "antiphon.runtime.cli.main", "mcp", "serve"]
START_S = 30.0


class Question(Message):
    text: str


class Answer(Message):
    text: str


writer = Agent("writer")


@writer.handles
async def write(question: Question, ctx: Context) -> Answer:
    """Answer a question."""
    if not question.text:
        raise ValueError("nothing asked")
    return Answer(text=f"{question.text}!")


@asynccontextmanager
async def node(home: Path, agent: Agent) -> AsyncIterator[Client]:
    """A node of that home, with its embedded server."""
    async with (
        open_host(Settings(home=home, trace=0.0), node=f"node-{agent.name}") as host,
        Node(host, [agent], drain_s=1.0),
    ):
        yield Client(host)


def environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTIPHON_", "OTEL_"))}
    return {**kept, "ANTIPHON_HOME": str(home)}


async def test_the_official_client_on_standard_streams(tmp_path: Path) -> None:
    """It starts the command itself; nothing but the protocol comes out; it ends with its input."""
    parameters = StdioServerParameters(
        command=sys.executable, args=[*SERVE, "writer"], env=environment(tmp_path), cwd=tmp_path
    )
    async with (
        node(tmp_path, writer),
        stdio_client(parameters) as (read, write_),
        ClientSession(read, write_) as session,
    ):
        hello = await session.initialize()
        assert hello.server_info.name == "antiphon"
        assert [tool.name for tool in (await session.list_tools()).tools] == ["writer__write"]
        result = await session.call_tool("writer__write", {"text": "sky"})
        assert (result.structured_content, result.is_error) == ({"text": "sky!"}, False)
        failed = await session.call_tool("writer__write", {"text": ""})
        assert failed.is_error
        assert "ValueError: nothing asked" in str(failed.content)


async def test_an_agent_uses_an_agent_over_http(tmp_path: Path) -> None:
    """Durable on both sides; schemas are kept on the bus; a signal ends the command."""
    async with node(tmp_path, writer):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *SERVE, "writer", "--durable", "--http", "0",
            stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env=environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
        try:
            assert process.stderr is not None
            async with asyncio.timeout(START_S):
                said = re.fullmatch(
                    r"mcp: (http://127\.0\.0\.1:\d+/mcp) \(Authorization: (Bearer \S+)\)\n",
                    (await process.stderr.readline()).decode(),
                )
            assert said is not None
            remote = McpServer.http("remote", said[1], headers={"authorization": said[2]})
            tool = remote.tool("writer__write", rename="ask_writer")
            editor = Agent("editor", tools=[tool])

            @editor.handles
            async def edit(question: Question, ctx: Context) -> Answer:
                found = await ctx.tool(tool, text=question.text)
                return Answer(text=found["text"])

            async with node(tmp_path, editor) as client:
                assert tool.parameters["required"] == ["text"]
                task = await client.submit(edit, Question(text="sea"))
                assert (await task.result(timeout_s=60)).text == "sea!"
                outcome = await task.outcome()
                assert outcome is not None
                assert outcome.state is TaskState.SUCCEEDED
        finally:
            process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(60):
                assert await process.wait() != -signal.SIGKILL


async def test_a_signal_ends_the_command(tmp_path: Path) -> None:
    """Though a thread of the SDK reads standard input all the while."""
    async with node(tmp_path, writer):
        process = await asyncio.create_subprocess_exec(
            sys.executable, *SERVE, "writer.write",
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment(tmp_path), cwd=tmp_path,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            await process.stdout.readline()
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 130
        process.stdin.close()
