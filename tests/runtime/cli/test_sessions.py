"""``antiphon session``: the list, one conversation, and forks."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from antiphon import Agent, Context, Message
from antiphon.runtime.client import Client
from antiphon.schemas.inference import Role, TextPart, ToolCall, ToolResult, Turn, turn

CALLED = Turn(role=Role.ASSISTANT, parts=(TextPart(text="I look."), ToolCall(id="1", name="look", arguments={"n": 1})))
FOUND = Turn(role=Role.TOOL, parts=(ToolResult(id="1", name="look", content="a\x1b[2Jcat"),))


class Line(Message):
    """What somebody says."""

    user: str
    text: str


@pytest.mark.nats
async def test_conversations_are_listed_shown_and_forked(
    serve: Callable[[Agent], Awaitable[Client]], command: Callable[..., Awaitable[Any]]
) -> None:
    """On a real server, for people and for programs; what is not there is an error by type."""
    agent = Agent("friend")

    @agent.handles(key=lambda line: line.user)
    async def say(line: Line, ctx: Context) -> Line:
        await ctx.session.append(turn(Role.USER, line.text), CALLED, FOUND)
        return line

    client = await serve(agent)
    for user, text in (("ada", "one"), ("ada", "two"), ("ünï [b]", "hello")):
        await (await client.submit(say, Line(user=user, text=text))).result(timeout_s=60)

    listed = (await command("session", "list", "--limit", "1")).out.splitlines()
    assert listed[1].split()[:4] == ["friend", "ünï", "[b]", "3"]
    heads = json.loads((await command("session", "list", "--json", "--agent", "friend")).out)
    assert [head["key"] for head in heads] == ["ünï [b]", "ada"]

    shown = (await command("session", "show", "friend", "ada", "--last", "1")).out
    assert shown.startswith("friend with ada: 6 turns")
    assert "earlier turns are left out: raise --last" in shown
    assert 'user: two\nassistant: I look. [calls look with {"n": 1}]\ntool: [look says: a[2Jcat]' in shown
    assert "user: one" not in shown
    nodes = json.loads((await command("session", "show", "friend", "ada", "--json")).out)["nodes"]
    assert [node["turns"][0]["parts"][0]["text"] for node in nodes] == ["one", "two"]

    forked = await command("session", "fork", "friend", "ada", "eve", "--at", nodes[0]["node"][:8])
    assert forked.out == "friend has a conversation under eve with 3 turns\n"
    again = await command("session", "fork", "friend", "ada", "eve")
    assert (again.status, again.err.partition(":")[0]) == (1, "SessionExists")
    missing = await command("session", "show", "friend", "nobody", "--json")
    assert (missing.status, json.loads(missing.out)["error"]["type"]) == (1, "UnknownSession")
