"""P20 fires where calls that come together are served one by one, and only where a batch would be quicker."""

import random
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p20_missed_batching import MissedBatching
from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Batch, Proposal

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look
    from tests.agents.logging_agent.detectors.conftest import Spoiled, Stripped

    from antiphon.runtime.whatif.testing import Traced


def burst(
    traced: "type[Traced]",
    number: int,
    *,
    apart_ms: float = 1.0,
    base_ms: float = 80.0,
    each_ms: float = 0.2,
    tokens: int | None = None,
    active: Any = 1,
    operation: str = "embeddings",
    nodes: int = 1,
    **kwargs: Any,
) -> "list[Traced]":
    """Four runs, a millisecond apart, that each have a text of 100 or 200 tokens embedded; one is served at a time."""
    size = tokens or (100 if number % 2 else 200)
    takes = base_ms + each_ms * size
    found = []
    for i in range(4):
        trace = traced(10 * number + i, at_ms=10_000 * number + apart_ms * i)
        wait = max((takes - apart_ms) * i, 0.0)
        root = trace.ask(None, "indexer.add", 0, wait + takes, node=f"n{i % nodes}")
        span = trace.model(
            root,
            0,
            wait + takes,
            tokens=size,
            output=0,
            gen_ai__operation__name=operation,
            antiphon__pool__id="model:m@gpu",
            antiphon__pool__capacity=1,
            antiphon__pool__active=active,
            antiphon__model__queue_s=wait / 1_000,
            **kwargs,
        )
        trace.nodes[span.span_id] = f"n{i % nodes}"
        found.append(trace)
    return found


def bursts(traced: "type[Traced]", **kwargs: Any) -> "list[Traced]":
    """Ten of them."""
    return [run for number in range(1, 11) for run in burst(traced, number, **kwargs)]


def test_embeddings_that_queue_one_by_one_are_found(traced: "type[Traced]", look: "Look") -> None:
    """80 ms a call and 0.2 ms a token: four of 100 tokens take 160 ms together, of 200 tokens 240.

    They end 165 or 245 ms after the first (a window of 5 ms holds all four), not after 100, 200, 300 and 400, or 120,
    240, 360 and 480. Runs save 85 or 55 ms in the mean, and of the model's time 60 ms each.
    """
    finding = look(bursts(traced)).one("p20")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.subject == "model m"
    assert finding.remedy.proposal == Proposal(action=Batch(window_s=0.005, most=64), target="model m")
    assert finding.saving is not None and finding.saving.latency_s is not None and finding.saving.model_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.07, rel=0.1)
    assert finding.saving.model_s.point == pytest.approx(0.06, rel=0.1)


def test_without_a_law_the_bounds_are_the_longest_call_and_all_in_a_row(traced: "type[Traced]", look: "Look") -> None:
    """Calls of one size: two together take 100 to 200 ms, and with a window of 1 ms end at 101 and 201, or 201 and 401.

    They took 248 ms in the mean and would take 150 or 300: 99 ms less or 51 more. Larger batches are a larger risk.
    """
    finding = look(bursts(traced, tokens=100)).one("p20")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx((99 - 51) / 2 / 1_000, abs=0.003)
    assert finding.saving.latency_s.low <= -0.045
    assert finding.assumptions[0].startswith("Low end")


def test_chat_calls_are_advice(traced: "type[Traced]", look: "Look") -> None:
    """The runtime makes no batch of them; a server may."""
    finding = look(bursts(traced, operation="chat")).one("p20")
    assert finding.grade is Grade.C
    assert finding.remedy.proposal is None
    assert "server" in finding.remedy.text


def test_a_model_on_another_node_is_batched_where_it_is_served(traced: "type[Traced]", look: "Look") -> None:
    """Its pool is on the span of the node that serves it; what is there goes into the batch."""
    runs = bursts(traced)
    for run in runs:
        span = run.spans[-1]
        begin_ns = span.start_ns + int(span.attributes.pop("antiphon.model.queue_s") * 1e9)
        pool = {name: span.attributes.pop(f"antiphon.pool.{name}") for name in ("id", "capacity", "active")}
        run.add(
            span, "process", (begin_ns - run.at_ns) / 1e6, (span.end_ns - run.at_ns) / 1e6, kind=4, node="gpu",
            antiphon__queue__enter_ns=span.start_ns, antiphon__queue__dequeue_ns=begin_ns,
            **{f"antiphon__pool__{name}": value for name, value in pool.items()},
        )  # fmt: skip
    finding = look(runs).one("p20")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.07, rel=0.1)


@pytest.mark.parametrize(
    "settings",
    [
        {"active": 2},
        {"active": None},
        {"active": "one"},
        {"apart_ms": 300.0},
        {"base_ms": 0.0, "each_ms": 1.0},
        {"nodes": 4},
        {"antiphon__batch__size": 4},
        {"status": 2},
    ],
    ids=["batched by the engine", "use unknown", "hostile use", "far apart", "nothing shared", "four nodes", "batched",
         "failed"],
)  # fmt: skip
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", settings: Any) -> None:
    """Engines that serve several at once, calls that do not come together, and batches that would save nothing."""
    assert look(bursts(traced, **settings)).of("p20") == []


def test_few_calls_say_nothing(traced: "type[Traced]", look: "Look") -> None:
    """Sixteen calls are too few."""
    assert look([run for number in range(1, 5) for run in burst(traced, number)]).of("p20") == []


def test_calls_in_a_row_are_no_batch(traced: "type[Traced]", look: "Look") -> None:
    """Calls of one run, each after the last, may need one another, however short they are."""
    found = []
    for number in range(1, 21):
        trace = traced(number)
        root = trace.ask(None, "indexer.add", 0, 50, node="n0")
        for i in range(10):
            trace.model(root, 5 * i, 5 * i + 5, gen_ai__operation__name="embeddings", antiphon__pool__id="model:m@gpu",
                        antiphon__pool__capacity=1, antiphon__pool__active=1)  # fmt: skip
        found.append(trace)
    assert look(found).of("p20") == []


def test_foreign_spans_are_left_alone(traced: "type[Traced]", look: "Look", stripped: "Stripped") -> None:
    """The same work without our facts on record says nothing."""
    assert look(stripped(bursts(traced))).of("p20") == []


def test_hostile_values_break_nothing(traced: "type[Traced]", spoiled: "Spoiled") -> None:
    """Whatever attributes say, each in turn, the detector goes on."""
    spoiled(MissedBatching(random.Random(0)), bursts(traced))
