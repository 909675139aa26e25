"""``antiphon policy``: a person changes what running nodes do."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from antiphon import Agent, Context, Message, tool
from antiphon.runtime.cli.commands import app
from antiphon.runtime.client import Client


class Words(Message):
    """A text."""

    text: str


@pytest.mark.nats
async def test_a_policy_is_set_seen_changed_and_removed(
    serve: Callable[[Agent], Awaitable[Client]], command: Callable[..., Awaitable[Any]]
) -> None:
    """On a real server: the node caches while the policy is there, and what cannot be is refused by type."""
    calls = 0

    @tool(effect="read", ttl="1h")
    async def search(words: str) -> str:
        """Look something up."""
        nonlocal calls
        calls += 1
        return words

    agent = Agent("writer", tools=[search])

    @agent.handles
    async def write(message: Words, ctx: Context) -> Words:
        """Search."""
        return Words(text=await ctx.tool(search, message.text))

    client = await serve(agent)

    async def told() -> int:
        """How many searches two equal runs take now."""
        before = calls
        for _ in range(2):
            await client.ask(write, Words(text="a"))
        return calls - before

    assert await told() == 2
    cached = ("policy", "set", "--kind", "cache", "--target", "tool search", "--param", "ttl_s=60", "--level", "on")
    said = await command(*cached)
    assert said.out == "cache-tool-search: cache ttl_s=60.0, on\n", said.err
    assert await told() == 1  # the command ended after the node had heard of it, by seconds

    (found,) = json.loads((await command("policy", "list", "--json")).out)
    assert (found["id"], found["level"], found["proposal"]["action"]["ttl_s"]) == ("cache-tool-search", "on", 60.0)
    changed = await command(*cached[:-1], "canary", "--share", "0.25", "--reason", "a try", "--json")
    assert json.loads(changed.out)["share"] == 0.25
    table = (await command("policy", "list")).out
    assert "cache ttl_s=60.0" in table and "canary, 25% of runs" in table and "a try" in table

    unknown = await command(*cached, "--agent", "wroter", "--json")
    assert unknown.status == 1
    error = json.loads(unknown.out)["error"]
    assert error["type"] == "UnknownAgent" and "known: writer" in error["message"]

    assert (await command("policy", "rm", "cache-tool-search")).out == "removed\n"
    assert await told() == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--kind", "cash", "--target", "tool search"), "--kind is 'cash', expected one of cache, single_flight"),
        (("--kind", "cache", "--target", "tool search"), "--kind cache: cache.ttl_s: Field required"),
        (("--kind", "cache", "--target", "tool search", "--param", "ttl_s"), "--param is 'ttl_s', expected NAME=VALUE"),
        (("--kind", "cache", "--target", "tool search", "--param", "ttl_s=-1"), "ttl_s: Input should be greater than"),
        (("--kind", "single_flight", "--target", "tool t", "--param", "x=1"), "single_flight.x: Extra inputs are not"),
        (("--kind", "single_flight", "--target", "tool t", "--id", "a b"), "the policy cannot be: id: "),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_started(
    arguments: tuple[str, ...], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status 1, the type of the error, and what was expected."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    result = CliRunner().invoke(app, ["policy", "set", *arguments])
    assert result.exit_code == 1
    assert result.output.startswith("ConfigurationError: ") and says in result.output


def test_help_teaches() -> None:
    """With an example, and what each level does."""
    help = CliRunner().invoke(app, ["policy", "set", "--help"], env={"COLUMNS": "200"}).output
    assert 'antiphon policy set --kind cache --target "tool search" --param ttl_s=60' in help
    assert "the old one is served" in help
