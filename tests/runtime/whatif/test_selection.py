"""Selections find the work that a person means."""

from typing import TYPE_CHECKING

from antiphon.runtime.whatif.selection import Kind, Selection, known
from antiphon.runtime.whatif.trace import Trace, build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def _trace(traced: "type[Traced]") -> Trace:
    trace = traced(1)
    writer = trace.ask(None, "writer.write", 0, 100)
    trace.model(writer, 0, 10, model="m")
    critic = trace.ask(writer, "critic.review", 10, 90)
    trace.model(critic, 20, 30, model="m")
    trace.tool(critic, "search", 30, 40)
    again = trace.ask(critic, "critic.again", 40, 80)
    trace.tool(again, "search", 50, 60)
    built = build([(span, "n") for span in trace.spans])
    assert built is not None
    return built


def _labels(trace: Trace, text: str, *, calls: bool = False) -> list[str]:
    selection = Selection.parse(text)
    return [step.label for step in (selection.calls if calls else selection.steps)(trace)]


def test_steps_by_kind_and_name(traced: "type[Traced]") -> None:
    """A model by its name or by the agent that calls it, an agent or one handler; nested work counts once."""
    trace = _trace(traced)
    assert _labels(trace, "model:m") == ["model m", "model m"]
    assert _labels(trace, "model:critic") == ["model m"]
    assert _labels(trace, "tool:search") == ["tool search", "tool search"]
    assert _labels(trace, "agent:critic") == ["critic.review"]
    assert _labels(trace, "agent:critic.again") == ["critic.again"]
    assert [step.label for step in Selection.parse("agent:critic").all(trace)] == ["critic.review", "critic.again"]
    assert _labels(trace, "agent:m") == []


def test_calls_of_an_agent_are_what_its_callers_wait_for(traced: "type[Traced]") -> None:
    """The ask, with its way there and back; of tools and models the same as the work."""
    trace = _trace(traced)
    assert _labels(trace, "agent:critic", calls=True) == ["ask critic.review"]
    assert _labels(trace, "tool:search", calls=True) == ["tool search", "tool search"]


def test_all_that_could_be_selected(traced: "type[Traced]") -> None:
    """By kind."""
    assert known([_trace(traced)]) == {
        Kind.AGENT: {"writer", "writer.write", "critic", "critic.review", "critic.again"},
        Kind.MODEL: {"m", "writer", "critic"},
        Kind.TOOL: {"search"},
    }
