"""Tools of MCP servers in agents, on nodes that start with the server there, gone, or wrong."""

from typing import Any

import pytest

from antiphon import Agent, Context, Handler, Message, System
from antiphon.runtime.delivery.letters import Letters
from antiphon.runtime.delivery.redrive import Redriver, Resolution
from antiphon.runtime.errors import ConfigurationError, TaskDead, ToolTimeout, ToolUnavailable
from antiphon.runtime.gateways.mcp import opening
from antiphon.runtime.gateways.mcp.remote import McpServer
from antiphon.runtime.models.scripted import ScriptedModel
from antiphon.runtime.testing import MemoryServer, memory_system
from antiphon.runtime.tool import Tool
from antiphon.schemas.inference import ToolCall, ToolResult
from antiphon.schemas.task import Effect
from antiphon.schemas.telemetry import SpanRecord

SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}


class Note(Message):
    """A text."""

    text: str


def caller(*tools: Tool[..., Any]) -> tuple[System, Handler[Note, Note]]:
    """An agent that runs its first tool on what it is told."""
    agent = Agent("a", tools=tools, max_attempts=2, first_retry_s=0.01)

    @agent.handles
    async def use(note: Note, ctx: Context) -> Note:
        return Note(text=str(await ctx.tool(tools[0], text=note.text)))

    return System("s", agents=[agent]), use


def thinker(*tools: Tool[..., Any]) -> tuple[System, Handler[Note, Note]]:
    """An agent whose model uses its tools."""
    agent = Agent("a", tools=tools, max_attempts=2, first_retry_s=0.01)

    @agent.handles
    async def think(note: Note, ctx: Context) -> Note:
        return Note(text=await ctx.model.run(str, note.text))

    return System("s", agents=[agent]), think


def told(model: ScriptedModel) -> list[ToolResult]:
    """What the model was told of each of its calls."""
    return [part for each in model.requests for part in each.conversation[-1].parts if isinstance(part, ToolResult)]


async def test_what_is_declared_is_what_spans_and_journal_go_by(old: Any) -> None:
    """A tool writes unless its user says otherwise, whatever the server says; its span has the server's trace below."""
    server = old.server()
    system, use = caller(server.tool("echo"), server.tool("grow", effect="read", ttl="10m", rename="other"))
    spans: list[SpanRecord] = []
    async with memory_system(system, spans=lambda batch: spans.extend(batch.spans)) as client:
        assert (await client.ask(use, Note(text="hello"))).text == "hello"
    found = [span for span in spans if span.name == "execute_tool echo" and span.end_ns]
    assert [span.attributes["antiphon.effect"] for span in found] == ["write"]
    assert [line.split("-")[1] for line in old.calls if line.startswith("trace ")] == [found[0].trace_id.hex()]
    other = system.agents[0].tools["other"]
    assert (other.effect, other.ttl_s, other.timeout_s) == (Effect.READ, 600.0, 60.0)


async def test_a_model_sees_the_servers_schema_and_uses_its_tools(old: Any) -> None:
    """Bad arguments come back to it as an error it can read, without reaching the server."""
    calls = [
        ToolCall(id="1", name="echo", arguments={"text": 7}),
        ToolCall(id="2", name="echo", arguments={"text": "7"}),
    ]
    model = ScriptedModel([*calls, "done"])
    system, think = thinker(*old.server().tools("echo", effect="read"))
    async with memory_system(system, models={"smollm2-135m": model}) as client:
        assert (await client.ask(think, Note(text="echo 7"))).text == "done"
    spec = model.requests[0].tools[0]
    assert (spec.name, spec.description, spec.parameters) == ("echo", "The tool echo.", SCHEMA)
    results = told(model)
    assert ["expected string" in results[0].content, results[0].error] == [True, True]
    assert (results[1].content, old.count("echo")) == ("7", 1)


async def test_a_server_that_dies_is_told_to_the_model(old: Any) -> None:
    """It may do something else, or try again: the server is back by then."""
    calls = [
        ToolCall(id="1", name="die", arguments={"text": ""}),
        ToolCall(id="2", name="echo", arguments={"text": "b"}),
    ]
    model = ScriptedModel([*calls, "done"])
    system, think = thinker(*old.server().tools("die", "echo", effect="read"))
    async with memory_system(system, models={"smollm2-135m": model}) as client:
        assert (await client.ask(think, Note(text="?"))).text == "done"
    results = told(model)
    assert "'old' went away while 'die' ran" in results[0].content
    assert results[1].content == "b"


async def test_a_write_that_died_with_its_server_waits_for_a_person(old: Any) -> None:
    """The task is not tried again, and its letter can be redriven with what happened, as after a crash of our own."""
    system, use = caller(old.server().tool("die"))
    async with memory_system(system) as client:
        task = await client.submit(use, Note(text=""))
        with pytest.raises(TaskDead, match=r"InDoubt.*tool 'die' of task .*nothing says.*'old' went away.*--resolve"):
            await task.result(timeout_s=60)
        host = client.host
        (letter,) = [letter async for letter in Letters(host.bus, host.tenant).each("a")]
        resolution = Resolution(done=True, value="it is in the ledger")
        assert await Redriver(host.bus, host.clock, host.tenant).redrive(letter, resolution)
        assert (await task.result(timeout_s=60)).text == "it is in the ledger"
    assert old.count("die") == 1


