"""Who may come in, in whose name, with what; and what becomes of callers who hang up."""

import asyncio
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from antiphon.runtime.errors import ModelUnavailable
from antiphon.runtime.gateways.http import intake

CHAT = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
PATHS = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"model": "scripted", "prompt": "hi"},
    "/v1/embeddings": {"model": "scripted", "input": "hi"},
}


async def test_only_a_token_opens(address: str) -> None:
    """All of OpenAI's paths; that the process is there is no secret."""
    async with httpx.AsyncClient(base_url=address) as http:
        assert (await http.get("/health")).json() == {"status": "ok"}
        for path, body in PATHS.items():
            answer = await http.post(path, json=body, headers={"authorization": "Bearer wrong"})
            assert answer.status_code == 401
            assert answer.json()["error"] == {
                "message": "expected the header Authorization: Bearer and a valid token",
                "type": "invalid_request_error",
                "param": None,
                "code": "invalid_api_key",
            }
        assert (await http.get("/v1/models")).status_code == 401


async def test_a_caller_is_a_tenant(http: httpx.AsyncClient, desk: Any) -> None:
    """Of its own name or the one it is given, whatever the body says."""
    await http.post("/v1/chat/completions", json=CHAT | {"tenant": "other", "user": "other"})
    await http.post("/v1/completions", json=PATHS["/v1/completions"], headers=bearer("own-0123456789abcdef"))
    assert [request.tenant for request in desk.asked] == ["web", "acme"]


async def test_flexible_work_is_batch_work(http: httpx.AsyncClient, desk: Any) -> None:
    """It gives way to the rest, and the answer says so."""
    tiers = []
    for tier in ("flex", "priority", None):
        answer = await http.post("/v1/chat/completions", json=CHAT | {"service_tier": tier})
        tiers.append((desk.asked[-1].priority, answer.json()["service_tier"]))
    assert tiers == [(-1, "flex"), (0, "default"), (0, "default")]


async def test_a_deadline_can_be_given(http: httpx.AsyncClient, desk: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In seconds; of a model that is not done by then it is an error, before the stream or in it."""
    monkeypatch.setattr(intake, "SHORTEST_S", 0.01)
    held = CHAT | {"model": "held"}
    answer = await http.post("/v1/chat/completions?timeout_s=0.05", json=held)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    assert (await http.post("/v1/chat/completions?timeout_s=0.05", json=held | {"stream": True})).status_code == 504
    desk.tokens.release()
    answer = await http.post("/v1/chat/completions?timeout_s=0.2", json=held | {"stream": True})
    assert (answer.status_code, '"code":"deadline_exceeded"' in answer.text.splitlines()[-2]) == (200, True)
    for given in ("0", "soon", "601"):
        assert (await http.post(f"/v1/chat/completions?timeout_s={given}", json=CHAT)).status_code == 400
    assert desk.held.active == 0


@pytest.mark.parametrize("stream", [True, False])
async def test_hanging_up_stops_generation(http: httpx.AsyncClient, desk: Any, stream: bool) -> None:
    """No further token is computed: the model, which waits to be let go on, is left where it stood."""
    body = CHAT | {"model": "held", "stream": stream, "n": 2}

    async def read() -> None:
        async with http.stream("POST", "/v1/chat/completions", json=body) as answer:
            async for _ in answer.aiter_bytes():
                begun.set()

    begun = asyncio.Event()
    reading = asyncio.create_task(read())
    desk.tokens.release()
    desk.tokens.release()
    if stream:
        await begun.wait()
    else:
        await until(lambda: desk.held.active == 2)
    reading.cancel()
    await until(lambda: desk.held.active == 0)


async def test_stopping_ends_streams(http: httpx.AsyncClient, gateway: Any, desk: Any) -> None:
    """Without the mark of a good end, and the models are free."""
    desk.tokens.release()
    async with http.stream("POST", "/v1/chat/completions", json=CHAT | {"model": "held", "stream": True}) as answer:
        lines = answer.aiter_lines()
        assert (await anext(lines)).startswith("data: {")
        gateway.close()
        rest = [line async for line in lines]
    assert "data: [DONE]" not in rest
    await until(lambda: desk.held.active == 0)


async def test_one_failure_ends_all_replies(http: httpx.AsyncClient, desk: Any) -> None:
    """The others do not go on for nobody."""
    replies: list[Any] = ["never", ModelUnavailable("gone")]
    desk.held._script = lambda request: replies.pop(0)
    desk.tokens.release()  # for the one that is not held up
    answer = await http.post("/v1/chat/completions", json=CHAT | {"model": "held", "n": 2})
    assert answer.status_code == 503
    assert desk.held.active == 0


async def test_bodies_that_are_none(http: httpx.AsyncClient) -> None:
    """Each is the caller's mistake, in OpenAI's form."""
    for body, kind, status, code in (
        (b"{", "application/json", 400, "invalid_json"),
        (b"[" * 100_000, "application/json", 400, "invalid_json"),
        (b'{"model": NaN}', "application/json", 400, "invalid_json"),
        (b"[]", "application/json", 400, None),
        (b"{}", "text/plain", 415, "unsupported_media_type"),
        (b" " * 200_001, "application/json", 413, "body_too_large"),
    ):
        answer = await http.post("/v1/chat/completions", content=body, headers={"content-type": kind})
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["type"]) == (status, code, "invalid_request_error"), body[:9]


async def test_what_there_is_not(http: httpx.AsyncClient) -> None:
    """Paths, methods and models."""
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("GET", "/v1/models/gpt-9/more", 404),
    ):
        answer = await http.request(method, path)
        assert (answer.status_code, answer.json()["error"]["type"]) == (status, "invalid_request_error"), path


async def test_what_nobody_thought_of_is_not_shown(http: httpx.AsyncClient, desk: Any) -> None:
    """A mistake of our own is 500 for the caller and a traceback in the log."""

    def broken(request: object) -> str:
        raise ZeroDivisionError("secret")

    desk.model._script = broken
    with capture_logs() as logs:
        answer = await http.post("/v1/chat/completions", json=CHAT)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")
    assert "secret" not in answer.text
    assert [log["event"] for log in logs] == ["http_door_failed"]


def bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


async def until(check: Any) -> None:
    """Wait for something to become true."""
    async with asyncio.timeout(60):
        while not check():  # noqa: ASYNC110  # it is in the server's tasks
            await asyncio.sleep(0.01)
