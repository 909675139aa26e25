import httpx
import pytest

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize("path", ["/", "/api/runs", "/api/events", "/icon.svg", "/nowhere"])
async def test_nothing_is_shown_without_the_token(anonymous: httpx.AsyncClient, path: str) -> None:
    """Every path but the health check refuses, and says what to do."""
    answer = await anonymous.get(path)
    assert answer.status_code == 401
    assert "antiphon up" in answer.text


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic 0123456789abcdef", "Bearer é"])
async def test_a_wrong_token_is_refused(anonymous: httpx.AsyncClient, header: str) -> None:
    """As is another scheme."""
    answer = await anonymous.get("/api/runs", headers=[(b"authorization", header.encode())])
    assert answer.status_code == 401
    assert "error" in answer.json()


async def test_the_address_sets_a_cookie_and_hides_the_token(anonymous: httpx.AsyncClient) -> None:
    """?token= is answered by a cookie for this port and a redirect; from then on the browser is let in."""
    answer = await anonymous.get("/", params={"token": TOKEN})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("antiphon_7000=") and "httponly" in cookie and "samesite=strict" in cookie
    assert (await anonymous.get("/api/runs")).status_code == 200


async def test_a_wrong_token_in_the_address_sets_nothing(anonymous: httpx.AsyncClient) -> None:
    """Nor does a right one on another path."""
    for path, token in (("/", "wrong"), ("/", ""), ("/api/runs", TOKEN)):
        answer = await anonymous.get(path, params={"token": token})
        assert answer.status_code == 401
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7000", "127.0.0.1", "127.0.0.1:1", "localhost.evil:7000", ""]
)
async def test_a_foreign_host_is_refused_even_with_the_token(client: httpx.AsyncClient, host: str) -> None:
    """A name that merely resolves to this machine gets nothing."""
    assert (await client.get("/api/runs", headers={"host": host})).status_code == 403


@pytest.mark.parametrize("host", ["127.0.0.1:7000", "localhost:7000", "[::1]:7000", "LOCALHOST:7000"])
async def test_our_names_are_accepted(client: httpx.AsyncClient, host: str) -> None:
    """The three loopback names with the right port."""
    assert (await client.get("/api/runs", headers={"host": host})).status_code == 200


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/runs", "/api/nothing"])
async def test_every_answer_is_armoured(client: httpx.AsyncClient, path: str) -> None:
    """No foreign origins, no sniffing, no referrer, no framing, no cache."""
    headers = (await client.get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy and "http" not in policy and "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"


async def test_a_link_elsewhere_leads_here_all_the_same(anonymous: httpx.AsyncClient) -> None:
    """The browser kept the cookie from that request: it is made to ask again, once, and sees no data before."""
    answer = await anonymous.get("/", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200 and "location.replace" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy
    for more in ({"sec-fetch-site": "same-origin"}, {"sec-fetch-site": "none"}, {}):
        assert (await anonymous.get("/", headers=more)).status_code == 401
    assert (await anonymous.get("/api/runs", headers={"sec-fetch-site": "cross-site"})).status_code == 401


async def test_the_health_check_says_nothing_else(anonymous: httpx.AsyncClient) -> None:
    """It needs no token and carries no data."""
    answer = await anonymous.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
