"""``antiphon replay | diff | compare | dataset``: on recorded runs, in this process and on a real server."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from antiphon import Agent
from antiphon.runtime.bus.memory import MemoryBus
from antiphon.runtime.bus.memory_server import MemoryServer
from antiphon.runtime.cli.commands import app
from antiphon.runtime.client import Client
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.loader import load_system
from antiphon.runtime.store.archive import journal_on_bus
from antiphon.runtime.store.journals import Finished
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.testing import memory_system, run_virtual
from antiphon.schemas.journal import JournalBatch
from antiphon.schemas.score import Score
from antiphon.schemas.telemetry import TelemetryBatch

SHOP = '''
"""A shop that looks up a price and writes a bill."""
from antiphon import Agent, Context, Message, System
from antiphon.runtime.tool import tool

class Order(Message):
    item: str

class Bill(Message):
    text: str

@tool(effect="read")
async def price(item: str) -> int:
    """What it costs."""
    return len(item)

@tool(effect="write")
async def bill(text: str, idempotency_key: str = "") -> str:
    """Send a bill."""
    raise RuntimeError("a replay must not come here")

till = Agent("till", tools=[price, bill])

@till.handles
async def sell(message: Order, ctx: Context) -> Bill:
    cents = await ctx.tool(price, item=message.item)
    return Bill(text=f"{message.item}: {cents}")

system = System("shop", [till])
'''
OTHER = SHOP.replace("cents = await", "await ctx.sleep(0.5)\n    cents = 1 + await")


def command(*arguments: str) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, [*arguments], env={"COLUMNS": "160"})


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the shop, and of another version of it."""
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "other.py").write_text(OTHER)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def runs(shop: Path) -> list[str]:
    """Three runs of the shop in the store of this home, the first one scored."""
    system = load_system("shop.py:system")
    handler: Any = system.agents[0].handlers["sell"]
    batches: list[TelemetryBatch] = []

    async def work() -> list[JournalBatch]:
        server = MemoryServer()
        async with memory_system(system, server=server, spans=batches.append) as client:
            tasks = [await client.submit(handler, handler.input(item=item)) for item in ("tea", "cake", "jam")]
            for task in tasks:
                await task.result()
            await asyncio.sleep(1.0)
            bus = MemoryBus(server)
            found = [await journal_on_bus(bus, "default", task.id) for task in tasks]
        return [batch for batch in found if batch is not None]

    journals = run_virtual(work())
    keeps = Retention(max_age_s=1e9)
    with closing(Store.open(shop / "home" / "store.db", clock=SystemClock(), retention=keeps)) as store:
        store.write([Received(batch=batch) for batch in batches])
        store.put_journals(Finished(tenant="default", batch=each, blobs={}, ended_unix_ms=1) for each in journals)
        store.put_scores([("default", Score(task=journals[0].task, name="good", value=1.0, unix_ms=1))])
    return [each.task for each in journals]


def test_two_runs_are_laid_side_by_side(runs: list[str]) -> None:
    """As tables and for machines; a run that is not there is named."""
    said = command("diff", runs[0], runs[1])
    assert said.exit_code == 0, said.output
    for part in ("latency", "on the critical path", "till.sell", "tool price", "differs"):
        assert part in said.stdout
    found = json.loads(command("diff", runs[0], runs[0], "--json").stdout)
    assert all(row["same"] in (True, None) for row in found["rows"])
    unknown = command("diff", runs[0], "nobody", "--json")
    assert unknown.exit_code == 1 and "no run or trace begins with" in unknown.stdout


def test_two_cohorts_are_laid_side_by_side(runs: list[str]) -> None:
    """Named by words; quantities, operations, scores and what was left out; a word that says nothing is an error."""
    said = command("diff", "agent=till limit=1", "agent=till")
    assert said.exit_code == 0, said.output
    for part in ("latency, mean", "90 % interval", "critical path", "till.sell", "agent=till limit=1: 1 run"):
        assert part in said.stdout
    found = json.loads(command("diff", "agent=till", "agent=till", "--json").stdout)
    assert found["both"] == len(runs) == found["runs"][0]
    assert {each["difference"] for each in found["measured"]} == {0.0}
    assert "score good" in {each["name"] for each in found["measured"]}
    wrong = command("diff", "agent=till", "colour=red", "--json")
    assert wrong.exit_code == 1 and "colour=red" in wrong.stdout


def test_a_score_is_shown_with_its_run(runs: list[str]) -> None:
    """In the terminal and as JSON."""
    assert f"score good 1  task {runs[0]}" in command("trace", runs[0]).stdout
    assert json.loads(command("trace", runs[0], "--json").stdout)["scores"][0]["value"] == 1.0
    assert json.loads(command("trace", runs[1], "--json").stdout)["scores"] == []


