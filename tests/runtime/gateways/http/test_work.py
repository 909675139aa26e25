import asyncio
import json
import re
from typing import Any

import httpx
import pytest

from antiphon import Client
from antiphon.runtime.delivery.outcome import await_result
from antiphon.runtime.gateways.http import events

EVENTS = {"accept": "text/event-stream"}


def read(text: str) -> list[tuple[str, str, Any]]:
    """Id, kind and data of each event."""
    return [
        (id, kind, json.loads(data)) for id, kind, data in re.findall(r"id: (.*)\nevent: (.*)\ndata: (.*)\n\n", text)
    ]


async def submitted(http: httpx.AsyncClient, path: str, body: object, **headers: str) -> str:
    """The path of a new task."""
    answer = await http.post(f"/v1/agents/{path}/tasks", json=body, headers=headers)
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/tasks/{answer.json()['task']}"
    return str(answer.headers["location"])


async def test_ask(http: httpx.AsyncClient, workshop: Any) -> None:
    """The body is the message, the answer the reply; the token's owner is in the run's labels."""
    answer = await http.post("/v1/agents/clerk/add", json={"numbers": [1, 2]})
    assert (answer.status_code, answer.json()) == (200, {"total": 3, "unit": None})
    assert workshop.callers == ["web"]


REFUSALS: list[tuple[str, object, int, str, str]] = [
    ("nobody/add", {}, 404, "UnknownAgent", "known: clerk, porter, writer"),
    ("clerk/multiply", {}, 404, "UnknownHandler", "it has: add)"),
    ("Clerk!/add", {}, 404, "UnknownAgent", "expected 1 to 64 characters"),
    ("clerk/add", {"numbers": ["one"]}, 422, "InvalidMessage", "numbers.0: expected integer, found 'one'"),
    ("clerk/add", {}, 422, "InvalidMessage", "numbers: required"),
    ("clerk/add", [], 422, "InvalidMessage", "expected object"),
    ("clerk/add?timeout_s=0.5", {"numbers": []}, 422, "InvalidParameter", "expected 1 to 600 seconds"),
    ("clerk/add?timeout_s=1e9", {"numbers": []}, 422, "InvalidParameter", "expected 1 to 600 seconds"),
    ("clerk/add?timeout_s=nan", {"numbers": []}, 422, "InvalidParameter", "expected 1 to 600 seconds"),
    ("clerk/add?timeout_s=soon", {"numbers": []}, 422, "InvalidParameter", "'soon'"),
    ("porter/wait?timeout_s=1", {"text": ""}, 504, "DeadlineExceeded", "allow more time"),
    ("porter/fail", {"text": ""}, 500, "HandlerFailed", "ValueError: no ink"),
    ("writer/remember", {"user": "ada", "text": ""}, 409, "NotDurable", "POST /v1/agents/writer/remember/tasks"),
]


async def test_refusals(http: httpx.AsyncClient) -> None:
    """One form for all errors: the status, a name for programs, and what to do."""
    for path, body, status, type, says in REFUSALS:
        answer = await http.post(f"/v1/agents/{path}", json=body)
        error = answer.json()["error"]
        assert (answer.status_code, error["type"]) == (status, type), path
        assert says in error["message"], path


async def test_a_caller_who_hangs_up_stops_the_handler(http: httpx.AsyncClient, workshop: Any) -> None:
    """Nobody waits for the answer, so nobody makes it."""
    asking = asyncio.create_task(http.post("/v1/agents/porter/wait", json={"text": ""}))
    await workshop.waiting.wait()
    asking.cancel()
    async with asyncio.timeout(60):
        await workshop.stopped.wait()


async def test_submit_and_look(http: httpx.AsyncClient, workshop: Any, client: Client) -> None:
    """202 says where the task is; it goes on, then it has succeeded with a value."""
    path = await submitted(http, "porter/wait", {"text": ""})
    await workshop.waiting.wait()
    assert (await http.get(path)).json()["state"] in ("queued", "running")  # its journal may have no entry yet
    workshop.gate.set()
    await await_result(client.host.bus, client.host.clock, "default", path.split("/")[-1], deadline_unix_ms=None)
    found = (await http.get(path)).json()
    assert (found["state"], found["value"], found["handler"]) == ("succeeded", {"text": "through"}, "porter.wait")


