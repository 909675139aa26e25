"""Who may come in, what they may send, and from which pages."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from starlette.types import Message, Receive, Scope, Send
from structlog.testing import capture_logs

from antiphon import Client
from antiphon.runtime.gateways.http import callers, intake
from antiphon.schemas.telemetry import SpanRecord

ADD = "/v1/agents/clerk/add"


async def test_only_a_token_opens(address: str) -> None:
    """No token, a wrong one, one in a cookie or in the address: 401, and nothing is said about what there is."""
    async with httpx.AsyncClient(base_url=address) as http:
        for headers in (
            {},
            {"authorization": "Bearer wrong-0123456789abcdef"},
            {"authorization": "Basic web-0123456789abcdef"},
            {"authorization": "Bearer"},
            {"authorization": "Bearer \xff"},
            {"cookie": "token=web-0123456789abcdef"},
        ):
            raw = {key.encode(): value.encode("latin-1") for key, value in headers.items()}
            for path in ("/v1/models", "/v1/openapi.json", "/v1/nothing", "/v1/models?token=web-0123456789abcdef"):
                answer = await http.get(path, headers=raw)
                assert (answer.status_code, answer.json()["error"]["type"]) == (401, "Unauthorized")
                assert answer.headers["www-authenticate"] == "Bearer"


async def test_each_caller_has_a_name(address: str, workshop: Any) -> None:
    """The name behind the token is what the run is labelled with."""
    async with httpx.AsyncClient(base_url=address) as http:
        for token in ("shop-0123456789abcdef", "web-0123456789abcdef"):
            answer = await http.post(ADD, json={"numbers": []}, headers={"authorization": f"bearer {token}"})
            assert answer.status_code == 200
    assert workshop.callers == ["shop", "web"]


async def test_the_callers_name_is_in_the_trace(http: httpx.AsyncClient, spans: list[SpanRecord]) -> None:
    """On the span with which the run begins."""
    await http.post(ADD, json={"numbers": []})
    async with asyncio.timeout(60):
        while not any(span.attributes.get("antiphon.label.caller") == "web" for span in spans):  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_more_than_can_be_open_are_told_to_come_again(
    http: httpx.AsyncClient, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with Retry-After, and none is lost for those that come later."""
    monkeypatch.setattr(callers, "MOST_OPEN", 1)
    waiting = asyncio.create_task(http.post("/v1/agents/porter/wait", json={"text": ""}))
    await workshop.waiting.wait()
    answer = await http.post(ADD, json={"numbers": []})
    assert (answer.status_code, answer.json()["error"]["type"], answer.headers["retry-after"]) == (429, "Busy", "1")
    workshop.gate.set()
    assert (await waiting).json() == {"text": "through"}
    assert (await http.post(ADD, json={"numbers": []})).status_code == 200


async def test_one_caller_cannot_take_the_places_of_another() -> None:
    """Half of all places is divided among the callers and kept for them; alone a caller has all."""
    gate = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await gate.wait()

    async def status(door: callers.Callers, name: str) -> int:
        """What a request is told that is refused; 0 for one that is answered."""
        told: list[int] = []

        async def send(message: Message) -> None:
            told.append(message.get("status", 0))

        async def receive() -> Message:
            return {"type": "http.disconnect"}

        headers = [(b"authorization", f"Bearer {name}".encode())]
        await door({"type": "http", "headers": headers}, receive, send)
        return max(told, default=0)

    for names, most in ((("noisy", "paid"), 384), (("noisy",), 512)):
        gate.clear()
        door = callers.Callers(app, {name: SecretStr(name) for name in names})
        flood = [asyncio.create_task(status(door, "noisy")) for _ in range(600)]
        flood += [asyncio.create_task(status(door, name)) for name in names[1:] for _ in range(128)]
        for _ in range(10):  # turns of the loop: nothing is waited for but the gate
            await asyncio.sleep(0)
        assert sum(not task.done() for task in flood[:600]) == most
        gate.set()
        told = await asyncio.gather(*flood)
        assert (told[:600].count(429), set(told[600:])) == (600 - most, {0} if names[1:] else set())


