"""P14 fires on answers that come too late and on retries of retries, not on failures that a retry is for."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p14_retry_or_timeout import RetryOrTimeout
from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Proposal, Retry, Timeout

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look
    from tests.agents.logging_agent.detectors.conftest import Spoiled, Stripped

    from antiphon.runtime.whatif.testing import Traced
    from antiphon.schemas.telemetry import SpanRecord


def impatient(
    traced: "type[Traced]",
    number: int,
    *,
    late_ms: float = 300,
    timeout_s: Any = 1.0,
    gave_up_ms: float = 1_000,
    again: bool = True,
    finished: bool = True,
    inputs: tuple[str | None, str | None] = ("x", "x"),
    node: str = "n1",
    skew_ms: float = 0.0,
) -> "Traced":
    """A planner asks a worker and gives up after a second; the answer comes 300 ms later, and to a second call again
    after 500 ms."""
    trace = traced(number)
    end = gave_up_ms + (500 if again else 0)
    root = trace.ask(None, "planner.plan", 0, end, node="n0")
    facts = {"antiphon__timeout_s": timeout_s, "antiphon__input__sha256": inputs[0]}
    first = trace.ask(root, "worker.do", 0, gave_up_ms, node=node, skew_ms=skew_ms, **facts)
    trace.publish_of(first).status = 2
    trace.nodes[trace.publish_of(first).span_id] = "n0"
    first.end_ns += int(late_ms * 1e6)
    first.status = 0 if finished else 2
    trace.model(first, 0, gave_up_ms - 100, tokens=80)
    if again:
        second = trace.ask(root, "worker.do", gave_up_ms, end, node=node, skew_ms=skew_ms,
                           **{**facts, "antiphon__input__sha256": inputs[1]})  # fmt: skip
        trace.model(second, gave_up_ms, end, tokens=80)
    return trace


def many(traced: "type[Traced]", **kwargs: Any) -> "list[Traced]":
    """Thirty runs."""
    return [impatient(traced, number, **kwargs) for number in range(1, 31)]


def test_a_timeout_below_the_99th_percentile_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Waiting 1,300 ms instead of giving up at 1,000 and asking again until 1,500 saves 200 ms and the second call's
    100 tokens."""
    finding = look(many(traced)).one("p14")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.subject == "ask worker.do"
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.target == "ask worker.do"
    action = finding.remedy.proposal.action
    assert isinstance(action, Timeout)
    assert action.timeout_s == pytest.approx(1.05 * 1.3, rel=0.02)
    assert finding.saving is not None and finding.saving.latency_s is not None and finding.saving.tokens is not None
    assert finding.saving.latency_s.point == pytest.approx(0.2)
    assert finding.saving.tokens.point == 100


def test_the_slot_is_held_while_the_answer_is_waited_for(traced: "type[Traced]", look: "Look") -> None:
    """The replay runs the first request to its end: an answer 600 ms late is no quicker than asking again."""
    finding = look(many(traced, late_ms=600)).one("p14")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(-0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {"finished": False},
        {"late_ms": 0},
        {"again": False},
        {"timeout_s": None},
        {"timeout_s": "soon"},
        {"timeout_s": 10.0},
        {"inputs": ("x", "y")},
        {"inputs": (None, None)},
        {"late_ms": 40, "skew_ms": 50},
    ],
    ids=[
        "failed",
        "nothing late",
        "a deadline by intent",
        "no timeout on record",
        "hostile timeout",
        "failed before its time",
        "a loop over items",
        "no input on record",
        "within two clocks",
    ],
)
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", settings: Any) -> None:
    """Retries after real errors, timeouts that stop the callee or end the attempt, and missing records."""
    assert look(many(traced, **settings)).of("p14") == []


def test_a_timeout_that_nearly_all_requests_meet_fits(traced: "type[Traced]", look: "Look") -> None:
    """One request in 400 comes too late: the timeout lies above the 99th percentile."""
    found = []
    for number in range(1, 12):
        trace = traced(number)
        root = trace.ask(None, "batch.run", 0, 4_000, node="n0")
        for i in range(40):
            trace.ask(root, "worker.do", 100 * i, 100 * i + 90)
        found.append(trace)
    assert look([*found, impatient(traced, 12)]).of("p14") == []


