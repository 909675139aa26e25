"""What somebody does on the first evening: the scaffolded project, and a supervisor with workers and a person.

On a real server, with the real small model.
"""

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

from antiphon import Client
from antiphon.runtime.compose import open_host
from antiphon.runtime.loader import load_system
from antiphon.runtime.node import Node
from antiphon.runtime.settings import Settings

if TYPE_CHECKING:
    from tests.acceptance.conftest import Eventually, Place

SUPERVISOR = Path(__file__).parents[2] / "examples" / "supervisor.py"


def with_models(home: Path, models_home: Path) -> None:
    """Make the home, with the model in it."""
    home.mkdir()
    (home / "models").symlink_to(models_home)


def test_a_scaffolded_project_gives_a_traced_reply(place: "Place", models_home: Path, eventually: "Eventually") -> None:
    """init, run, submit, trace: the commands that init prints, and nothing edited between them."""
    with_models(place.home, models_home)
    made = place.command("init", ".", "--model", "smollm2-135m", "--json")
    assert made.returncode == 0, made.stderr
    *_, run, submit = json.loads(made.stdout)["next"]
    assert run == "antiphon run agents.py:system"
    place.start("run", "agents.py:system").says("Ctrl-C drains and stops")
    body = submit.partition("'")[2].partition("'")[0]
    done = place.command("submit", "guide.answer", body, "--wait", "--timeout", "240", timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) == {"text"}

    def traced() -> str:
        tree = place.command("trace", "--last")
        return tree.stdout if "editor.review" in tree.stdout else ""

    tree = eventually(traced)
    assert "guide.answer" in tree and "look_up" in tree


async def test_five_workers_are_supervised_and_a_person_decides(tmp_path: Path, models_home: Path) -> None:
    """The report that the person edited is the task's outcome, and the five studies are its children."""
    with_models(tmp_path / "home", models_home)
    system = load_system(f"{SUPERVISOR}:system")
    report = next(agent for agent in system.agents if agent.name == "chief").handlers["report"]
    async with open_host(Settings(home=tmp_path / "home"), node="office") as host, Node(host, system.agents):
        task = await Client(host).submit(report, report.input(topic="a bakery"))
        async with asyncio.timeout(240):  # a busy machine: ten seconds are usual
            while not (asked := await host.approvals.all()):  # noqa: ASYNC110  # what it asks is on the bus
                await asyncio.sleep(0.05)
        assert (asked[0].to, asked[0].task) == ("role:editor", task.id)
        parts = asked[0].proposal["parts"]
        assert list(parts) == ["customers", "costs", "staff", "place", "risks"]
        assert all(text.strip() for text in parts.values())
        edited = {"parts": {**parts, "risks": "Rats."}}
        await host.approvals.answer(asked[0].id, approved=True, by="grace", value=edited)
        assert (await task.result(timeout_s=240)).model_dump() == edited