def test_tasks_are_exported_kept_and_listed(runs: list[str], shop: Path) -> None:
    """By run or by age; the file has inputs, results and scores."""
    out = shop / "tasks.jsonl"
    said = command("dataset", "export", str(out), "--last", "10000d", "--agent", "till", "--json")
    assert json.loads(said.stdout) == {"file": str(out), "examples": 3, "left_out": {}}
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert {line["input"]["item"]: line["result"]["text"] for line in lines} == {
        "tea": "tea: 3",
        "cake": "cake: 4",
        "jam": "jam: 3",
    }
    assert [line["scores"] for line in lines if line["task"] == runs[0]] == [{"good": 1.0}]
    assert command("dataset", "export", "-", "--run", runs[1]).stdout.count("\n") == 1
    assert "dataset sold: 3 tasks" in command("dataset", "import", str(out), "--name", "sold").stdout
    assert json.loads(command("dataset", "list", "--json").stdout) == [
        {"name": "sold", "examples": 3, "handlers": ["till.sell"], "scores": ["good"]}
    ]
    (shop / "bad.jsonl").write_text("{}\n")
    bad = command("dataset", "import", "bad.jsonl", "--json")
    assert bad.exit_code == 1 and "line 1" in bad.stdout


def test_versions_are_compared_on_recorded_tasks(runs: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A dearer and slower version differs in quality and latency by what was planted; the same one in nothing.

    Which system it is about may be a setting.
    """
    arguments = ("--on", "last 10000d", "--seeds", "2", "--json")
    said = command("compare", "shop.py:system", "other.py:system", *arguments)
    assert said.exit_code == 0, said.output
    found = {each["name"]: each for each in json.loads(said.stdout)["measured"]}
    assert (found["quality"]["first"], found["quality"]["difference"]) == (1.0, -1.0)
    assert found["latency, s"]["low"] <= 0.5 <= found["latency, s"]["high"] + 0.05
    same = json.loads(command("try-model", "any", "--system", "shop.py:system", *arguments).stdout)
    assert [each["difference"] for each in same["measured"] if each["name"] != "latency, s"] == [0.0, 0.0, 0.0]
    nameless = command("try-model", "any", *arguments)
    assert nameless.exit_code == 1 and "add --system FILE.py:NAME, or set `system`" in nameless.stdout
    monkeypatch.setenv("ANTIPHON_SYSTEM", "shop.py:system")
    again = json.loads(command("try-model", "any", *arguments).stdout)
    assert again["measured"][0] == same["measured"][0]
    shown = command("compare", "shop.py:system", "model:a=b", "--on", "last 10000d", "--seeds", "1")
    assert "90 % interval" in shown.stdout and "3 tasks, 1 seeds each" in shown.stdout
    for bad, why in (("nothing", "expected 'last 7d'"), ("last 1s", "no tasks to compare on")):
        refused = command("compare", "shop.py:system", "model:a=b", "--on", bad, "--json")
        assert refused.exit_code == 1 and why in refused.stdout


@pytest.mark.nats
async def test_a_run_is_replayed_from_the_bus(
    serve: Callable[[Agent], Awaitable[Client]],
    command: Callable[..., Awaitable[Any]],
    shop: Path,
) -> None:
    """Identical with its own code, status 1 with other code, and another message is answered beside the record.

    The code is the setting's where the command names none.
    """
    agent = load_system("shop.py:system").agents[0]
    client = await serve(agent)
    handler: Any = agent.handlers["sell"]
    task = await client.submit(handler, handler.input(item="tea"))
    await task.result(timeout_s=60)
    same = await command("replay", task.run, "--system", "shop.py:system")
    assert (same.status, same.out.strip()) == (0, "identical, 1 operation of 1 task"), same.err
    nameless = await command("replay", task.run)
    assert nameless.status == 1 and "set `system` in antiphon.toml" in nameless.err
    (shop / "antiphon.toml").write_text('system = "shop.py:system"\n')
    assert (await command("replay", task.run)).out == same.out
    other = await command("replay", task.run, "--system", "other.py:system")
    assert other.status == 1
    for part in ("diverges at operation 1", "recorded   tool price", "this code  sleep sleep", "0.5"):
        assert part in other.out
    cake = await command("replay", task.run, "--system", "shop.py:system", "--message", '{"item": "cake"}', "--json")
    found = json.loads(cake.out)
    assert (found["recorded"]["value"], found["replayed"]["value"]) == ({"text": "tea: 3"}, {"text": "cake: 4"})
    assert [each["source"] for each in found["did"]] == ["live"]