async def test_a_read_that_died_with_its_server_is_tried_again(old: Any) -> None:
    """By the task's own attempts."""
    system, use = caller(old.server().tool("die", effect="read"))
    async with memory_system(system) as client:
        task = await client.submit(use, Note(text=""))
        with pytest.raises(TaskDead, match="ToolUnavailable"):
            await task.result(timeout_s=60)
    assert old.count("die") == 2


async def test_a_tool_that_hangs_is_stopped_at_its_timeout(old: Any) -> None:
    """And the server is told."""
    system, use = caller(old.server().tool("hang", effect="read", timeout="200ms"))
    async with memory_system(system) as client:
        with pytest.raises(ToolTimeout, match=r"'hang' was stopped: it may take 0\.2 s"):
            await client.ask(use, Note(text=""))
        await old.heard("cancelled")


async def test_tools_are_known_from_last_time(old: Any) -> None:
    """A node starts without the server, shows its tools to a model, and says what is wrong when one is used."""
    bus = MemoryServer()
    system, _ = thinker(old.server().tool("echo", effect="read"))
    async with memory_system(system, server=bus):
        pass
    assert old.starts == 1
    old.go_down()
    system, think = thinker(old.server().tool("echo", effect="read"))
    model = ScriptedModel([ToolCall(id="1", name="echo", arguments={"text": "x"}), "it is down"])
    async with memory_system(system, server=bus, models={"smollm2-135m": model}) as client:
        assert (await client.ask(think, Note(text="?"))).text == "it is down"
    assert model.requests[0].tools[0].parameters == SCHEMA
    assert "cannot be reached" in told(model)[0].content
    old.come_up()
    system, use = caller(old.server().tool("echo"))
    async with memory_system(system, server=bus) as client:
        assert old.starts == 1  # nothing is started before it is needed
        assert (await client.ask(use, Note(text="up"))).text == "up"


async def test_a_server_of_which_nothing_is_known_stops_no_node(old: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tools cannot be shown to a model, which is retryable; it is asked again until it answers."""
    monkeypatch.setattr(opening, "AGAIN_S", 0.05)
    old.go_down()
    system, think = thinker(old.server().tool("echo", effect="read"))
    async with memory_system(system, models={"smollm2-135m": ScriptedModel(["fine"])}) as client:
        with pytest.raises(ToolUnavailable, match="'old' has not answered yet, so nothing is known of its tool 'echo'"):
            await client.ask(think, Note(text="?"))
        old.come_up()
        await old.heard("list")
        task = await client.submit(think, Note(text="?"))
        assert (await task.result(timeout_s=60)).text == "fine"


async def test_a_tool_that_the_server_does_not_have_stops_the_node(old: Any) -> None:
    """It is a mistake in the program, and it is said at the start."""
    system, _ = caller(old.server().tool("ekko"))
    with pytest.raises(ConfigurationError, match="MCP server 'old' has no tool 'ekko'; it has: die, echo, grow"):
        async with memory_system(system):
            pass


async def test_nodes_of_one_process_share_a_session(old: Any) -> None:
    """It ends with the last of them."""
    system, use = caller(old.server().tool("echo"))
    async with memory_system(system, nodes=3) as client:
        for n in range(6):
            assert (await client.ask(use, Note(text=str(n)))).text == str(n)
    assert old.starts == 1


async def test_tools_run_without_a_node_while_their_server_is_open(old: Any) -> None:
    """For scripts and unit tests."""
    server = old.server()
    echo = server.tool("echo")
    with pytest.raises(ConfigurationError, match=r"'old' is not open.*async with server.opened\(\)"):
        await echo(text="x")
    async with server.opened():
        assert await echo(text="x") == "x"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: McpServer.stdio("Old", ["x"]), "'Old': expected 1 to 64 characters"),
        (lambda: McpServer.stdio("old", []), "the command of an MCP server is empty"),
        (lambda: McpServer.http("old", "example.com/mcp"), "expected http://… or https://…"),
        (lambda: McpServer.stdio("old", ["x"]).tool("readFile"), "'readFile': expected 1 to 64 characters"),
        (
            lambda: McpServer.stdio("old", ["x"]).tool("a", effect="maybe"),
            "effect is 'maybe', expected pure, read or write",
        ),
        (lambda: McpServer.stdio("old", ["x"]).tool("a", ttl="1m"), "a tool that writes has no ttl"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_written(make: Any, message: str) -> None:
    """Found, expected, before any node starts."""
    with pytest.raises(ConfigurationError, match=message):
        make()
