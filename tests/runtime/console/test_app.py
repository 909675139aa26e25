import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from antiphon.runtime.console.app import create_app
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy
from antiphon.schemas.telemetry import LogRecord

TRACE = "01" * 16


async def test_runs_are_listed_page_by_page(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """Each page names the next; filters select."""
    for n in range(5):
        span = make.handle(1, None, "writer.write", n, 1, attributes={"antiphon.run": f"r{n}"})
        span.trace_id = bytes([n]) * 16
        put(span)
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await client.get("/api/runs", params={"limit": 2} | ({"after": after} if after else {}))).json()
        seen += [run["run"] for run in page["runs"]]
        after = page["next"]
    assert seen == ["r4", "r3", "r2", "r1", "r0"]
    assert (await client.get("/api/runs", params={"agent": "nobody"})).json()["runs"] == []
    assert len((await client.get("/api/runs", params={"status": "ok", "agent": "writer"})).json()["runs"]) == 5


async def test_a_run_comes_whole(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """Rows with nesting and segments, logs, and where time went."""
    log = LogRecord(unix_ns=make.start_ns + 10**9, level="info", event="hello", trace_id=b"\x01" * 16)
    put(*make.run(), logs=(log,))
    run = (await client.get("/api/runs/r1")).json()
    assert [(row["depth"], row["label"]) for row in run["rows"]][:2] == [
        (0, "submit planner.plan"),
        (1, "call writer.write"),
    ]
    assert [s["part"] for s in run["rows"][1]["segments"]] == ["call", "queue", "service"]
    assert run["rows"][1]["queue_ms"] == 2000
    assert [(item["event"], item["at_ms"]) for item in run["logs"]] == [("hello", 1000)]
    assert run["spending"][0]["agent"] == "planner"
    assert (await client.get(f"/api/traces/{TRACE}")).json() == {"run": "r1"}
    fewer = (await client.get("/api/runs/r1", params={"spans": 2})).json()
    assert fewer["truncated"] and len(fewer["rows"]) == 1


async def test_hostile_strings_stay_strings(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """Markup in attributes and messages is data of JSON answers that no browser takes for a page."""
    put(*make.run())
    answer = await client.get(f"/api/spans/{TRACE}.{8:016x}")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["status_message"] == make.hostile
    assert answer.json()["events"][0]["attributes"]["exception.message"] == make.hostile


async def test_large_numbers_survive_javascript(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """Nanoseconds do not fit a browser's numbers, so they come as text."""
    put(*make.run())
    attributes = (await client.get(f"/api/spans/{TRACE}.{4:016x}")).json()["attributes"]
    assert attributes["antiphon.queue.dequeue_ns"] == str(make.start_ns + 3 * 10**9)


@pytest.mark.parametrize(
    "path",
    [
        "/api/runs?limit=0",
        "/api/runs?limit=1000000000000000000000",
        "/api/runs?limit=x",
        "/api/runs?after=nonsense",
        "/api/runs?after=99999999999999999999999999.x",
        "/api/runs?status=sleeping",
        "/api/runs?unknown=1",
        "/api/runs?agent=" + "a" * 300,
        "/api/runs/nope",
        "/api/runs/%00%ff",
        "/api/runs/r1?spans=-1",
        "/api/traces/zz",
        "/api/traces/" + "f" * 64,
        "/api/spans/nope",
        "/api/spans/zz.zz",
        "/api/spans/é.é",
        f"/api/spans/{TRACE}.{'0' * 16}",
        f"/api/spans/{'0' * 5000}.{'0' * 16}",
        "/api/findings?limit=-1",
        "/api/spending?window_s=nan",
        "/api/spending?window_s=-1",
        "/api/spending?window_s=1e300",
        "/api/nothing",
    ],
)
async def test_bad_input_is_the_callers_error(client: httpx.AsyncClient, path: str) -> None:
    """A 4xx with a message, whatever was sent."""
    answer = await client.get(path)
    assert 400 <= answer.status_code < 500
    assert answer.json()["error"]["message"]


async def test_only_reading_is_possible(client: httpx.AsyncClient) -> None:
    """Other methods are refused as JSON."""
    answer = await client.post("/api/runs", json={})
    assert (answer.status_code, "error" in answer.json()) == (405, True)


async def test_a_bad_event_number_is_refused(client: httpx.AsyncClient) -> None:
    """Last-Event-ID is a number or nothing."""
    assert (await client.get("/api/events", headers={"last-event-id": "x"})).status_code == 400


async def test_events_resume(client: httpx.AsyncClient, live: LiveFeed) -> None:
    """A browser that comes back with its last number gets what it missed, as an event stream."""
    live.publish("runs", {"n": 1})
    live.publish("runs", {"n": 2})
    stream = live.read(0)
    number = int([await anext(stream), await anext(stream)][1].split()[1])
    await stream.aclose()
    asyncio.get_running_loop().call_later(0.05, live.close)
    answer = await client.get("/api/events", headers={"last-event-id": str(number - 1)})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert '{"n": 2}' in answer.text and '{"n": 1}' not in answer.text


async def test_what_takes_too_long_to_read_says_what_to_narrow(reader: Reader, live: LiveFeed) -> None:
    """It is the question that is too wide, not the console that is broken."""

    async def nobody() -> tuple[list[Any], list[Any]]:
        return [], []

    app = create_app(reader.within(0), nobody, "0123456789abcdef", live)
    headers = {"authorization": "Bearer 0123456789abcdef"}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7000", headers=headers) as client:
        found = await client.get("/api/models")
    assert (found.status_code, found.json()["error"]["type"]) == (422, "Unanswerable")
    assert "shorter time" in found.json()["error"]["message"]


async def test_agents_health_findings_and_spending(
    make: Any, put: Callable[..., None], store: Store, client: httpx.AsyncClient
) -> None:
    """The other pages' data."""
    put(*make.run())
    store.flush_rollups()
    finding = Finding(
        id="f", pattern="p3", title="t", cohort="c", subject="s", state=FindingState.OPEN, grade=Grade.A, support=5,
        required=5, remedy=Remedy(text="do"), first_seen_unix_ms=1, last_seen_unix_ms=1,
    )  # fmt: skip
    store.put_findings([finding])
    agents = (await client.get("/api/agents")).json()
    assert (agents["nodes"][0]["node"], agents["agents"][0]["description"]) == ("a", make.hostile)
    store.path.with_name(f"{store.path.name}.corrupt-1").touch()
    health = (await client.get("/api/health")).json()
    assert health["nodes"][0]["batches"] == 1 and health["set_aside"] == ["store.db.corrupt-1"]
    assert (await client.get("/api/findings")).json()["findings"][0]["id"] == "f"
    spending = (await client.get("/api/spending", params={"window_s": 366 * 24 * 3600})).json()["spending"]
    assert isinstance(spending, list)


async def test_a_directory_that_fails_is_said(reader: Reader, live: LiveFeed) -> None:
    """A bus that is gone makes that one answer a 503; it does not take the console with it."""

    async def gone() -> Any:
        raise BusUnavailable("no server at nats://…")

    transport = httpx.ASGITransport(app=create_app(reader, gone, "t", live))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:7000") as client:
        answer = await client.get("/api/agents", headers={"authorization": "Bearer t"})
        assert (answer.status_code, answer.json()["error"]["type"]) == (503, "BusUnavailable")
        assert (await client.get("/api/runs", headers={"authorization": "Bearer t"})).status_code == 200