BODIES: list[tuple[bytes, str, int, str]] = [
    (b'{"numbers": []}', "text/plain", 415, "UnsupportedMediaType"),
    (b'{"numbers": []}', "", 415, "UnsupportedMediaType"),
    (b"", "application/json", 400, "InvalidJson"),
    (b"{", "application/json", 400, "InvalidJson"),
    (b'{"numbers": [NaN]}', "application/json", 400, "InvalidJson"),
    (b'{"unit": "\\ud800"}', "application/json", 400, "InvalidJson"),
    (b"[" * 100_000, "application/json", 400, "InvalidJson"),
    (b"\xff\xfe", "application/json", 400, "InvalidJson"),
    (b"7" * 5_000, "application/json", 400, "InvalidJson"),
]


async def test_bodies_that_are_none(http: httpx.AsyncClient) -> None:
    """Each is the caller's mistake, and said to be."""
    for body, kind, status, type in BODIES:
        answer = await http.post(ADD, content=body, headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, type), body[:20]
    kind = "Application/JSON; charset=utf-8"
    answer = await http.post(ADD, content=b'{"numbers": [1]}', headers={"content-type": kind})
    assert answer.json()["total"] == 1


async def test_a_body_that_is_too_large(http: httpx.AsyncClient, address: str, client: Client) -> None:
    """413: at once if it says so before, else when there is more than a message may have."""
    size = client.host.max_body + 1
    assert b" 413 " in await first_line(address, f"content-length: {size}")

    async def parts() -> AsyncIterator[bytes]:
        yield b" " * (size - 1)
        yield b" "

    answer = await http.post(ADD, content=parts(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["type"]) == (413, "BodyTooLarge")


async def test_a_body_that_does_not_come(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up: 408."""
    monkeypatch.setattr(intake, "BODY_S", 0.05)
    assert b" 408 " in await first_line(address, "content-length: 10")


async def first_line(address: str, header: str) -> bytes:
    """The status line for a request whose body never comes."""
    url = httpx.URL(address)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST {ADD} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer web-0123456789abcdef\r\n{header}\r\n"
    writer.write(f"{head}content-type: application/json\r\n\r\n".encode())
    try:
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


async def test_unknown_paths_and_methods(http: httpx.AsyncClient) -> None:
    """404 and 405 in the form of all errors; a slash too many is no redirect."""
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", ADD, 405),
        ("POST", f"{ADD}/", 404),
        ("PUT", "/v1/tasks/x", 405),
        ("GET", "/v1/tasks/%0A", 404),
    ):
        answer = await http.request(method, path)
        assert answer.status_code == status, path
        assert answer.json()["error"]["message"]


async def test_what_nobody_thought_of_is_not_shown(
    http: httpx.AsyncClient, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mistake of our own is 500 for the caller and a traceback in the log."""

    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(client, "submit", broken)
    with capture_logs() as logs:
        answer = await http.post(f"{ADD}/tasks", json={"numbers": []})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "InternalError")
    assert "secret" not in answer.text
    assert [log["event"] for log in logs] == ["http_door_failed"]


async def test_only_pages_that_are_named_may_call(address: str) -> None:
    """A preflight needs no token; another origin gets no permission, and so the browser does not let it read."""
    asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    async with httpx.AsyncClient(base_url=address) as http:
        allowed = await http.options(ADD, headers={"origin": "https://app.example.org", **asks})
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, "https://app.example.org")
        other = await http.options(ADD, headers={"origin": "https://evil.example.org", **asks})
        assert "access-control-allow-origin" not in other.headers


@pytest.mark.parametrize("origins", [()])
async def test_no_page_may_call_unless_one_is_named(http: httpx.AsyncClient, origins: object) -> None:
    """CORS is off: a preflight is a request like any other."""
    answer = await http.options(ADD, headers={"origin": "https://app.example.org", "authorization": ""})
    assert answer.status_code == 401
    found = await http.get("/v1/models", headers={"origin": "https://app.example.org"})
    assert not [name for name in found.headers if name.startswith("access-control-")]


async def test_a_token_may_have_letters_of_any_language() -> None:
    """It is compared byte by byte, as clients send it: in UTF-8."""
    names: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        names.append(scope["state"]["caller"])

    async def nothing(*_: Any) -> Any:
        return None

    door = callers.Callers(app, {"web": SecretStr("grüße-0123456789")})
    for token in ("grüße-0123456789", "grusse-0123456789"):
        headers = [(b"authorization", f"Bearer {token}".encode())]
        await door({"type": "http", "headers": headers}, nothing, nothing)
    assert names == ["web"]
