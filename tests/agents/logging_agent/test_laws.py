"""Laws of instances, from the calls that were seen."""

from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.laws import CALLS, INSTANCES, Laws, asked_for, served_by
from antiphon.runtime.whatif.trace import Step, build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def calls(traced: "type[Traced]", count: int, *, timed: bool = True, replica: str | None = None) -> list[Step]:
    """Calls of 1 ms a token of input and 10 ms a token of output, on top of 50 ms."""
    trace = traced(1)
    root = trace.ask(None, "helper.help", 0, 10**7)
    at_ms = 0.0
    for number in range(count):
        tokens, output = 500 + 100 * (number % 7), 20 + 5 * (number % 4)
        parts = {"antiphon.model.prefill_s": 0.05 + tokens / 1_000, "antiphon.model.decode_s": output / 100}
        end_ms = at_ms + 50 + tokens + 10 * output
        extra: dict[str, Any] = {"antiphon.pool.id": replica, **(parts if timed else {})}
        trace.model(root, at_ms, end_ms, tokens=tokens, output=output, **extra)
        at_ms = end_ms
    built = build([(span, "n1") for span in trace.spans])
    assert built is not None
    return [step for step in built.steps if step.operation == "model"]


@pytest.mark.parametrize("timed", [True, False])
def test_a_law_says_what_fewer_tokens_save_and_what_writing_takes(traced: "type[Traced]", timed: bool) -> None:
    """With the parts of each call on record, and from whole calls alone."""
    steps = calls(traced, 40, timed=timed)
    laws = Laws()
    for step in steps:
        laws.note(step)
    assert laws.prefill_s(steps[0], 100) == pytest.approx(0.1, rel=0.01)
    assert laws.decode_s(steps[0]) == pytest.approx(0.2, rel=0.05)


def test_no_more_is_saved_than_the_prefill(traced: "type[Traced]") -> None:
    """Of 500 tokens not 5,000 can go."""
    steps = calls(traced, 40)
    laws = Laws()
    for step in steps:
        laws.note(step)
    assert laws.prefill_s(steps[0], 5_000) == pytest.approx(0.55)


def test_few_calls_are_no_law(traced: "type[Traced]") -> None:
    """Seven calls say nothing of prefill; what one of them took to write is on record."""
    steps = calls(traced, 7)
    laws = Laws()
    for step in steps:
        laws.note(step)
    assert laws.prefill_s(steps[0], 100) is None
    assert laws.decode_s(steps[0]) == pytest.approx(0.2)


def test_replicas_have_laws_of_their_own_or_one_together(traced: "type[Traced]") -> None:
    """By instance four calls are few; by model they are eight with the other replica's."""
    steps = [*calls(traced, 4, replica="model:m@a"), *calls(traced, 4, replica="model:m@b")]
    apart, together = Laws(by=served_by), Laws(by=asked_for)
    for step in steps:
        apart.note(step)
        together.note(step)
    assert apart.of("model:m@a") is None
    assert together.of("model m") is not None


def test_its_memory_is_bounded(traced: "type[Traced]") -> None:
    """The newest calls of the newest instances."""
    laws = Laws()
    (step,) = calls(traced, 1, replica="model:m@x")
    for number in range(INSTANCES + 50):
        step.span.attributes["antiphon.pool.id"] = f"model:m@{number}"
        laws.note(step)
    for _ in range(2 * CALLS):
        laws.note(step)
    assert len(laws._known) == INSTANCES
    known = laws._known.get("model:m@305")
    assert known is not None and len(known.calls) == CALLS
