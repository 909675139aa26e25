"""A proxy's word: believed from the proxy only, once, and never enough to act."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from antiphon.runtime.console.access import Access, access_of
from antiphon.runtime.settings import Settings

NAME = "console.example.org"
HEADER = "X-Forwarded-User"


def access(**given: Any) -> Access:
    wish = {"home": "home", "console_names": [NAME], "console_proxy_header": HEADER, **given}
    return access_of(Settings.model_validate(wish))


@pytest.fixture
async def proxied(studio: Any) -> AsyncIterator[httpx.AsyncClient]:
    """What the proxy sends for a browser in which ada has signed in."""
    async with (
        studio.open(access()) as console,
        httpx.AsyncClient(base_url=console.address, headers={"host": NAME, HEADER: "ada"}) as found,
    ):
        yield found


async def test_whom_the_proxy_names_may_look(proxied: httpx.AsyncClient) -> None:
    """There is nothing to sign in to and nothing to sign out of."""
    assert (await proxied.get("/")).status_code in (200, 503)  # without a build the page says so
    assert (await proxied.get("/api/runs")).status_code == 200
    session = (await proxied.get("/api/session")).json()
    assert (session["person"], session["signed_in"]) == ("ada", False)
    assert (await proxied.post("/logout")).status_code == 401


async def test_they_act_under_their_name(proxied: httpx.AsyncClient) -> None:
    """From our page, under the proxy's name and TLS; by another's page, or with another's token, not."""
    token = (await proxied.get("/api/session")).json()["action_token"]
    others = (await proxied.get("/api/session", headers={HEADER: "bob"})).json()["action_token"]
    assert token != others
    for given, origin, status in (
        (token, f"https://{NAME}", 200),
        (token, f"http://{NAME}", 403),
        (token, "https://evil.example", 403),
        (token, "null", 403),
        (others, f"https://{NAME}", 401),
        ("x", f"https://{NAME}", 401),
    ):
        headers = {"x-antiphon-action": given, "origin": origin}
        wish = {"id": "nope", "by": "eve"}
        answer = await proxied.post("/api/actions/policy.remove", json=wish, headers=headers)
        assert answer.status_code == status, (given, origin)
    (act,) = (await proxied.get("/api/audit")).json()["actions"]
    assert (act["action"], act["by"]) == ("policy.remove", "ada")


@pytest.mark.parametrize(
    "given",
    [
        [],
        [""],
        ["ada", "root"],
        ["owner"],
        ["a" * 65],
        ["ada\xe9"],
        ["ada\tx"],
    ],
)
async def test_what_names_nobody_is_refused(proxied: httpx.AsyncClient, given: list[str]) -> None:
    """No header, an empty one, two (one of which somebody else sent), or what is no name."""
    del proxied.headers[HEADER]
    headers = [(HEADER.encode(), value.encode("latin-1")) for value in given]
    answer = await proxied.get("/api/runs", headers=headers)
    assert answer.status_code == 401
    assert HEADER in answer.json()["error"]["message"]


async def test_the_header_is_believed_from_the_proxy_only(studio: Any) -> None:
    """Whoever else can connect is a stranger, whatever addresses they claim to forward for; the token still works."""
    async with studio.open(access(console_proxies=["192.0.2.7"])) as console:
        for more in ({}, {"x-forwarded-for": "192.0.2.7"}, {"forwarded": "for=192.0.2.7"}):
            async with httpx.AsyncClient(base_url=console.address, headers={HEADER: "ada", **more}) as stranger:
                assert (await stranger.get("/api/runs")).status_code == 401
                assert (await stranger.get("/", params={"token": "0123456789abcdef"})).status_code == 401
        assert (await console.http.get("/api/runs", headers={HEADER: "ada"})).status_code == 200
        assert (await console.act("policy.remove", id="nope", by="ada")).status_code == 200
        assert (await console.get("/api/audit"))["actions"][0]["by"] == "owner"


async def test_without_tls_other_machines_are_not_heard(studio: Any) -> None:
    """On an address of the network: only the proxy is, at the HTTP door too, so that no token travels in the clear."""
    found = access(console_host="0.0.0.0", console_proxies=["192.0.2.7"])
    async with studio.open(found) as console:
        for path in ("/", "/api/runs", "/v1/openapi.json"):
            answer = await console.http.get(path, headers={HEADER: "ada"})
            assert answer.status_code == 403 and "console_proxies" in answer.text
        assert (await console.http.get("/healthz")).text == "ok\n"


async def test_the_proxy_is_heard_on_such_an_address(studio: Any) -> None:
    """Here it is this machine."""
    async with studio.open(access(console_host="0.0.0.0")) as console:
        headers = {HEADER: "ada", "host": NAME, "authorization": ""}
        assert (await console.http.get("/api/runs", headers=headers)).status_code == 200
        assert (await console.http.get("/v1/openapi.json")).status_code == 200


async def test_with_tls_programs_come_from_anywhere(studio: Any) -> None:
    """They have the token; the header still counts from the proxy only."""
    found = access(
        console_host="0.0.0.0", console_proxies=["192.0.2.7"], console_cert=studio.certificate.chain,
        console_key=studio.certificate.key,
    )  # fmt: skip
    async with studio.open(found) as console:
        assert (await console.http.get("/api/runs")).status_code == 200
        refused = await console.http.get("/api/runs", headers={"authorization": "", HEADER: "ada"})
        assert refused.status_code == 401
