"""Every view, as it looks: readable, reachable, within its window, in both themes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.acceptance.console.conftest import Look

VIEWS = {
    "#/runs": "Runs",
    "#/runs/plan-1": "planner.plan",
    "#/runs/plan-1?span=00000000000186a6": "planner.plan",
    "#/runs/long": "boss.go",
    "#/findings": "Findings",
    "#/topology": "Topology",
    "#/live": "Live",
    "#/chat": "Chat",
    "#/tasks": "Tasks",
    "#/models": "Models",
    "#/whatif": "What if",
    "#/compare?a=plan-1&b=plan-2": "Compare",
    "#/agents": "Agents",
    "#/spending": "Where time and tokens went",
    "#/policies": "Policies",
    "#/audit": "Audit",
    "#/sql": "SQL",
}
IMAGES = Path(__file__).resolve().parents[3] / "docs" / "img"


def settled(page: Page, heading: str) -> None:
    """The view is there, and so is what it has asked for."""
    expect(page.get_by_role("heading", level=1, name=heading)).to_be_visible()
    expect(page.get_by_text("loading…")).to_have_count(0)


@pytest.mark.parametrize("width", [1280, 390], ids=["wide", "narrow"])
def test_every_view_is_accessible_and_fits(look: Callable[..., "Look"], width: int) -> None:
    """axe finds nothing, light or dark; nothing is wider than its window or asked for elsewhere; no error is logged."""
    view = look(width)
    wrong = {}
    for route, heading in VIEWS.items():
        settled(view.go(route), heading)
        found = view.violations() + ([f"{view.overflow()} px too wide"] if view.overflow() > 0 else [])
        if found:
            wrong[route] = found
    assert wrong == {}


def test_colours_follow_the_machine_or_the_switch(look: Callable[..., "Look"]) -> None:
    """Light and dark differ, the switch goes through dark and light to automatic, and its choice is kept."""
    view = look()

    def back() -> str:
        return str(view.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = back()
    view.page.get_by_role("button", name=re.compile("^Colours: auto")).click()
    expect(view.page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert back() != light
    view.page.reload()
    expect(view.page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert back() != light
    view.page.get_by_role("button", name="Colours: dark").click()
    assert back() == light


def test_hostile_strings_are_text(look: Callable[..., "Look"]) -> None:
    """Markup in messages, errors, findings and prompts is shown as it stands."""
    view = look()
    page = view.go("#/findings")
    expect(page.get_by_role("heading", name="P9 <img src=x onerror=alert(1)>")).to_be_visible()
    for route, name in (("#/policies", "Policies"), ("#/audit", "Actions")):
        expect(view.go(route).get_by_role("region", name=name)).to_contain_text("<img src=x onerror=alert(1)>")
    page = view.go("#/runs/plan-1")
    page.get_by_role("treeitem").filter(has_text="chat m").locator(".name").click()
    expect(page.get_by_text("Sum up <img src=x onerror=alert(1)>")).to_be_visible()
    assert page.locator("img:not([src='/icon.svg'])").count() == 0


@pytest.mark.slow
def test_pictures_of_what_the_demo_has_nothing_of(look: Callable[..., "Look"]) -> None:
    """Remedies that were measured, policies, actions and a conversation, for docs/img; test_demo.py has the rest."""
    view = look()
    IMAGES.mkdir(exist_ok=True)
    for name in ("Chat", "Findings", "Policies", "Audit"):
        settled(view.go(f"#/{name.lower()}"), name)
        if name == "Chat":
            view.page.get_by_label("agent", exact=True).select_option("teller.tell")
            view.page.get_by_label("to teller.tell").fill("what does the kettle cost?")
            view.page.get_by_role("button", name="send").click()
            expect(view.page.get_by_text("you said: what does the kettle cost?")).to_be_visible()
        view.page.screenshot(path=IMAGES / f"console-{name.lower()}.png")
