"""Edges are what was recorded: who asked whom, how, and how long that took."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Store, Written
from antiphon.runtime.store.topology import OUTSIDE, Topology, topology
from antiphon.runtime.store.window import Window


@pytest.fixture
def found(store: Store) -> Iterator[Callable[..., Topology]]:
    reader = Reader.open(store.path)
    yield lambda **window: reader.ask(partial(topology, window=Window(since_ns=0, **window)))
    reader.close()


def send(make: Any, number: int, parent: int | None, operation: str, agent: str = "") -> Any:
    attributes = {"antiphon.run": "r1", "antiphon.operation": operation} | ({"antiphon.agent": agent} if agent else {})
    return make.step(number, parent=parent, kind=3, attributes=attributes)


def test_edges_are_recorded_ones(make: Any, put: Callable[..., Written], found: Callable[..., Topology]) -> None:
    """Outside to planner, planner to writer, writer to its model and its tool."""
    subject = {"messaging.destination.name": "antiphon.default.task.writer.write"}
    waited = {"antiphon.queue.enter_ns": 0, "antiphon.queue.dequeue_ns": 2 * 10**9, "antiphon.queue.depth": 3}
    tool = {"gen_ai.operation.name": "execute_tool", "antiphon.agent": "writer"}
    put(
        send(make, 1, None, "submit"),
        make.process(2, parent=1, agent="planner", handler="plan"),
        send(make, 3, 2, "call", "planner"),
        make.process(4, parent=3, attributes=waited | subject, status=2),
        make.chat(5, parent=4),
        make.step(6, parent=4, name="execute_tool search", attributes=tool),
    )
    graph = found()
    assert set(graph.edges) == {
        (OUTSIDE, "agent:planner", "submit"),
        ("agent:planner", "agent:writer", "call"),
        ("agent:writer", "model:smollm2-135m", "model"),
        ("agent:writer", "tool:search", "tool"),
    }
    call = graph.edges["agent:planner", "agent:writer", "call"]
    assert (call.count, call.errors, call.depth) == (1, 1, 3)
    assert call.took.quantile(0.5) == pytest.approx(3e9, rel=0.03)  # 2 s waited, 1 s worked
    assert call.subjects == {"antiphon.default.task.writer.write": 1}
    assert graph.places["agent:writer"].took.quantile(0.5) == pytest.approx(1e9, rel=0.03)


def test_nothing_is_guessed(make: Any, put: Callable[..., Written], found: Callable[..., Topology]) -> None:
    """Work whose sender was not recorded has a place and no edge; the system's own is left out unless wanted."""
    put(make.process(2, parent=77), make.process(3, agent="watcher", attributes={"antiphon.obs": True}))
    assert set(found().places) == {"agent:writer"} and not found().edges
    assert "agent:watcher" in found(obs=True).places


def test_a_busy_window_is_cut(make: Any, put: Callable[..., Written], found: Callable[..., Topology]) -> None:
    """To the newest spans, and says so."""
    put(*(make.process(n, at_s=n) for n in range(1, 10)))
    graph = found(most=4)
    assert graph.truncated and graph.spans == 4
