"""``antiphon chat``: what is typed, and what comes back."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog.testing
from typer.testing import CliRunner, Result

from antiphon import Agent, Context, Message, System
from antiphon.runtime.cli.commands import app
from antiphon.runtime.client import Client
from antiphon.runtime.errors import InvalidRequest
from antiphon.runtime.testing import ScriptedModel, memory_system


class Line(Message):
    """What somebody says."""

    user: str
    text: str


class Reply(Message):
    """What is said to it."""

    text: str


def friend() -> Agent:
    """Says how many turns it heard; falls over ``fall``; never ends after ``wait``."""
    agent = Agent("friend", model="m", lease_s=1.0)

    @agent.handles(key=lambda line: line.user)
    async def say(line: Line, ctx: Context) -> Reply:
        if line.text == "fall":
            raise InvalidRequest("no falling")
        if line.text == "wait":
            await ctx.emit("Wait")
            await asyncio.Event().wait()
        return Reply(text=await ctx.model.generate(str, line.text, session=ctx.session, emit=True))

    return agent


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command with a system in memory: ``chat("friend.say", lines="hi\\n")``."""
    models = {"m": ScriptedModel(lambda request: f"{len(request.conversation)} turns, {request.conversation[-1].text}")}

    @asynccontextmanager
    async def connected() -> AsyncGenerator[Client, None]:
        async with memory_system(System("s", agents=[friend()]), models=models) as client:
            yield client

    monkeypatch.setattr("antiphon.runtime.cli.chat.connected", connected)

    def run(*arguments: str, lines: str = "") -> Result:
        with structlog.testing.capture_logs():
            return CliRunner().invoke(app, ["chat", *arguments], input=lines)

    return run


def test_lines_from_a_pipe_are_one_conversation(chat: Callable[..., Result]) -> None:
    """Without prompts; empty lines are passed over."""
    done = chat("friend.say", "--session", "ada", lines="one\n\n  \ntwo\n")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "1 turns, one\n3 turns, two\n", "")


def test_an_answer_that_fails_does_not_end_the_chat(chat: Callable[..., Result]) -> None:
    """It is told by type, the next line is answered, and a pipe ends with status 1."""
    done = chat("friend.say", lines="fall\nup\n")
    assert (done.exit_code, done.stdout) == (1, "1 turns, up\n")
    assert done.stderr == "InvalidRequest: no falling\n"


def test_a_program_gets_one_object_a_line(chat: Callable[..., Result]) -> None:
    """Tokens, the result with its task, and errors."""
    done = chat("friend.say", "--json", lines="one\nfall\n")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert [event["kind"] for event in events if event["kind"] != "token"] == ["done", "error"]
    assert "".join(event.get("text", "") for event in events) == "1 turns, one"
    assert events[-2]["value"] == {"text": "1 turns, one"}
    assert events[-1]["error"]["type"] == "InvalidRequest"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nobody.says",), "UnknownAgent"),
        (("friend.sings",), "UnknownHandler"),
        (("friend",), "expected agent.handler"),
        (("friend.say", "--field", "tone"), "has no text field 'tone'; it has: user, text"),
    ],
)
def test_whom_one_cannot_talk_to_is_said_at_once(
    chat: Callable[..., Result], arguments: tuple[str, ...], says: str
) -> None:
    """Before a line is read; with ``--json`` as an object."""
    done = chat(*arguments)
    assert done.exit_code == 1
    assert says in done.stderr.replace("\n", " ")
    assert says.split()[-1] in json.dumps(json.loads(chat(*arguments, "--json").stdout))


@pytest.mark.nats
async def test_ctrl_c_stops_the_answer_and_then_the_chat(
    serve: Callable[[Agent], Awaitable[Client]], tmp_path: Path
) -> None:
    """On a real server: the task ends as cancelled, the next line is read, and the second one leaves with 130."""
    await serve(friend())
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANTIPHON_", "OTEL_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "antiphon.runtime.cli.main", "chat", "friend.say", "--session", "ada"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**kept, "ANTIPHON_HOME": str(tmp_path / "home"), "ANTIPHON_TRACE": "0"},
        cwd=tmp_path,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        async with asyncio.timeout(60):
            process.stdin.write(b"wait\n")
            assert await process.stdout.readexactly(4) == b"Wait"
            process.send_signal(signal.SIGINT)
            assert b"TaskCancelled" in await process.stderr.readline()
            process.stdin.write(b"wait\n")
            assert await process.stdout.readexactly(5) == b"\nWait"
            process.send_signal(signal.SIGINT)
            assert b"TaskCancelled" in await process.stderr.readline()
            process.send_signal(signal.SIGINT)
            assert await process.stderr.readline() == b"stopped\n"
            assert await process.wait() == 130
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
