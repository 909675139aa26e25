"""Signing in over TLS: who may, what a browser is given, what guessing and foreign pages achieve."""

import asyncio
import threading
from collections.abc import AsyncIterator
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from antiphon.runtime.console import by_password
from antiphon.runtime.console.access import Access
from antiphon.runtime.console.attempts import EACH
from antiphon.runtime.passwords import kept

RIGHT = {"name": "ada", "password": "a fairly long password"}


@pytest.fixture
async def guarded(studio: Any) -> AsyncIterator[Any]:
    """A console that ada may sign in to."""
    access = Access(
        names=("console.example.org",),
        certificate=studio.certificate,
        passwords={"ada": SecretStr(kept(RIGHT["password"]))},
    )
    async with studio.open(access) as found:
        yield found


@pytest.fixture
async def browser(guarded: Any, studio: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Knows nothing yet."""
    async with httpx.AsyncClient(base_url=guarded.address, verify=studio.trust, timeout=300) as found:
        yield found


async def sign_in(browser: httpx.AsyncClient, **more: str) -> httpx.Response:
    """As the form posts it."""
    origin = str(browser.base_url).rstrip("/")
    return await browser.post("/", data={**RIGHT, **more}, headers={"origin": origin})


async def test_it_speaks_tls_and_nothing_else(guarded: Any) -> None:
    """A browser that does not know who made the certificate goes away, and so does one without TLS."""
    assert guarded.address.startswith("https://127.0.0.1:")
    assert (await guarded.http.get("/healthz")).text == "ok\n"
    async with httpx.AsyncClient() as other:
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await other.get(f"{guarded.address}/healthz")
        with pytest.raises(httpx.HTTPError):
            await other.get(f"{guarded.address.replace('https', 'http')}/healthz")


@pytest.mark.parametrize("path", ["/api/runs", "/index.js", "/api/events", "/logout", "/nowhere"])
async def test_strangers_see_the_form_and_nothing_else(browser: httpx.AsyncClient, path: str) -> None:
    """It carries no script, takes no frame, posts nowhere else; a token in the address does not open it."""
    front = await browser.get("/", params={"token": "0123456789abcdef"})
    assert front.status_code == 401 and "set-cookie" not in front.headers
    assert '<form method="post">' in front.text and "<script" not in front.text
    policy = front.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "form-action 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "script-src" not in policy and "unsafe" not in policy and "http" not in policy
    assert front.headers["referrer-policy"] == "same-origin"
    assert front.headers["cache-control"] == "no-store"
    answer = await browser.get(path)
    assert answer.status_code == 401 and "sign in" in answer.text


async def test_a_person_signs_in_acts_under_their_name_and_out(browser: httpx.AsyncClient, guarded: Any) -> None:
    """The cookie is of no use to scripts, foreign pages, or without TLS; the audit log has who came, did and left."""
    answer = await sign_in(browser)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    port = httpx.URL(guarded.address).port
    (cookie,) = SimpleCookie(answer.headers["set-cookie"]).values()
    assert cookie.key == f"__Host-antiphon_{port}" and len(cookie.value) == 43
    assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "strict"
    assert cookie["path"] == "/" and not cookie["domain"] and cookie["max-age"] == "43200"

    assert (await browser.get("/api/runs")).status_code == 200
    session = (await browser.get("/api/session")).json()
    assert (session["person"], session["signed_in"]) == ("ada", True)
    wish = {"id": "nope", "by": "bob"}
    acted = await browser.post(
        "/api/actions/policy.remove", json=wish, headers={"x-antiphon-action": session["action_token"]}
    )
    assert acted.status_code == 200
    left = await browser.post("/logout", headers={"x-antiphon-action": session["action_token"]})
    assert left.status_code == 204 and "max-age=0" in left.headers["set-cookie"].lower()
    browser.cookies.set(cookie.key, cookie.value)
    assert (await browser.get("/api/runs")).status_code == 401

    log = (await guarded.get("/api/audit"))["actions"]
    assert [(each["action"], each["by"], each["outcome"]) for each in log] == [
        ("logout", "ada", "ok"),
        ("policy.remove", "ada", "ok"),
        ("login", "ada", "ok"),
    ]
    assert log[-1]["arguments"] == {"address": "127.0.0.1"}


async def test_a_page_left_open_hears_nothing_after_signing_out(browser: httpx.AsyncClient, studio: Any) -> None:
    """Its stream of news ends, and what happens from then on is not in it."""
    await sign_in(browser)
    session = (await browser.get("/api/session")).json()
    async with asyncio.timeout(60), browser.stream("GET", "/api/events") as news:
        parts = news.aiter_text()
        assert "retry" in await anext(parts)
        await browser.post("/logout", headers={"x-antiphon-action": session["action_token"]})
        studio.live.publish("runs", {"run": "afterwards"})
        assert "afterwards" not in "".join([part async for part in parts])


async def test_programs_keep_the_token_and_its_name(guarded: Any) -> None:
    """As a bearer, over TLS; nobody who has it can claim to be another."""
    assert (await guarded.act("policy.remove", id="nope", by="ada")).status_code == 200
    (act,) = (await guarded.get("/api/audit"))["actions"]
    assert act["by"] == "owner"
    assert (await guarded.get("/api/session"))["signed_in"] is False
    assert (await guarded.http.post("/logout")).status_code == 204


async def test_a_wrong_password_is_refused_and_guessing_is_slow(browser: httpx.AsyncClient, guarded: Any) -> None:
    """401, whether the name or the password was wrong; after five 429, the right one too, and nothing is looked at."""
    for given in ({"password": "a fairly long passwor"}, {"name": "eve"}):
        answer = await sign_in(browser, **given)
        assert answer.status_code == 401 and "set-cookie" not in answer.headers
        assert "do not go together" in answer.text
    for _ in range(EACH.at_once - 2):
        assert (await browser.post("/", content=b"nothing")).status_code == 422
    late = await sign_in(browser)
    assert late.status_code == 429 and 0 < int(late.headers["retry-after"]) <= EACH.every_s
    assert "Try again in" in late.text
    assert (await guarded.get("/api/audit"))["actions"] == []
    assert (await guarded.http.get("/api/runs")).status_code == 200  # programs go on


async def test_few_passwords_are_looked_at_at_once(browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 16 MiB and a core: more wait for their turn."""
    more = threading.Barrier(by_password.AT_ONCE + 1)
    met: list[str] = []

    def matches(password: str, kept: str) -> bool:
        try:
            more.wait(0.3)
        except threading.BrokenBarrierError:  # nobody else came
            return False
        met.append(password)
        return False

    monkeypatch.setattr(by_password, "matches", matches)
    found = await asyncio.gather(*(sign_in(browser) for _ in range(EACH.at_once + 1)))
    assert sorted(answer.status_code for answer in found) == [401] * EACH.at_once + [429]
    assert met == []


@pytest.mark.parametrize("where", ["https://evil.example/", "//evil.example", "/\\evil.example", "/api/docs"])
async def test_nobody_is_led_elsewhere(browser: httpx.AsyncClient, where: str) -> None:
    """Whatever an address or a form asks for, signing in leads to the front page."""
    origin = str(browser.base_url).rstrip("/")
    answer = await browser.post(
        "/", params={"next": where, "url": where}, data={**RIGHT, "next": where}, headers={"origin": origin}
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_foreign_pages_cannot_sign_in_act_or_sign_out(browser: httpx.AsyncClient, guarded: Any) -> None:
    """By form or by script: it takes our origin and our page's token, and every session has a token of its own."""
    for origin in ("https://evil.example", "null", guarded.address.replace("https", "http")):
        assert (await browser.post("/", data=RIGHT, headers={"origin": origin})).status_code == 403
    assert (await sign_in(browser)).status_code == 303
    wish: Any = {"json": {"id": "x"}}
    for path in ("/api/actions/policy.remove", "/logout", "/api/sql"):
        assert (await browser.post(path, **wish)).status_code == 401
        assert (await browser.post(path, **wish, headers={"origin": "https://evil.example"})).status_code == 403
    first = (await browser.get("/api/session")).json()["action_token"]
    assert (await sign_in(browser)).status_code == 303
    second = (await browser.get("/api/session")).json()["action_token"]
    assert first != second
    for token, status in ((first, 401), (second, 200)):
        headers = {"x-antiphon-action": token, "origin": guarded.address}
        assert (await browser.post("/api/actions/policy.remove", **wish, headers=headers)).status_code == status
    browser.cookies.clear()
    assert (await browser.post("/api/actions/policy.remove", **wish, headers=headers)).status_code == 401


@pytest.mark.parametrize("host", ["evil.example", "console.example.org.evil.example", "127.0.0.1:1"])
async def test_other_names_are_refused(guarded: Any, host: str) -> None:
    """Even with the token: a name that merely resolves to us is not ours."""
    assert (await guarded.http.get("/api/runs", headers={"host": host})).status_code == 403
    assert (await guarded.http.get("/api/runs", headers={"host": "console.example.org"})).status_code == 200


@pytest.mark.parametrize(
    "body", [b"", b"name=ada", b"name=\xff&password=x", b"&" * 4_000, b"name=ada&password=" + b"x" * 9_000, b"%00=%zz"]
)
async def test_what_is_no_form_is_refused(browser: httpx.AsyncClient, body: bytes) -> None:
    """A 4xx, with the form again."""
    answer = await browser.post("/", content=body)
    assert answer.status_code in (401, 413, 422) and "<form" in answer.text
