"""Signing in to a console that other machines could reach, in a real browser."""

import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import trustme
from playwright.sync_api import Browser, Page, expect

from antiphon.runtime.passwords import kept

if TYPE_CHECKING:
    from tests.acceptance.conftest import Place

PASSWORD = "a fairly long password"


@pytest.fixture
def guarded(place: "Place") -> str:
    """The address of a console on every address of this machine, as ``antiphon up`` says it."""
    place.home.mkdir(parents=True, exist_ok=True)
    issued = trustme.CA().issue_cert("localhost")
    pem = place.home / "console.pem"
    issued.private_key_and_cert_chain_pem.write_to_path(pem)
    place.more |= {
        "ANTIPHON_CONSOLE_CERT": str(pem),
        "ANTIPHON_CONSOLE_NAMES": '["localhost"]',
        "ANTIPHON_CONSOLE_PASSWORDS": json.dumps({"ada": kept(PASSWORD)}),
    }
    up = place.start("up", "--host", "0.0.0.0").says("console: https://localhost:")
    found = re.search(r"console: (https://localhost:\d+/)$", up.said, re.M)
    assert found is not None, up.said
    return found[1]


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window that does not ask who made the certificate."""
    with browser.new_context(ignore_https_errors=True, viewport={"width": 390, "height": 800}) as context:
        found = context.new_page()
        found.set_default_timeout(120_000)
        yield found


def test_a_person_signs_in_where_they_wanted_to_go_and_out(guarded: str, page: Page, axe: str) -> None:
    """The form says what was wrong and keeps the place behind the #; so does a link on another site, later."""
    page.goto(f"{guarded}#/audit")
    expect(page.get_by_role("heading", name="Antiphon")).to_be_visible()
    for dark in (False, True):
        page.emulate_media(color_scheme="dark" if dark else "light")
        page.evaluate(axe)
        assert page.evaluate("axe.run(document).then(r => r.violations.map(v => v.id))") == []
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("something else entirely")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("do not go together")
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    actions = page.get_by_role("region", name="Actions")
    expect(actions).to_contain_text("login")
    expect(actions).to_contain_text("ada")

    page.goto("about:blank")
    page.set_content(f'<a href="{guarded}#/audit">look</a>')
    page.get_by_role("link", name="look").click()
    expect(actions).to_contain_text("login")
    page.get_by_role("button", name="sign out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    page.goto(guarded)
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_foreign_page_cannot_sign_a_visitor_in(guarded: str, page: Page) -> None:
    """Its form is posted with its own origin, and refused."""
    page.set_content(
        f'<form method="post" action="{guarded}"><input name="name" value="ada">'
        f'<input name="password" value="{PASSWORD}"><button>go</button></form>'
    )
    with page.expect_response(guarded) as answer:
        page.get_by_role("button", name="go").click()
    assert answer.value.status == 403
    page.goto(guarded)
    expect(page.get_by_label("Password")).to_be_visible()
