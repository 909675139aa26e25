"""The session with a server that dies, hangs, lies and comes back."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from mcp_types import Tool

from antiphon.runtime.clock import SystemClock
from antiphon.runtime.errors import InDoubt, ToolFailed, ToolUnavailable
from antiphon.runtime.gateways.mcp.connection import Connection
from antiphon.runtime.gateways.mcp.ways import Stdio, Way


@asynccontextmanager
async def connected(way: Way, listed: list[list[Tool]] | None = None) -> AsyncIterator[Connection]:
    """A connection that is closed at the end; what it learns is appended to ``listed``."""

    async def learned(tools: list[Tool]) -> None:
        if listed is not None:
            listed.append(tools)

    connection = Connection("old", way, learned, SystemClock(), random.Random(1))
    try:
        yield connection
    finally:
        await connection.close()


async def test_calls_share_one_session_from_any_task(old: Any) -> None:
    """The first begins it, whichever it is; one process serves them all, and is gone when it is closed."""
    async with connected(old.way) as connection:
        texts = [str(n) for n in range(20)]
        said = await asyncio.gather(*(connection.call("echo", {"text": text}, writes=False) for text in texts))
        assert said == texts
        session = await connection.ready()
    assert (old.starts, session.ended, old.count("echo")) == (1, True, 20)
    with pytest.raises(ProcessLookupError):
        old.kill()


async def test_a_server_that_dies_in_a_call(old: Any) -> None:
    """A read may be called again; of a write nobody knows. The next call has a new server, with no restart by hand."""
    async with connected(old.way) as connection:
        with pytest.raises(InDoubt, match=r"'old' went away while 'die' ran, which writes.*look there") as doubt:
            await connection.call("die", {}, writes=True)
        assert doubt.value.details == {"tool": "die", "server": "old"}
        assert await connection.call("echo", {"text": "back"}, writes=True) == "back"
        with pytest.raises(ToolUnavailable, match="'old' went away while 'die' ran") as lost:
            await connection.call("die", {}, writes=False)
        assert lost.value.retryable
        assert await connection.call("echo", {"text": "again"}, writes=False) == "again"
    assert old.starts == 3


async def test_a_server_that_dies_between_calls(old: Any) -> None:
    """A write that comes afterwards reaches a new one: it is not in doubt, for it was never sent to the old."""
    async with connected(old.way) as connection:
        await connection.call("echo", {"text": ""}, writes=True)
        session = await connection.ready()
        old.kill()
        await old.eventually(lambda: session.ended)
        assert await connection.call("echo", {"text": "new"}, writes=True) == "new"
    assert old.starts == 2


async def test_a_server_that_is_down_is_not_hammered(old: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each failure says why at once; tries are rarer and rarer; when it is back it is found."""
    monkeypatch.setattr("antiphon.runtime.gateways.mcp.connection.PATIENCE_S", 0.0)
    old.go_down()
    async with connected(old.way) as connection:
        messages = []
        for _ in range(3):
            with pytest.raises(ToolUnavailable) as error:
                await connection.call("echo", {"text": ""}, writes=True)
            messages.append(error.value.message)
        assert "MCP server 'old' cannot be reached (Connection closed); see" in messages[0]
        assert "MCP server 'old' cannot be reached (Connection closed) and is tried again in 0." in messages[1]
        assert messages[1] == messages[2]
        old.come_up()
        connection._not_before_s = 0.0  # as if the wait were over
        assert await connection.call("echo", {"text": "up"}, writes=True) == "up"
    assert old.starts == 1


async def test_a_program_that_is_not_there() -> None:
    """Says so, as any server that cannot be reached."""
    async with connected(Stdio(command=("/no/such/program",))) as connection:
        with pytest.raises(ToolUnavailable, match=r"No such file or directory: '/no/such/program'"):
            await connection.call("echo", {}, writes=True)


SILENT = Stdio(command=("sh", "-c", "cat > /dev/null"))


class Slow:
    """Takes some turns of the loop to start a process that then says nothing."""

    identity = "slow"

    def __init__(self) -> None:
        self.begun = False

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Any, None]:
        for _ in range(5):
            await asyncio.sleep(0)
        self.begun = True
        async with SILENT.open() as streams:
            yield streams


async def test_the_start_of_a_process_is_not_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """asyncio would wait for it for ever; the time to answer begins once it runs."""
    monkeypatch.setattr("antiphon.runtime.gateways.mcp.session.START_S", 0.0)
    way = Slow()
    async with asyncio.timeout(60), connected(way) as connection:
        with pytest.raises(ToolUnavailable, match="it did not answer in time"):
            await connection.call("echo", {}, writes=True)
    assert way.begun


async def test_a_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up after a while, and its process ends."""
    monkeypatch.setattr("antiphon.runtime.gateways.mcp.session.START_S", 0.2)
    async with asyncio.timeout(60), connected(SILENT) as connection:
        with pytest.raises(ToolUnavailable, match=r"cannot be reached \(it did not answer in time\)"):
            await connection.call("echo", {}, writes=True)


async def test_a_server_that_talks_nonsense_before_it_answers(old: Any) -> None:
    """Such as a program that prints: what is no message is passed over."""
    command = ("sh", "-c", 'echo "Welcome!"; echo "{}"; exec "$0" "$@"', *old.way.command)
    async with connected(Stdio(command=command)) as connection:
        assert await connection.call("echo", {"text": "ok"}, writes=True) == "ok"


async def test_cancelling_a_call_tells_the_server(old: Any) -> None:
    """And leaves the session to the others."""
    async with connected(old.way) as connection:
        hanging = asyncio.create_task(connection.call("hang", {}, writes=False))
        await old.heard("hang")
        hanging.cancel()
        await asyncio.wait((hanging,))
        assert hanging.cancelled()
        await old.heard("cancelled")
        assert await connection.call("echo", {"text": "here"}, writes=False) == "here"
    assert old.starts == 1


async def test_closing_answers_everybody_who_waits(old: Any) -> None:
    """As if the server had died."""
    async with connected(old.way) as connection:
        hanging = asyncio.create_task(connection.call("hang", {}, writes=False))
        await old.heard("hang")
    with pytest.raises(ToolUnavailable, match="went away while 'hang' ran"):
        await hanging


async def test_an_answer_of_another_shape_is_a_failure_of_the_tool(old: Any) -> None:
    """It ran, so it is neither in doubt nor tried again; a megabyte is fine."""
    async with connected(old.way) as connection:
        with pytest.raises(ToolFailed, match="its answer is not what it declares") as error:
            await connection.call("lie", {}, writes=True)
        assert not error.value.retryable
        assert len(await connection.call("large", {}, writes=True)) == 1_000_000


async def test_tools_are_learned_at_the_start_and_when_they_change(old: Any) -> None:
    """An old server says so in a notification."""
    listed: list[list[Tool]] = []
    async with connected(old.way, listed) as connection:
        await connection.call("grow", {"text": ""}, writes=True)
        await old.eventually(lambda: len(listed) == 2)
    assert ["times" in tools[0].input_schema["properties"] for tools in listed] == [False, True]
