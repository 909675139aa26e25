"""``make demo`` as its reader sees it afterwards: every view over what four agents and a real small model did."""

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place
    from tests.acceptance.console.conftest import Look

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).resolve().parents[3]
IMAGES = ROOT / "docs" / "img"
AGENTS = ("planner", "summariser", "critic", "editor")
NOTES = {
    "garden": "Tomatoes want six hours of sun and a deep pot. Water them in the morning, at the root.",
    "bakery": "A sourdough rests overnight in the cold. It is done when it sounds hollow.",
}


@pytest.fixture(scope="module")
def site(own: "Place", models_home: Path, eventually: Callable[..., object]) -> Iterator[str]:
    """The console that the demo leaves up, after its own run and one of two short notes."""
    own.home.mkdir(parents=True)
    (own.home / "models").symlink_to(models_home)
    own.more["ANTIPHON_CAPTURE_CONTENT"] = "1"
    said = own.home.parent / "demo.out"
    with said.open("wb") as out:
        demo = subprocess.Popen(
            [sys.executable, str(ROOT / "examples" / "digest.py"), "--keep"],
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=own.environ, start_new_session=True,
        )  # fmt: skip
    try:
        eventually(lambda: "the console stays up" in said.read_text() or demo.poll() is not None, said.read_text)
        found = re.search(r"^console: (http\S+)", said.read_text(), re.MULTILINE)
        assert found is not None, said.read_text()
        documents = json.dumps({"documents": [{"title": title, "text": text} for title, text in NOTES.items()]})
        done = own.command("submit", "planner.digest", documents, "--wait", "--timeout", "120", timeout_s=150)
        assert done.returncode == 0, done.stderr
        yield found[1]
    finally:
        demo.terminate()
        demo.wait(30)


def keep(page: Page, name: str) -> None:
    """A picture of the view as it is now."""
    expect(page.get_by_text("loading…")).to_have_count(0)
    IMAGES.mkdir(exist_ok=True)
    page.screenshot(path=IMAGES / f"console-{name}.png")


def test_runs_and_one_of_them(look: Callable[..., "Look"]) -> None:
    """Both digests; of the longer one the work from the submit to the editor, and what a model was asked and said."""
    page = look().go("#/runs")
    runs = page.get_by_role("region", name="Runs")
    expect(runs.get_by_role("row").filter(has_text="planner.digest").filter(has_text="ok")).to_have_count(2)
    keep(page, "runs")
    runs.get_by_role("link", name="planner.digest").last.click()
    tree = page.get_by_role("tree", name="work of this run")
    for name in ("submit planner.digest", "call summariser.summarise"):
        expect(tree.get_by_role("treeitem").filter(has_text=name).first).to_be_visible()
    tree.get_by_role("treeitem").filter(has_text="smollm2").first.locator(".name").click()
    details = page.get_by_role("complementary", name="Details")
    expect(details).to_contain_text(re.compile(r"[\d,]+ tokens in"))
    expect(details).to_contain_text("Summarise this passage in one short sentence.")
    keep(page, "run")
    tree.focus()
    page.keyboard.press("End")
    for name in ("call critic.judge", "call editor.edit"):
        expect(tree.get_by_role("treeitem").filter(has_text=name).first).to_be_visible()


def test_topology_and_messages(look: Callable[..., "Look"]) -> None:
    """Who asked whom, as the demo's source has it; and each message on its subject."""
    page = look().go("#/topology?window_s=3600")
    for asked in ("summariser", "critic", "editor"):
        expect(page.get_by_role("row", name=re.compile(f"planner call {asked}"))).to_be_visible()
    for agent in AGENTS:
        expect(page.locator(".react-flow__node").filter(has_text=agent)).to_be_visible()
    keep(page, "topology")
    page = look().go("#/live?filter=antiphon.*.task.>")
    messages = page.get_by_role("region", name="Messages")
    expect(messages.get_by_role("row").filter(has_text="task.summariser.summarise")).to_have_count(8 + len(NOTES))
    keep(page, "live")


def test_models_agents_and_spending(look: Callable[..., "Look"]) -> None:
    """What a real engine says of itself, on both nodes; where the time went adds up to its calls."""
    page = look().go("#/models?window_s=900")
    models = page.get_by_role("region", name="Models")
    rows = models.get_by_role("row").filter(has_text="smollm2-135m")
    expect(rows.first).to_contain_text(re.compile(r"\d+ of \d+"))  # pages of its cache
    calls = sum(int(row.get_by_role("cell").nth(3).inner_text()) for row in rows.all())
    assert calls >= 2 * (8 + len(NOTES)) + 4  # a summary and a verdict for each, and two for the editor in each run
    keep(page, "models")
    page = look().go("#/agents")
    for agent in AGENTS:
        expect(page.get_by_role("region", name=agent).get_by_text("alive")).to_be_visible()
    keep(page, "agents")
    page = look().go("#/spending")
    spent = page.get_by_role("region", name="Time and tokens").get_by_role("row").filter(has_text="smollm2-135m")
    expect(spent).to_have_count(3)
    assert sum(int(row.get_by_role("cell").nth(2).inner_text()) for row in spent.all()) == calls
    keep(page, "spending")


def test_two_runs_and_one_with_a_faster_model(look: Callable[..., "Look"]) -> None:
    """The long digest beside the short one, and what it would have taken with a model four times as fast."""
    page = look().go("#/runs")
    boxes = page.get_by_role("checkbox", name=re.compile("^compare"))
    boxes.nth(0).check()
    boxes.nth(1).check()
    page.get_by_role("link", name="Compare the two").click()
    expect(page.get_by_role("region", name="Work of both")).to_contain_text("critic.judge")
    keep(page, "compare")
    page = look().go("#/whatif?workflow=planner.digest")
    slider = page.get_by_role("slider", name=re.compile("^smollm2-135m is"))
    slider.focus()
    page.keyboard.press("End")
    page.get_by_role("button", name="replay").click()
    expect(page.get_by_role("region", name="Before and after")).to_contain_text("latency, mean")
    expect(page.get_by_role("heading", name="One run, before and after")).to_be_visible()
    keep(page, "whatif")


def test_findings_tasks_and_sql(look: Callable[..., "Look"]) -> None:
    """The critic's serial calls are noticed; both tasks have succeeded; SQL counts the same model calls."""
    page = look().go("#/findings")
    expect(page.get_by_role("article").filter(has_text="critic.judge").first).to_be_visible()
    page = look().go("#/tasks?state=succeeded")
    expect(page.get_by_role("region", name="Tasks").get_by_role("row").filter(has_text="planner.digest")).to_have_count(
        2
    )
    keep(page, "tasks")
    page = look().go("#/sql")
    page.get_by_label("query").fill(
        "SELECT agent, count(*) AS calls, sum(input_tokens) AS read, sum(output_tokens) AS written,\n"
        "       round(avg(end_ns - start_ns) / 1e6) AS mean_ms\n"
        "FROM spans WHERE model IS NOT NULL GROUP BY agent ORDER BY calls DESC"
    )
    page.get_by_role("button", name="ask").click()
    answer = page.get_by_role("region", name="Answer")
    for agent in ("summariser", "critic", "editor"):
        expect(answer.get_by_role("row").filter(has_text=agent)).to_have_count(1)
    keep(page, "sql")
