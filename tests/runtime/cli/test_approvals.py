"""``antiphon approvals``: a person answers, and the parked task goes on."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from antiphon import Agent, Context, Message
from antiphon.runtime.cli.approvals import as_seen, listed
from antiphon.runtime.cli.commands import app
from antiphon.runtime.client import Client
from antiphon.schemas.approval import Approval

PARKED_S = 20.0


class Refund(Message):
    """What is proposed."""

    amount: int


@pytest.mark.nats
async def test_a_parked_task_is_seen_answered_and_goes_on(
    serve: Callable[[Agent], Awaitable[Client]], command: Callable[..., Awaitable[Any]]
) -> None:
    """On a real server, with an edited proposal, and forgotten when its task has ended."""
    agent = Agent("shop")

    @agent.handles
    async def refund(wanted: Refund, ctx: Context) -> Refund:
        """Ask a person."""
        decision = await ctx.approve(wanted, to="role:ops", timeout="2d")
        return decision.value if decision.approved else Refund(amount=0)

    client = await serve(agent)
    task = await client.submit(refund, Refund(amount=500))

    bucket = await client.host.bus.buckets.open("antiphon_parked")
    async with asyncio.timeout(PARKED_S), aclosing(bucket.watch()) as changes:
        await anext(changes)

    told = json.loads((await command("task", task.id, "--json")).out)
    assert told["state"] == "parked"
    (wait,) = told["waits"]
    assert (wait["kind"], told["handler"]) == ("approval", "shop.refund")
    id = wait["id"]
    assert f"antiphon approvals show {id}" in (await command("task", task.id)).out

    (open_one,) = json.loads((await command("approvals", "list", "--json")).out)
    assert (open_one["id"], open_one["to"], open_one["proposal"]) == (id, "role:ops", {"amount": 500})
    table = (await command("approvals", "list")).out
    assert id[:8] in table and 'Refund {"amount": 500}' in table
    shown = (await command("approvals", "show", id[:6])).out
    assert id in shown and "role:ops" in shown and '"amount": 500' in shown

    answered = await command(
        "approvals", "answer", id[:6], "--approve", "--edit", '{"amount": 300}', "--by", "ada", "--comment", "less"
    )
    assert (answered.status, answered.out) == (0, f"approved by ada: task {task.id} goes on\n")
    assert (await task.result(timeout_s=60)).amount == 300
    late = await command("approvals", "answer", id, "--reject", "--json")
    assert late.status == 1
    assert json.loads(late.out)["error"]["type"] == "UnknownApproval"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("answer", "a1"), 2, "say --approve or --reject"),
        (("answer", "a1", "--approve", "--edit", "{"), 1, "InvalidMessage: the message is not JSON"),
    ],
)
def test_a_mistake_is_told_before_anything_is_connected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], status: int, says: str
) -> None:
    """No server is started for it."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["approvals", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == status
    assert says in done.stderr


def test_a_person_sees_all_of_what_they_approve() -> None:
    """Also what would turn the line around, take no room, or move the cursor; other languages are as they are."""
    seen = as_seen({"to": "grüße\u202etxt.exe\u200b", "note": "a\nb\x9b2J"}, indent=2)
    assert seen == '{\n  "to": "grüße\\u202etxt.exe\\u200b",\n  "note": "a\\nb\\u009b2J"\n}'
    assert json.loads(seen)["note"] == "a\nb\x9b2J"


def test_the_id_is_whole_in_a_narrow_terminal() -> None:
    """A long proposal is cut instead: without its id an approval cannot be answered."""
    approval = Approval(
        id="0123456789abcdef",
        task="t",
        agent="customer-service",
        handler="refund",
        path="1",
        to="role:support",
        proposal_type="Refund",
        proposal={"reason": "long " * 50},
        asked_unix_ms=0,
        until_unix_ms=172_800_000,
    )
    console = Console(width=80)
    with console.capture() as capture:
        console.print(listed([approval], now_ms=125_000))
    assert "\n01234567 " in capture.get()