async def test_the_same_key_is_the_same_task(http: httpx.AsyncClient, address: str, workshop: Any) -> None:
    """Twice the same key is one task; another caller's key is that caller's own, and its id cannot be worked out."""
    first = await submitted(http, "clerk/add", {"numbers": [1]}, **{"idempotency-key": "order-17"})
    assert await submitted(http, "clerk/add", {"numbers": [1]}, **{"idempotency-key": "order-17"}) == first
    other = {"authorization": "Bearer shop-0123456789abcdef", "idempotency-key": "order-17"}
    second = await submitted(http, "clerk/add", {"numbers": [1]}, **other)
    assert second != first
    for path in (first, second):
        assert "event: end" in (await http.get(f"{path}/events")).text
    assert workshop.done == 2


async def test_a_key_that_is_none(http: httpx.AsyncClient) -> None:
    """It is refused, not cut or guessed."""
    for key in ("", "two words", "x" * 256):
        answer = await http.post("/v1/agents/clerk/add/tasks", json={"numbers": []}, headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "InvalidHeader")


async def test_cancel(http: httpx.AsyncClient, workshop: Any) -> None:
    """The answer is how it ended; again, it is the same."""
    path = await submitted(http, "porter/wait", {"text": ""})
    await workshop.waiting.wait()
    assert (await http.delete(path)).json()["state"] == "cancelled"
    await workshop.stopped.wait()
    assert (await http.delete(path)).json()["state"] == "cancelled"


async def test_no_such_task(http: httpx.AsyncClient) -> None:
    """404, whatever the id looks like."""
    for task in ("0" * 32, "not%20an%20id", "x" * 200):
        for answer in (
            await http.get(f"/v1/tasks/{task}"),
            await http.delete(f"/v1/tasks/{task}"),
            await http.get(f"/v1/tasks/{task}/events"),
        ):
            assert (answer.status_code, answer.json()["error"]["type"]) == (404, "UnknownTask")


async def test_a_stream_shows_tokens_and_ends_with_the_outcome(http: httpx.AsyncClient) -> None:
    """Each event has a place; the last one is the task as it ended."""
    answer = await http.post("/v1/agents/writer/write", json={"text": "hello"}, headers=EVENTS)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *shown, (id, kind, end) = read(answer.text)
    assert "".join(data["text"] for _, kind, data in shown if kind == "token") == "You said: hello"
    assert (id, kind, end["state"], end["value"]) == ("end", "end", "succeeded", {"text": "You said: hello"})
    assert answer.headers["location"] == f"/v1/tasks/{end['task']}"


async def test_keyed_work_streams(http: httpx.AsyncClient) -> None:
    """A stream is durable work, so a keyed handler may be reached by it."""
    answer = await http.post("/v1/agents/writer/remember", json={"user": "ada", "text": "tea"}, headers=EVENTS)
    assert read(answer.text)[-1][2]["value"] == {"text": "ada: tea"}


async def test_failure_is_the_end_of_a_stream(http: httpx.AsyncClient) -> None:
    """The outcome says what went wrong."""
    answer = await http.post("/v1/agents/porter/fail", json={"text": ""}, headers=EVENTS)
    assert answer.status_code == 200
    id, kind, end = read(answer.text)[-1]
    assert (id, kind, end["state"], end["error"]["message"]) == ("end", "end", "dead", "no ink")


async def test_a_reader_who_hangs_up_cancels_the_task(http: httpx.AsyncClient, workshop: Any) -> None:
    """The stream that a caller opens lives as long as somebody reads it."""
    async with http.stream("POST", "/v1/agents/porter/wait", json={"text": ""}, headers=EVENTS) as answer:
        path = answer.headers["location"]
        await anext(answer.aiter_text())
    async with asyncio.timeout(60):
        await workshop.stopped.wait()
    assert (await http.get(path)).json()["state"] == "cancelled"


