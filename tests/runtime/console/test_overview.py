"""The overview: series, messages and models say what the record says, and refuse what cannot be asked."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from antiphon.runtime.console.app import create_app
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.store import flow
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Realised, Remedy, Saving


class Then:
    """Twenty seconds after the run of ``make`` began."""

    def unix_ns(self) -> int:
        return 1_700_000_020 * 10**9

    def monotonic_s(self) -> float:
        return 0.0


@pytest.fixture
def app(reader: Reader, live: LiveFeed) -> Any:
    async def nobody() -> tuple[list[Any], list[Any]]:
        return [], []

    return create_app(reader, nobody, "0123456789abcdef", live, clock=Then())


async def test_work_over_time(make: Any, put: Callable[..., None], store: Store, client: httpx.AsyncClient) -> None:
    """Handlers are counted in the step in which they ended, tokens where the model's call did; empty steps too."""
    put(*make.run())
    store.flush_rollups()
    found = (await client.get("/api/series", params={"window_s": 30, "points": 3})).json()
    assert found["step_s"] == 10 and found["unix_s"][-1] == 1_700_000_020
    assert (found["count"], found["errors"]) == ([2, 1, 0], [1, 0, 0])  # planner ends at 10 s, in the second step
    assert found["output_tokens"] == [7, 0, 0] and found["p95_ms"][2] is None
    of_one = (await client.get("/api/series", params={"window_s": 30, "points": 3, "agent": "critic"})).json()
    assert of_one["count"] == [1, 0, 0]


