"""Questions about many runs, and a finding that the logging agent made itself, in a real browser."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from playwright.sync_api import Page, expect

if TYPE_CHECKING:
    from tests.acceptance.console.conftest import Look

Open = Callable[..., "Look"]
RUNS = 12


def act(page: Page, site: str, action: str, **wish: object) -> None:
    """One of the console's actions, as a program does it."""
    address, _, token = site.partition("?token=")
    said = page.request.post(f"{address}api/actions/{action}", data=wish, headers={"authorization": f"Bearer {token}"})
    assert said.ok, said.text()


def test_a_finding_is_applied_and_taken_back(look: Open, site: str) -> None:
    """Found in runs of now, asked about in What-if, tried on a share of runs, rolled back; the audit log has both."""
    page = look().go("#/findings")
    act(page, site, "policy.remove", id="haste")  # two trials on the same runs could not be told apart
    for number in range(RUNS):
        act(page, site, "task.submit", agent="notary", handler="check", message={"text": f"case {number}"})
    card = page.get_by_role("article", name=re.compile("Serial independent calls in notary.check"))
    state = card.locator(".status")
    expect(state).to_have_text("open")

    card.get_by_role("link", name="what if").click()
    page.get_by_role("button", name="replay").click()
    expect(page.get_by_role("region", name="Before and after")).to_contain_text(re.compile(r"6\d %"))
    expect(page.get_by_role("heading", name="One run, before and after")).to_be_visible()

    page.go_back()
    card.get_by_role("button", name=re.compile("^canary")).click()
    expect(state).to_have_text("canary")
    expect(card.get_by_role("link", name="compare the arms of its trial")).to_be_visible()
    card.get_by_role("button", name=re.compile("^roll back")).click()
    expect(state).not_to_have_text("canary")
    expect(card.get_by_role("link", name="compare the arms of its trial")).to_have_count(0)

    address, _, token = site.partition("?token=")
    log = page.request.get(f"{address}api/audit", headers={"authorization": f"Bearer {token}"}).json()["actions"]
    done = [(act["action"], act["outcome"]) for act in log if act["action"].startswith("finding.")]
    assert done == [("finding.rollback", "ok"), ("finding.apply", "ok")]


def test_what_if_replays_a_cohort_with_a_policy(look: Open) -> None:
    """Chosen by workflow and time, with a tool that is never asked; all of it in the address."""
    view = look()
    page = view.go("#/whatif")
    page.get_by_label("runs: workflow").select_option("planner.plan")
    page.get_by_label("add a policy").select_option("leave_out")
    page.get_by_label("never ask: what").select_option("tool:search")
    page.get_by_role("button", name="replay").click()
    expect(page.get_by_role("heading", name="3 runs")).to_be_visible()
    steps = page.get_by_role("listitem")
    expect(steps.filter(has_text="tool search")).to_contain_text("200 ms → not done")
    page.get_by_label("runs: model").select_option("m")
    expect(page.get_by_text("This answers what was asked before")).to_be_visible()
    page.reload()
    expect(page.get_by_label("never ask: what")).to_have_value("tool:search")
    expect(page.get_by_label("runs: workflow")).to_have_value("planner.plan")
    assert view.violations() == []


def test_two_cohorts_are_compared(look: Open) -> None:
    """Quantities with intervals, operations side by side, and a warning where there are few runs; on a phone too."""
    for width in (1280, 390):
        view = look(width)
        page = view.go("#/compare")
        page.get_by_role("button", name="two cohorts").click()
        page.get_by_label("first: workflow").select_option("planner.plan")
        page.get_by_role("button", name="same as the first").click()
        expect(page.get_by_label("second: workflow")).to_have_value("planner.plan")
        page.get_by_role("button", name="compare", exact=True).click()
        expect(page.get_by_role("region", name="Quantities")).to_contain_text("latency, p95")
        expect(page.get_by_role("region", name="Operations")).to_contain_text("model m")
        expect(page.get_by_text("3 runs are in both")).to_be_visible()
        expect(page.get_by_text("take them as a hint")).to_be_visible()
        assert view.violations() == []
        assert view.overflow() <= 0
