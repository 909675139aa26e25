"""Every example of a pattern runs, with a scripted model on the in-memory bus; one schedule on real nodes."""

import asyncio
import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from antiphon import Client
from antiphon.runtime.errors import ModelUnavailable
from antiphon.runtime.models.scripted import Line, ScriptedModel
from antiphon.runtime.settings import Settings
from antiphon.runtime.testing import memory_system, virtual_time
from antiphon.schemas.inference import GenerateRequest

if TYPE_CHECKING:
    from tests.acceptance.conftest import Eventually, Place

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "patterns"


def example(name: str) -> Any:
    """A fresh copy of an example's module."""
    spec = importlib.util.spec_from_file_location(f"pattern_{name}", EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module: ModuleType = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def served(module: Any, say: Callable[[str], Line]) -> Any:
    """The example's agents, whose model answers the last turn of each conversation with ``say``."""

    def script(request: GenerateRequest) -> Line:
        return say(request.conversation[-1].text)

    return memory_system(module.system, models={Settings(home=ROOT).default_model: ScriptedModel(script)})


async def result(client: Client, handler: Any, message: Any) -> Any:
    """The outcome of durable work."""
    return await (await client.submit(handler, message)).result(timeout_s=240)


def never(prompt: str) -> Line:
    """For examples that do not think."""
    raise AssertionError(f"no model call was expected: {prompt}")


async def test_fan_out_goes_on_with_the_first_three_of_five() -> None:
    """One judge says no, one's answer cannot be read, and who is not needed is not waited for."""
    module = example("fan_out")

    def say(prompt: str) -> Line:
        return "well" if "physicist" in prompt else json.dumps({"holds": "lawyer" not in prompt})

    async with served(module, say) as client:
        found = await result(client, module.poll, module.Claim(text="Water is wet."))
    assert (found.no, found.failed, found.yes + found.open) == (1, 1, 3)
    assert found.yes >= 2


async def test_handoff_makes_the_experts_answer_the_desks() -> None:
    """What the desk can answer it answers."""
    module = example("handoff")
    async with served(module, lambda prompt: f"about {prompt}") as client:
        found = await result(client, module.receive, module.Request(text="taxes"))
        assert (found.text, found.heard_by) == ("about taxes", ("desk", "expert"))
        assert (await result(client, module.receive, module.Request(text="Hello"))).heard_by == ("desk",)


async def test_supervision_begins_a_failed_reader_anew() -> None:
    """The others' work is kept, and the paper is complete."""
    module = example("supervisor")
    asked: list[str] = []

    def say(prompt: str) -> Line:
        asked.append(prompt)
        return (
            ModelUnavailable("the feed is away")
            if "sport" in prompt and asked.count(prompt) < 3
            else f"{prompt}: all is well"
        )

    async with served(module, say) as client:
        found = await result(client, module.edit, module.Paper(columns=("sport", "weather")))
    assert found.columns == ("The news of sport: all is well", "The news of weather: all is well")
    assert sorted(asked) == ["The news of sport"] * 3 + ["The news of weather"]


async def test_pipelines_make_a_card_of_every_page() -> None:
    """Three stages each, and a page that cannot be read has no card."""
    module = example("pipeline")

    def say(prompt: str) -> Line:
        return "?" if "?" in prompt else json.dumps({"lines": [f"{prompt}!"]})

    pages = module.Pages(pages=tuple(module.Page(text=text) for text in ("a", "b?", "c")))
    module.clerk.max_attempts = 1
    async with served(module, say) as client:
        found = await result(client, module.make_cards, pages)
    assert [card.text for card in found.cards] == ["a!!", "c!!"]


@pytest.mark.parametrize(
    ("text", "label", "answer"),
    [
        ("my invoice", "", "We have looked at your invoice."),
        ("the heating", "repair", "Somebody comes on Monday."),
        ("how are you", "none_of_these", "We write to you soon."),
    ],
)
async def test_the_router_follows_the_rule_then_the_model_then_falls_back(text: str, label: str, answer: str) -> None:
    """Each way through it."""
    module = example("router")
    async with served(module, (lambda prompt: json.dumps({"label": label})) if label else never) as client:
        assert (await result(client, module.take, module.Mail(text=text))).text == answer


async def test_all_subscribers_of_a_topic_are_told_once() -> None:
    """Three orders are counted by one agent and passed on by another."""
    module = example("publish")
    mailed: list[str] = []
    everybody = asyncio.Event()

    @module.shop.on("mails.sent")  # type: ignore[untyped-decorator]  # the module is loaded at run time
    async def note(order: module.Order, ctx: Any) -> None:  # type: ignore[name-defined]  # the same
        mailed.append(order.item)
        if len(mailed) == 3:
            everybody.set()

    async with served(module, never) as client:
        for count in (1, 2, 3):
            await result(client, module.buy, module.Order(item="tea", count=count))
        await asyncio.wait_for(everybody.wait(), 240)
        await asyncio.wait_for(_sold(client, module, 6), 240)
    assert mailed == ["tea"] * 3


async def _sold(client: Client, module: Any, count: int) -> None:
    """Ask until so many have gone out."""
    found = await client.ask(module.sold, module.Order(item="tea", count=0))
    if found.sold < count:
        await asyncio.sleep(0.01)
        await _sold(client, module, count)


@virtual_time()
async def test_scheduled_work_begins_at_every_tick_and_planning_twice_changes_nothing() -> None:
    """Eleven minutes pass in no time."""
    module = example("scheduled")
    asked: list[str] = []

    def say(prompt: str) -> Line:
        asked.append(prompt)
        return "all is well"

    async with served(module, say) as client:
        await module.plan(client)
        await asyncio.sleep(100)
        await module.plan(client)
        assert [schedule.name for schedule in await client.schedules()] == ["news-digest", "weekly-digest"]
        await asyncio.sleep(560)
        assert await client.unschedule("news-digest")
    assert asked == [f"the news, as of 2026-01-01T00:{minute:02}:00Z" for minute in (5, 10)]


def test_two_nodes_begin_each_tick_of_a_schedule_from_the_shell_once(place: "Place", eventually: "Eventually") -> None:
    """Both look at it, and the diary has one first attempt for every tick, until the schedule is removed."""
    diary = place.home.parent / "diary"
    nodes = [place.node("--name", name) for name in ("one", "two")]
    made = place.command(
        "schedules", "add", "beat", "worker.work", json.dumps({"diary": str(diary)}), "--every", "1s", "--json"
    )
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["next"]

    def fired() -> set[str]:
        lines = [json.loads(line) for node in nodes for line in node.said.splitlines() if line.startswith("{")]
        return {line["task"] for line in lines if line["event"] == "schedule_fired"}

    def begun() -> int:  # a second attempt, of a node that was kept waiting longer than its lease, begins nothing
        return sum(line.endswith(" 1") for line in diary.read_text().splitlines())

    eventually(lambda: len(fired()) >= 3)
    assert [each["name"] for each in json.loads(place.command("schedules", "list", "--json").stdout)] == ["beat"]
    assert "every 1s" in place.command("schedules", "list").stdout
    assert place.command("schedules", "remove", "beat").returncode == 0
    assert place.command("schedules", "remove", "beat").returncode == 1
    eventually(lambda: begun() >= len(fired()))
    place.command("ask", "echo.ping", '{"n": 1, "hold_s": 1.5}')  # time enough for another tick, or for a second run
    assert begun() == len(fired())


def test_what_the_page_shows_is_in_the_examples() -> None:
    """Every block of Python in docs/patterns.md stands, line by line, in a file that the tests above run."""
    files = [path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")]
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "patterns.md").read_text(encoding="utf-8"), re.S)
    assert len(blocks) >= 7
    for block in blocks:
        for part in block.strip("\n").split("\n\n\n"):
            assert any(part in text for text in files), part
