"""The graph says what the record says, and what waits now, also where nobody works any more."""

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from antiphon.runtime.bus.base import ConsumerState
from antiphon.runtime.console import overview
from antiphon.runtime.console.app import create_app
from antiphon.runtime.console.feed import LiveFeed
from antiphon.runtime.console.topology import Graph, queued_at
from antiphon.runtime.errors import BusUnavailable
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.window import Window

TASK = "antiphon.default.task"


class Then:
    """Twenty seconds after the run of ``make`` began."""

    def unix_ns(self) -> int:
        return 1_700_000_020 * 10**9

    def monotonic_s(self) -> float:
        return 0.0


def queue(pending: int, *subjects: str) -> ConsumerState:
    return ConsumerState(name="n", subjects=subjects, floor=0, pending=pending, held=1)


@pytest.fixture
def queues() -> list[ConsumerState]:
    """Two for the writer, and one for an agent that has not worked for long."""
    return [queue(2, f"{TASK}.writer.*"), queue(3, f"{TASK}.writer.*.v-2"), queue(7, f"{TASK}.asleep.*")]


@pytest.fixture
def app(reader: Reader, live: LiveFeed, queues: list[ConsumerState]) -> Any:
    async def nobody() -> tuple[list[Any], list[Any]]:
        return [], []

    async def waiting() -> list[ConsumerState]:
        if not queues:
            raise BusUnavailable("gone")
        return queues

    graph = Graph(reader, Then(), "default", waiting)
    return create_app(reader, nobody, "0123456789abcdef", live, more=graph.routes())


async def test_edges_name_who_asked_and_on_which_subject(
    make: Any, put: Callable[..., None], client: httpx.AsyncClient
) -> None:
    """Edges with `from`, places by kind; calls of models have no subject."""
    put(*make.run())
    found = (await client.get("/api/topology", params={"window_s": 100})).json()
    edges = {(edge["from"], edge["to"], edge["kind"]): edge["subjects"] for edge in found["edges"]}
    assert edges["client:outside", "agent:planner", "submit"] == [f"{TASK}.planner.plan"]
    assert edges["client:outside", "agent:writer", "call"] == [f"{TASK}.writer.write"]
    assert edges["agent:writer", "model:m", "model"] == []
    assert {node["id"] for node in found["nodes"]} >= {"agent:planner", "agent:writer", "client:outside", "model:m"}


async def test_work_that_nobody_takes_is_shown(
    make: Any, put: Callable[..., None], client: httpx.AsyncClient, queues: list[ConsumerState]
) -> None:
    """By agent, also of one that did nothing in this time; without the bus the record is there all the same."""
    put(*make.run())
    nodes = (await client.get("/api/topology", params={"window_s": 100})).json()["nodes"]
    queued = {node["id"]: (node["queued"], node["count"]) for node in nodes}
    assert (queued["agent:writer"], queued["agent:asleep"]) == ((5, 1), (7, 0))
    assert queued["agent:planner"][0] is None and queued["model:m"][0] is None
    queues.clear()
    nodes = (await client.get("/api/topology", params={"window_s": 100})).json()["nodes"]
    assert {node["queued"] for node in nodes} == {None} and "agent:asleep" not in {node["id"] for node in nodes}


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        ([queue(3, f"{TASK}.a.*"), queue(2, f"{TASK}.a.h"), queue(4, f"{TASK}.a.h.p1")], {"a": 7}),
        ([queue(0, f"{TASK}.a.*"), queue(2, f"{TASK}.a.h"), queue(1, f"{TASK}.a.k")], {"a": 3}),
        ([queue(1, f"{TASK}.a.*"), queue(1, "antiphon.other.task.a.*")], {"a": 1}),
        ([queue(1), queue(1, "x"), queue(1, f"{TASK}.>"), queue(1, f"{TASK}.a.*", f"{TASK}.b.*")], {}),
    ],
)
def test_work_is_counted_once(queues: list[ConsumerState], expected: dict[str, int]) -> None:
    """What a keyed handler is sent waits in two queues; other tenants' and strangers' queues do not count."""
    assert queued_at(queues, "default") == expected


async def test_a_real_queue_is_counted(console: Any) -> None:
    """As the bus says it, whose worker is there and takes all."""
    await console.act("task.submit", agent="clerk", handler="note", message={"text": "hi"})
    found = await console.until("/api/topology", lambda found: any(n["name"] == "clerk" for n in found["nodes"]))
    (clerk,) = [node for node in found["nodes"] if node["name"] == "clerk"]
    assert clerk["queued"] == 0


async def test_rates_are_over_the_time_that_was_counted(
    make: Any, put: Callable[..., None], client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the newest two handlers, begun 17 s ago and later, and not of the 100 s that were asked for."""
    monkeypatch.setattr(overview, "Window", partial(Window, most=2))
    put(*(make.handle(number, None, "writer.write", number, 0.5) for number in range(1, 5)))
    found = (await client.get("/api/topology", params={"window_s": 100})).json()
    assert (found["spans"], found["truncated"], found["window_s"]) == (2, True, pytest.approx(17))
    (writer,) = [node for node in found["nodes"] if node["name"] == "writer"]
    assert writer["rate_per_s"] == pytest.approx(2 / 17)


async def test_a_window_must_be_one(client: httpx.AsyncClient) -> None:
    """Else it is the caller's error."""
    answer = await client.get("/api/topology", params={"window_s": 0})
    assert answer.status_code == 400 and "window_s" in answer.json()["error"]["message"]