async def test_a_reader_of_somebodys_task_does_not(http: httpx.AsyncClient, workshop: Any) -> None:
    """Looking at events and leaving changes nothing."""
    path = await submitted(http, "porter/wait", {"text": ""})
    async with http.stream("GET", f"{path}/events") as answer:
        await anext(answer.aiter_text())
    workshop.gate.set()
    assert read((await http.get(f"{path}/events")).text)[-1][2]["state"] == "succeeded"


async def test_a_reader_goes_on_where_it_was(http: httpx.AsyncClient, workshop: Any) -> None:
    """Last-Event-ID leaves out what was read; who has read the end is told that there is no more."""
    path = await submitted(http, "porter/wait", {"text": ""})
    async with http.stream("GET", f"{path}/events") as answer:
        [(id, kind, data)] = read(await anext(answer.aiter_text()))
    assert (id, kind, data) == ("1.1", "token", {"text": "waiting"})
    workshop.gate.set()
    assert [kind for _, kind, _ in read((await http.get(f"{path}/events", headers={"last-event-id": id})).text)] == [
        "end"
    ]
    assert (await http.get(f"{path}/events", headers={"last-event-id": "end"})).status_code == 204


async def test_a_place_that_is_none(http: httpx.AsyncClient) -> None:
    """A number that no event has is refused."""
    path = await submitted(http, "clerk/add", {"numbers": []})
    for given in ("7", "-1.0", "1.1.1", "x", "99999999999999999999.1"):
        answer = await http.get(f"{path}/events", headers={"last-event-id": given})
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "InvalidHeader")


async def test_a_place_that_was_never_reached(http: httpx.AsyncClient) -> None:
    """It is not waited for: the outcome comes."""
    path = await submitted(http, "clerk/add", {"numbers": [4]})
    answer = await http.get(f"{path}/events", headers={"last-event-id": "999999999.999999999999"})
    assert read(answer.text)[-1][2]["state"] == "succeeded"


async def test_a_restart_is_shown(http: httpx.AsyncClient) -> None:
    """What an attempt that failed had shown is void, and the reader is told so."""
    answer = await http.post("/v1/agents/porter/stumble", json={"text": ""}, headers=EVENTS)
    kinds = [kind for _, kind, _ in read(answer.text)]
    assert kinds[0] == "token" and "restarted" in kinds and kinds[-1] == "end"
    after = read(answer.text)[kinds.index("restarted") :]
    assert "".join(data["text"] for _, kind, data in after if kind == "token") == "Air scatters blue light."


async def test_silence_is_filled(http: httpx.AsyncClient, workshop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Comments come while nothing happens, so that proxies keep the connection."""
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.02)
    async with http.stream("POST", "/v1/agents/porter/wait", json={"text": ""}, headers=EVENTS) as answer:
        lines = answer.aiter_lines()
        while await anext(lines) != ": still here":
            continue
        workshop.gate.set()
        assert "event: end" in [line async for line in lines]


async def test_a_door_that_closes_ends_its_streams_and_no_task(
    http: httpx.AsyncClient, workshop: Any, door: Any, client: Client
) -> None:
    """The reader is cut off without an end and may come back elsewhere; the work goes on."""
    async with http.stream("POST", "/v1/agents/porter/wait", json={"text": ""}, headers=EVENTS) as answer:
        parts = answer.aiter_text()
        await anext(parts)
        door.close()
        async with asyncio.timeout(60):
            assert "end" not in [kind for _, kind, _ in read("".join([part async for part in parts]))]
        task = answer.headers["location"].split("/")[-1]
    workshop.gate.set()
    result = await await_result(client.host.bus, client.host.clock, "default", task, deadline_unix_ms=None)
    assert result.state == "succeeded"


async def test_an_agent_that_nobody_runs_now(http: httpx.AsyncClient, cluster: Any) -> None:
    """An ask is told to come again; durable work waits for a node."""
    await cluster.stop("node-0")
    answer = await http.post("/v1/agents/clerk/add", json={"numbers": [1]})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    path = await submitted(http, "clerk/add", {"numbers": [1, 2]})
    assert (await http.get(path)).json()["state"] == "queued"
    await cluster.start("node-0")
    assert read((await http.get(f"{path}/events")).text)[-1][2]["value"] == {"total": 3, "unit": None}
