"""What the pages of totals say about runs whose numbers are known: models, agents, spending, predictions."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Locator, expect

if TYPE_CHECKING:
    from tests.acceptance.console.conftest import Look

Open = Callable[..., "Look"]


def cells(table: Locator, row: str) -> dict[str, str]:
    """One row of a table, by heading."""
    found = table.get_by_role("row").filter(has_text=row)
    expect(found).to_have_count(1)
    headings = table.get_by_role("columnheader").all_inner_texts()
    return dict(zip(headings, found.get_by_role("cell").all_inner_texts(), strict=True))


def test_a_model_is_measured(look: Open) -> None:
    """Three calls of 0.7 s, 0.1 s of it waiting: pace, cache, batch, pages and cost; charts; a link to its runs.

    Quantiles are of sketches, which are right within 2 %: 295 for 300 ms.
    """
    page = look().go("#/models")
    table = page.get_by_role("region", name="Models")
    found = cells(table, "n1")
    assert {name: found[name] for name in found if name not in ("busy", "tokens a second")} == {
        "model": "m", "instance": "n1", "tenant": "default", "calls": "3", "first token p50, p95": "295 ms, 295 ms",
        "between tokens": "21 ms", "waited p95": "100 ms", "tokens in": "300", "cached": "120 (40 %)", "out": "60",
        "batch": "2 of 4", "pages": "3 of 10", "cost": "$0.006",
    }  # fmt: skip
    assert float(found["tokens a second"]) == pytest.approx(60 / 2.1, rel=0.01)
    assert found["busy"] == "0 %"  # two seconds of an hour
    for title in ("m: latency of a call", "m: tokens a second"):
        chart = page.locator("figure").filter(has_text=title)
        expect(chart.locator("canvas")).to_be_visible()
        assert drawn(chart.locator("canvas"))
    page.get_by_label("window").select_option("900")
    expect(table).to_contain_text("120 (40 %)")
    assert "window_s=900" in page.url
    table.get_by_role("link", name="m", exact=True).click()
    expect(page.get_by_role("link", name="planner.plan")).to_have_count(3)


def drawn(canvas: Locator) -> bool:
    """Whether something other than nothing is on it."""
    return bool(
        canvas.evaluate(
            "at => at.getContext('2d').getImageData(0, 0, at.width, at.height).data.some((v, n) => n % 4 === 3 && v)"
        )
    )


def test_agents_say_what_they_take_and_where_they_are(look: Open) -> None:
    """A card for each that is alive, its handlers with their types, the node it is on, and a way to its runs."""
    page = look().go("#/agents")
    card = page.get_by_role("region", name="echo")
    for text in ("alive", "echo.again(", "Ask) →", "on studio"):
        expect(card).to_contain_text(text)
    node = cells(page.get_by_role("region", name="Nodes"), "studio")
    assert set(node["agents"].split(", ")) == {"teller", "echo", "shop", "notary"}
    assert (node["kind"], node["missing"], node["dropped"]) == ("node", "", "")
    assert int(node["pid"]) > 1
    card.get_by_role("link", name="runs of echo").click()
    expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    expect(page.get_by_label("agent", exact=True)).to_have_value("echo")


def test_spending_adds_up(look: Open) -> None:
    """Three runs: what their handlers, model calls and tools took together, and what of it was waiting."""
    page = look().go("#/spending")
    table = page.get_by_role("region", name="Time and tokens")
    model = cells(table, "chat m")
    assert (model["agent"], model["calls"], model["total"]) == ("writer", "3", "2.1 s")
    assert (model["prefill"], model["decode"]) == ("600 ms", "1.2 s")
    assert (model["tokens in"], model["cached"], model["out"]) == ("300", "120", "60")
    critic = cells(table, "critichandler")
    assert critic["calls"] == "3 (3 failed)"
    page.get_by_label("window").select_option("604800")
    expect(table.get_by_role("row").filter(has_text="chat m")).to_contain_text("2.1 s")


def test_predictions_are_drawn_against_what_was_measured(look: Open) -> None:
    """One point below the even line, because the prediction was too hopeful, with both intervals."""
    page = look().go("#/findings")
    plot = page.get_by_role("region", name="Calibration").get_by_role("img")
    expect(plot).to_have_count(1)
    expect(plot).to_have_accessible_name(re.compile("^P3, latency saved a run: 1 measured"))
    expect(plot.locator("title")).to_have_text("tool search is asked the same twice: predicted 200 ms, measured 150 ms")
    point = plot.locator("circle")
    across, down = (float(point.get_attribute(name) or "nan") for name in ("cx", "cy"))
    assert (across, down) == pytest.approx((160 * 0.2 / 0.3, 160 - 160 * 0.15 / 0.3))  # 0 to 0.3 s on 160 pixels
    interval = plot.locator("g:has(circle) path")
    numbers = [float(n) for n in re.findall(r"[\d.]+", interval.get_attribute("d") or "")]
    assert numbers == pytest.approx([64, 80, 160, 160 * 0.2 / 0.3, 112, 40])


def test_a_finding_leads_to_its_runs(look: Open) -> None:
    """Those that are its evidence, in the list and as a cohort beside all of the workflow."""
    page = look().go("#/findings")
    card = page.get_by_role("article", name=re.compile("wait for one another"))
    card.get_by_role("link", name="its runs").click()
    runs = page.get_by_role("region", name="Runs")
    expect(runs.get_by_role("link")).to_have_count(1)
    expect(runs.get_by_role("link")).to_have_attribute("href", "#/runs/plan-1")
    expect(page.get_by_label("finding")).to_have_value("f1")
    page.go_back()
    card.get_by_role("link", name="compare them with all").click()
    page.get_by_role("button", name="compare", exact=True).click()
    expect(page.get_by_role("region", name="Quantities")).to_contain_text("latency, p95")
    expect(page.get_by_role("button", name="evidence of f1")).to_be_visible()
