"""Which results were used: reachability over causes, and silence where use would leave none."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.agents.logging_agent.reach import results
from antiphon.runtime.whatif.testing import Traced
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.telemetry import SpanRecord

TEXT: dict[str, Any] = {"antiphon__result__size": 400, "antiphon__result__fields": ["text:390"]}


def closed(traced: Traced) -> Trace:
    """The trace of what was built."""
    trace = build([(span, traced.nodes[span.span_id]) for span in traced.spans])
    assert trace is not None
    return trace


def plan(causes: "Sequence[Sequence[int]]", result: "Sequence[int]") -> tuple[Traced, list[SpanRecord]]:
    """A handler that calls tools in turn: the causes of each, and of the handler's result, by number."""
    traced = Traced(1)
    root = traced.ask(None, "planner.plan", 0, 1_000)
    tools: list[SpanRecord] = []
    for i, used in enumerate(causes):
        named = [tools[j].span_id.hex() for j in used]
        tools.append(traced.tool(root, f"t{i}", 10 * i, 10 * i + 9, causes=named, content=f"{i}", **TEXT))
    root.attributes["antiphon.result.causes"] = [tools[j].span_id.hex() for j in result]
    return traced, tools


def used(traced: Traced) -> list[str]:
    """The tools whose results were used, by label."""
    return [found.step.label for found in results(closed(traced)) if found.step.operation == "tool" and found.used]


def test_use_goes_backwards_over_calls() -> None:
    """The result has content of the third, the third of the first; the second is in nothing."""
    traced, _ = plan([[], [], [0]], [2])
    assert used(traced) == ["tool t0", "tool t2"]


def test_what_a_write_needs_is_used() -> None:
    """And what that needed."""
    traced, tools = plan([[], [0], [1], []], [3])
    tools[2].attributes["antiphon.effect"] = "write"
    assert used(traced) == ["tool t0", "tool t1", "tool t2", "tool t3"]


def test_missing_causes_reach_all_that_was_there() -> None:
    """The second call may have anything of the first in it, and nothing of the third."""
    traced, tools = plan([[], [], []], [1])
    del tools[1].attributes["antiphon.msg.causes"]
    assert used(traced) == ["tool t0", "tool t1"]


def test_results_of_handlers_that_were_not_reached_are_not_told() -> None:
    """What an unused peer made of its own calls is no finding of its own."""
    traced, _ = plan([[]], [0])
    root = next(span for span in traced.spans if span.attributes.get("antiphon.agent") == "planner")
    done = traced.ask(root, "reader.read", 500, 900, causes=[])
    done.attributes |= {"antiphon.result.size": 400, "antiphon.result.causes": []}
    traced.tool(done, "inner", 500, 900, causes=[], content="x", **TEXT)
    assert [(found.step.label, found.used) for found in results(closed(traced))] == [
        ("tool t0", True),
        ("ask reader.read", False),
    ]


def test_equal_branches_of_a_group_are_told_apart() -> None:
    """By their place among those of the same label and group."""
    traced = Traced(1)
    root = traced.ask(None, "planner.plan", 0, 1_000)
    for i, (name, group) in enumerate([("a", "1"), ("b", "1"), ("a", "1"), ("a", "2"), ("a", None), ("a", None)]):
        traced.tool(root, name, i, i + 1, causes=[], content=f"{i}", antiphon__group=group, **TEXT)
    assert [found.place for found in results(closed(traced))] == [0, 0, 1, 0, 0, 0]


@given(data=st.data(), size=st.integers(1, 8))
@settings(max_examples=100, deadline=None)
def test_more_causes_never_make_less_used(data: st.DataObject, size: int) -> None:
    """Adding one cause to a call keeps all that was used; the graph may even have cycles."""
    numbers = st.lists(st.integers(0, size - 1), max_size=3)
    causes = [data.draw(numbers) for _ in range(size)]
    result = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=3))
    at, more = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size - 1))
    found = []
    for extra in ([], [more]):
        traced, tools = plan([[]] * size, result)
        for i, (tool, named) in enumerate(zip(tools, causes, strict=True)):
            numbered = [*named, *(extra if i == at else [])]
            tool.attributes["antiphon.msg.causes"] = [tools[j].span_id.hex() for j in numbered]
        found.append(set(used(traced)))
    assert found[0] <= found[1]
    assert {f"tool t{i}" for i in result} <= found[0]