def test_an_unknown_callee_is_left_alone(traced: "type[Traced]", look: "Look") -> None:
    """Of fewer than 20 requests no percentile is told."""
    assert look([impatient(traced, number) for number in range(1, 10)]).of("p14") == []


def layers(
    traced: "type[Traced]",
    number: int,
    *,
    mends: bool = False,
    outer: int = 3,
    inner: int = 3,
    durable: bool = True,
    task: str | None = "t",
) -> "Traced":
    """A planner calls a worker, which asks a store in vain: 100 ms each, tried again at both layers.

    ``durable``: the outer attempts are those of one task; else the planner asks again itself. ``task``: its own.
    """
    trace = traced(number)
    long = 100 * inner
    root = trace.ask(None, "planner.plan", 0, outer * long, node="n0", status=0 if mends else 2)
    for i in range(outer):
        well = mends and i == outer - 1
        work = trace.ask(
            root, "worker.do", i * long, (i + 1) * long, status=0 if well else 2, antiphon__input__sha256="x",
            operation="call" if durable else "ask", attempt=i + 1 if durable else 1, antiphon__task=task,
        )  # fmt: skip
        if durable and i:
            again, call = trace.publish_of(work), trace.spans[2]
            trace.spans.remove(again)
            work.parent_id, call.end_ns, call.status = call.span_id, again.end_ns, again.status
        for j in range(inner):
            at = i * long + 100 * j
            trace.ask(work, "store.get", at, at + 100, node="n2", antiphon__input__sha256="y",
                      status=0 if well and j == inner - 1 else 2)  # fmt: skip
    return trace


@pytest.mark.parametrize("settings", [{}, {"task": None}, {"durable": False}], ids=["task", "no task", "code"])
def test_retries_of_retries_are_found_at_the_outer_layer(traced: "type[Traced]", look: "Look", settings: Any) -> None:
    """Three times three attempts, all in vain; with one at the outer layer 600 of 900 ms are saved.

    A policy makes fewer attempts of what a task calls; elsewhere, and where code asks again, it is advice.
    """
    finding = look([layers(traced, number, **settings) for number in range(1, 8)]).one("p14")
    assert finding.state is FindingState.OPEN
    fewer = Proposal(action=Retry(attempts=1), target="call worker.do")
    assert finding.remedy.proposal == (None if settings else fewer)
    assert "worker.do is tried again" in finding.remedy.text
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.6)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("settings", [{"outer": 1}, {"inner": 1}, {"mends": True}], ids=["inner", "outer", "helps"])
def test_retries_of_one_layer_or_of_use_are_left_alone(
    traced: "type[Traced]", look: "Look", settings: Any, durable: bool
) -> None:
    """One layer that tries again is what retries are for; so is an outer one that mends what the inner could not."""
    assert look([layers(traced, number, durable=durable, **settings) for number in range(1, 31)]).of("p14") == []


def test_its_memory_is_bounded(traced: "type[Traced]") -> None:
    """However many callees there are, the newest are remembered."""
    detector = RetryOrTimeout(random.Random(0))
    trace = traced(1)
    spans: list[SpanRecord] = [trace.ask(None, f"worker{i}.do", 0, 10) for i in range(1_000)]
    for span in spans:
        detector.observe(span, "n1")
    assert len(detector._took_ns) == 512


def test_foreign_spans_are_left_alone(traced: "type[Traced]", look: "Look", stripped: "Stripped") -> None:
    """The same work without our facts on record says nothing."""
    assert look(stripped(many(traced))).of("p14") == []


def test_hostile_values_break_nothing(traced: "type[Traced]", spoiled: "Spoiled") -> None:
    """Whatever attributes say, each in turn, the detector goes on."""
    spoiled(RetryOrTimeout(random.Random(0)), many(traced))