async def test_models_are_measured(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """Pace from the time of decoding, waiting apart, use as the share of the window."""
    span = make.chat(5, 4, 0)
    span.attributes.update(
        {"antiphon.pool.id": "model:m@a", "antiphon.pool.active": 2, "antiphon.pool.capacity": 8,
         "antiphon.kv.blocks_used": 3, "antiphon.kv.blocks_total": 10, "antiphon.cost_usd": 0.5,
         "gen_ai.response.time_to_first_chunk": 0.3}
    )  # fmt: skip
    put(span)
    (model,) = (await client.get("/api/models", params={"window_s": 100})).json()["models"]
    assert (model["model"], model["instance"], model["tenant"], model["calls"]) == ("m", "model:m@a", "default", 1)
    assert model["inter_token_ms"] == pytest.approx(500 / 6) and model["utilisation"] == pytest.approx(0.01)
    assert model["queue_p95_ms"] == pytest.approx(100, rel=0.03)
    assert model["ttft_p50_ms"] == pytest.approx(300, rel=0.03)
    assert (model["batch"], model["capacity"], model["pages_used"], model["pages_total"]) == (2, 8, 3, 10)
    assert (model["cost_usd"], model["tokens_per_s"]) == (0.5, 7)


async def test_calls_that_no_instance_served_are_apart(
    make: Any, put: Callable[..., None], client: httpx.AsyncClient
) -> None:
    """Another's result answered: they have no pace, and keep no instance busy."""
    served, answered = make.chat(5, 4, 0), make.chat(6, 4, 0)
    served.attributes["antiphon.pool.id"] = "model:m@a"
    answered.attributes["antiphon.answered_by"] = "single_flight"
    put(served, answered)
    models = (await client.get("/api/models", params={"window_s": 100})).json()["models"]
    by = {each["instance"]: (each["calls"], each["utilisation"], each["tokens_per_s"]) for each in models}
    assert by == {"model:m@a": (1, pytest.approx(0.01), 7), "": (1, None, None)}


async def test_predictions_and_measurements_are_of_the_same_runs(store: Store, client: httpx.AsyncClient) -> None:
    """What was predicted of the runs that show the pattern is spread over all, as it was measured."""

    def saves(point: float) -> Saving:
        return Saving(latency_s=Estimate(point=point, low=point / 2, high=point * 2))

    finding = Finding(
        id="f", pattern="p4", title="t", cohort="a.b#1", subject="s", state=FindingState.VERIFIED, grade=Grade.A,
        support=5, required=5, prevalence=0.5, saving=saves(0.4), remedy=Remedy(text=""), first_seen_unix_ms=1,
        last_seen_unix_ms=1, realised=Realised(saving=saves(0.25), runs=(9, 9), prediction_error=-0.2),
    )  # fmt: skip
    store.put_findings([finding])
    (point,) = (await client.get("/api/calibration")).json()["points"]
    assert point["predicted"] == {"point": 0.2, "low": 0.1, "high": 0.4}
    predicted, realised = point["predicted"]["point"], point["realised"]["point"]
    assert (predicted - realised) / realised == pytest.approx(point["error"])


async def test_messages_are_followed(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """The newest first time, then what came after; NATS wildcards choose."""
    put(*make.run())
    first = (await client.get("/api/messages", params={"filter": "antiphon.*.task.writer.>"})).json()
    assert [each["subject"] for each in first["messages"]] == ["antiphon.default.task.writer.write"]
    put(make.send(30, None, "critic.review", 12, 0.1), make.send(31, None, "writer.write", 12, 0.1))
    after = (await client.get("/api/messages", params={"after": first["next"]})).json()
    assert [each["subject"].rpartition("task.")[2] for each in after["messages"]] == ["critic.review", "writer.write"]
    assert (await client.get("/api/messages", params={"after": after["next"]})).json() == {
        "messages": [], "next": after["next"], "more": False,
    }  # fmt: skip


async def test_who_fell_behind_is_told_that_there_is_more(
    make: Any, put: Callable[..., None], client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the answer is full or so many spans were looked at in vain; the last answer says that it is the last."""
    put(make.send(1, None, "writer.write", 0, 0.1))
    place = (await client.get("/api/messages")).json()["next"]
    put(*(make.send(n, None, "writer.write", n, 0.1) for n in range(2, 5)), make.send(5, None, "critic.review", 9, 0.1))
    page = (await client.get("/api/messages", params={"after": place, "limit": 2})).json()
    assert (len(page["messages"]), page["more"]) == (2, True)
    page = (await client.get("/api/messages", params={"after": page["next"], "limit": 2})).json()
    assert (len(page["messages"]), page["more"]) == (2, False)
    monkeypatch.setattr(flow, "SCANNED", 3)
    asked = {"after": place, "filter": "antiphon.*.task.critic.>"}
    page = (await client.get("/api/messages", params=asked)).json()
    assert (page["messages"], page["more"]) == ([], True)
    page = (await client.get("/api/messages", params={**asked, "after": page["next"]})).json()
    assert (len(page["messages"]), page["more"]) == (1, False)


async def test_large_runs_come_as_columns(make: Any, put: Callable[..., None], client: httpx.AsyncClient) -> None:
    """Page by page, the second time from memory; links beside them."""
    put(*make.run())
    first = await client.get("/api/runs/r1/waterfall", params={"limit": 5})
    assert first.headers["content-type"] == "application/octet-stream" and first.content[:4] == b"APW1"
    assert (await client.get("/api/runs/r1/waterfall", params={"limit": 5})).content == first.content
    links = (await client.get("/api/runs/r1/links")).json()
    assert links == {"links": [{"from": f"{'01' * 16}.{7:016x}", "to": f"{'01' * 16}.{3:016x}"}], "truncated": False}


@pytest.mark.parametrize(
    "path",
    [
        "/api/series?points=0",
        "/api/series?window_s=1e99",
        "/api/messages?filter=",
        "/api/messages?filter=a..b",
        "/api/messages?after=-1",
        "/api/messages?after=9999999999999999999999",
        "/api/runs/nope/waterfall",
        "/api/runs/r1/waterfall?after=x",
        "/api/runs/r1/waterfall?limit=0",
        "/api/runs?min_ms=nan",
        "/api/runs?max_tokens=1e300",
    ],
)
async def test_bad_input_is_the_callers_error(client: httpx.AsyncClient, path: str) -> None:
    """A 4xx with a message."""
    answer = await client.get(path)
    assert 400 <= answer.status_code < 500 and answer.json()["error"]["message"]
