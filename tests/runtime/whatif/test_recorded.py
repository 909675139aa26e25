"""Runs of programs that know nothing of us can be asked about, as our own."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from antiphon.runtime.telemetry.otlp_json import spans_of
from antiphon.runtime.whatif.answer import answer
from antiphon.runtime.whatif.ensemble import assemble
from antiphon.runtime.whatif.question import parse
from antiphon.runtime.whatif.recorded import trace_of
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

DATA = Path(__file__).parents[2] / "data" / "foreign"


def program(name: str) -> list[SpanRecord]:
    """The recorded spans of a program."""
    return spans_of(json.loads((DATA / f"{name}.json").read_text()))


@pytest.mark.parametrize("name", ["langgraph", "pydantic_ai", "openai_agents"])
def test_other_peoples_spans_are_read_in_our_terms(name: str) -> None:
    """Four model calls and three tools below a handler, whatever the framework wrote around them."""
    trace = trace_of(program(name))
    assert trace is not None
    operations = [step.operation for step in trace.steps]
    assert (operations.count("model"), operations.count("tool")) == (4, 3)
    assert set(operations) == {"process", "model", "tool"}


@pytest.mark.parametrize("name", ["langgraph", "pydantic_ai", "openai_agents"])
def test_they_are_asked_by_the_names_of_their_tools(name: str) -> None:
    """Without its two calls, of some 51 ms each, the run is as much shorter."""
    ensemble = assemble([program(name)])
    calls = [step for step in ensemble.played[0].trace.steps if step.label == "tool get_weather"]
    assert len(calls) == 2
    found = answer(parse(remove=["tool:get_weather"]), ensemble, (), random.Random(1))
    saved_s = next(row for row in found.rows if row.name == "latency, mean").saving.point
    assert saved_s == pytest.approx(sum(call.duration_ns for call in calls) / 1e9, rel=0.1)


def test_of_two_records_of_a_span_the_last_counts(traced: "type[Traced]") -> None:
    """A span that was written when it began and again when it ended."""
    trace = traced(1)
    root = trace.ask(None, "writer.write", 0, 10)
    begun = [replace(span, end_ns=0) for span in trace.spans]
    built = trace_of([*begun, *trace.spans])
    assert built is not None
    assert [step.span.end_ns for step in built.steps] == [root.end_ns] * 2
    assert trace_of([]) is None
