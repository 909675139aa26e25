"""``antiphon dead`` and ``antiphon task``: what a person does about work that died."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from antiphon import Agent, Context, Message
from antiphon.runtime.cli.commands import app
from antiphon.runtime.client import Client
from antiphon.runtime.errors import ModelUnavailable, TaskDead
from antiphon.schemas import subjects


class Order(Message):
    """Work."""

    n: int


class Shop:
    """An agent whose model is down, and how often it looked before it needed the model."""

    def __init__(self) -> None:
        self.agent = Agent("shop", max_attempts=1)
        self.down = True
        self.looked = 0

        @self.agent.handles
        async def sell(order: Order, ctx: Context) -> Order:
            """Look, then ask the model."""
            found = await ctx.run("look", self.look, effect="read")
            if self.down:
                raise ModelUnavailable("the model is down")
            return Order(n=order.n + found)

        self.sell = sell

    async def look(self) -> int:
        """An operation that is recorded."""
        self.looked += 1
        return 40

    async def dies(self, client: Client, n: int) -> Any:
        """A dead task."""
        task = await client.submit(self.sell, Order(n=n))
        with pytest.raises(TaskDead):
            await task.result(timeout_s=60)
        return task


@pytest.mark.nats
async def test_dead_work_is_listed_shown_redriven_and_dropped(
    serve: Callable[[Agent], Awaitable[Client]], command: Callable[..., Awaitable[Any]]
) -> None:
    """On a real server: a redriven task ends well without doing again what it had recorded."""
    shop = Shop()
    client = await serve(shop.agent)
    first, second = await shop.dies(client, 1), await shop.dies(client, 2)

    listed = json.loads((await command("dead", "list", "--json")).out)
    assert [(row["number"], row["task"], row["agent"]) for row in listed] == [
        (2, second.id, "shop"),
        (1, first.id, "shop"),
    ]
    table = (await command("dead", "list")).out
    assert "ModelUnavailable: the model is down" in table and second.id[:8] in table

    shown = await command("dead", "show", "2")
    assert shown.status == 0
    assert '"n": 2' in shown.out and "antiphon.default.task.shop.sell" in shown.out
    told = json.loads((await command("task", second.id, "--json")).out)
    assert (told["state"], told["letter"], told["handler"]) == ("dead", 2, "shop.sell")
    assert [entry["target"] for entry in told["journal"]] == ["look"]

    shop.down = False
    redriven = await command("dead", "redrive", "2")
    assert (redriven.status, redriven.out) == (0, "letter 2 of shop: redriven\n")
    assert (await second.result(timeout_s=60)).n == 42
    assert shop.looked == 2
    again = await command("dead", "redrive", "2")
    assert again.status == 1
    assert "UnknownLetter: dead letter 2 was redriven or dropped before" in again.err

    await client.host.bus.streams.append(subjects.dead("default", "shop"), b"not a letter")
    several = await command("dead", "redrive", "--agent", "shop", "--json")
    assert several.status == 1  # one cannot be redriven; the other goes on all the same
    done, refused = json.loads(several.out)
    assert done == {"number": 1, "agent": "shop", "done": "redriven"}
    assert (refused["number"], refused["error"].partition(":")[0]) == (3, "InvalidMessage")
    assert (await first.result(timeout_s=60)).n == 41

    dropped = await command("dead", "drop", "--all", "--yes")
    assert (dropped.status, dropped.out) == (0, "letter 3 of shop: dropped\n")
    assert (await client.host.bus.inspector.usage("ANTIPHON_DEAD")).messages == 0


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty home, and a working directory without a settings file."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("redrive",), 2, "give one of a letter's number, --agent NAME and --all"),
        (("redrive", "1", "--all"), 2, "give one of a letter's number, --agent NAME and --all"),
        (("drop", "--yes"), 2, "give one of a letter's number, --agent NAME and --all"),
        (("drop",), 2, "give one of a letter's number, --agent NAME and --all"),
        (("redrive", "--all", "--resolve", "not-done"), 2, "--resolve is about one letter"),
        (("redrive", "1", "--resolve", "perhaps"), 1, "--resolve 'perhaps': expected not-done, or done= and the"),
        (("redrive", "1", "--resolve", "done={"), 1, "--resolve 'done={': the result is not JSON"),
        (("show", "x"), 2, "valid integer"),
    ],
)
@pytest.mark.usefixtures("home")
def test_a_mistake_is_told_before_anything_is_connected(arguments: tuple[str, ...], status: int, says: str) -> None:
    """With what to type instead."""
    done = CliRunner().invoke(app, ["dead", *arguments], env={"COLUMNS": "200"})
    assert done.exit_code == status
    assert says in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.usefixtures("home")
def test_nothing_is_dropped_unless_a_person_says_so() -> None:
    """The question says what would go; no server is started for a no."""
    done = CliRunner().invoke(app, ["dead", "drop", "1"], input="n\n")
    assert done.exit_code == 1
    assert "Drop letter 1, with the journals behind it? This cannot be undone." in done.stderr
