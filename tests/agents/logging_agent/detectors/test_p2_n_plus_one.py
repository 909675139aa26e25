"""P2 fires on loops of equal calls with another input each, and on nothing else."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Batch, Proposal
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced


def runs(traced: "type[Traced]", count: int, plan: "Callable[[Traced, SpanRecord], None]") -> "list[Traced]":
    """``count`` runs of planner.plan, each 1 s, filled by ``plan``."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        plan(trace, trace.ask(None, "planner.plan", 0, 1_000))
        found.append(trace)
    return found


def loop(trace: "Traced", root: SpanRecord, *, calls: int = 6, batch: bool | None = True, **kwargs: Any) -> None:
    """Calls of 100 ms from 100 ms on, one after the other, each with another input."""
    kwargs = {"causes": [], "antiphon__tool__batch": batch, **kwargs}
    for i in range(calls):
        trace.tool(root, "lookup", 100 + 100 * i, 200 + 100 * i, content=f"row{trace.number}.{i}", **kwargs)


def test_a_loop_over_a_tool_that_takes_batches_is_proven(traced: "type[Traced]", look: "Look") -> None:
    """Six calls of 100 ms become one: of 100 ms at best, of 150 ms where each further item costs a tenth."""
    finding = look(runs(traced, 5, loop)).one("p2")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.A
    assert finding.subject == "tool lookup"
    assert finding.remedy.proposal == Proposal(action=Batch(window_s=0.005), target="tool lookup")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx((0.5 + 0.45) / 2)
    assert finding.saving.latency_s.low == pytest.approx(0.45 * 0.93, rel=0.02)
    assert finding.saving.latency_s.high == pytest.approx(0.5 * 1.07, rel=0.02)


def test_calls_of_different_length_add_up_in_the_cautious_bound(traced: "type[Traced]", look: "Look") -> None:
    """Four calls of 100 ms and one of 300 ms: 300 ms at best; at worst 300 ms and a tenth of it for each of four."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        at = 0
        for i, length in enumerate((100, 100, 300, 100, 100)):
            content = f"row{trace.number}.{i}"
            trace.tool(root, "lookup", at, at + length, content=content, causes=[], antiphon__tool__batch=True)
            at += length

    saving = look(runs(traced, 5, plan)).one("p2").saving
    assert saving is not None and saving.latency_s is not None
    assert saving.latency_s.high == pytest.approx(0.4 * 1.07, rel=0.02)
    assert saving.latency_s.low == pytest.approx((0.7 - 0.42) * 0.93, rel=0.02)


def test_batches_that_were_seen_say_what_one_takes(traced: "type[Traced]", look: "Look") -> None:
    """Single calls take 100 ms, batches of two 110 and of three 120: one of six takes 150."""

    def batches(trace: "Traced", root: SpanRecord) -> None:
        for size in (2, 3):
            for i in range(size):
                start, end = 200 * size, 200 * size + 90 + 10 * size
                content = f"{trace.number}.{size}.{i}"
                trace.tool(root, "lookup", start, end, content=content, causes=[], antiphon__batch__size=size)

    def plan(trace: "Traced", root: SpanRecord) -> None:
        (batches if trace.number <= 5 else loop)(trace, root)

    saving = look(runs(traced, 10, plan)).one("p2").saving
    assert saving is not None and saving.latency_s is not None
    assert saving.latency_s.point == pytest.approx(0.45)


def test_without_a_declared_batch_it_is_advice(traced: "type[Traced]", look: "Look") -> None:
    """Grade B, nothing to apply, and the low end is no saving at all."""
    finding = look(runs(traced, 5, lambda trace, root: loop(trace, root, batch=None))).one("p2")
    assert finding.grade is Grade.B
    assert finding.remedy.proposal is None
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.low == 0.0
    assert finding.saving.latency_s.high == pytest.approx(0.5 * 1.07, rel=0.02)


@pytest.mark.parametrize("kwargs", [{"causes": None}, {"effect": "write"}, {"antiphon__msg__causes_inferred": True}])
def test_without_proof_a_batch_tool_is_advice(traced: "type[Traced]", look: "Look", kwargs: dict[str, Any]) -> None:
    """Causes that are missing or assumed, or calls that write, leave grade B."""
    finding = look(runs(traced, 5, lambda trace, root: loop(trace, root, **kwargs))).one("p2")
    assert finding.grade is Grade.B
    assert finding.remedy.proposal is None


def test_one_unproven_run_takes_the_proof_away(traced: "type[Traced]", look: "Look") -> None:
    """A later run with causes does not make up for an earlier one without."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        loop(trace, root, causes=None if trace.number == 2 else [])

    assert look(runs(traced, 8, plan)).one("p2").grade is Grade.B


def test_a_loop_over_a_peer_takes_its_work_along(traced: "type[Traced]", look: "Look") -> None:
    """Five asks of 100 ms with a model call in each: one batch of 100 ms at best."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for i in range(5):
            start = 100 + 100 * i
            content = f"{trace.number}.{i}"
            done = trace.ask(root, "reader.read", start, start + 100, antiphon__input__sha256=content, causes=[])
            trace.model(done, start + 20, start + 80, content=content)

    finding = look(runs(traced, 5, plan)).one("p2")
    assert finding.subject == "ask reader.read"
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.high == pytest.approx(0.4 * 1.07, rel=0.02)


def test_one_run_is_a_candidate_without_a_saving(traced: "type[Traced]", look: "Look") -> None:
    """Support 1 of 5 runs claims nothing."""
    finding = look(runs(traced, 1, loop)).one("p2")
    assert finding.state is FindingState.CANDIDATE
    assert finding.saving is None


def _parallel_map(trace: "Traced", root: SpanRecord) -> None:
    """Two at a time, as a pool limit has it."""
    for i in range(8):
        start = 100 + 100 * (i // 2)
        trace.tool(root, "lookup", start, start + 100, content=f"{i}", causes=[], antiphon__tool__batch=True)


def _a_decision_between(trace: "Traced", root: SpanRecord) -> None:
    for i in range(6):
        trace.model(root, 150 * i, 150 * i + 50, content=f"{trace.number}.{i}")
        trace.tool(root, "lookup", 150 * i + 50, 150 * i + 150, content=f"{i}", causes=[], antiphon__tool__batch=True)


def _each_uses_the_one_before(trace: "Traced", root: SpanRecord) -> None:
    before: SpanRecord | None = None
    for i in range(6):
        before = trace.tool(
            root,
            "next_page",
            100 + 100 * i,
            200 + 100 * i,
            content=f"{i}",
            causes=[] if before is None else [before.span_id.hex()],
            antiphon__tool__batch=True,
        )


def _the_same_input(trace: "Traced", root: SpanRecord) -> None:
    for i in range(6):
        trace.tool(root, "lookup", 100 + 100 * i, 200 + 100 * i, content="row", causes=[], antiphon__tool__batch=True)


def _short(trace: "Traced", root: SpanRecord) -> None:
    """8 ms each: 40 ms together, below 300 ms and 5 % of the run."""
    for i in range(5):
        trace.tool(root, "lookup", 100 + 8 * i, 108 + 8 * i, content=f"{i}", causes=[], antiphon__tool__batch=True)


def _failed(trace: "Traced", root: SpanRecord) -> None:
    loop(trace, root, status=2)


def _no_hash(trace: "Traced", root: SpanRecord) -> None:
    for i in range(6):
        trace.tool(root, "lookup", 100 + 100 * i, 200 + 100 * i, causes=[], antiphon__tool__batch=True)


@pytest.mark.parametrize(
    "plan",
    [
        _parallel_map,
        _a_decision_between,
        _each_uses_the_one_before,
        _the_same_input,
        _short,
        _failed,
        _no_hash,
        lambda trace, root: loop(trace, root, calls=4),
        lambda trace, root: loop(trace, root, causes=["of another library"]),
    ],
)
def test_decoys_are_left_alone(
    traced: "type[Traced]", look: "Look", plan: "Callable[[Traced, SpanRecord], None]"
) -> None:
    """Maps, decided or dependent or equal or short or failed or few calls are no N+1 loop, in any number."""
    assert look(runs(traced, 30, plan)).of("p2") == []


@pytest.mark.parametrize("value", [7, "x" * 100_000, [1, 2], True, float("nan")])
def test_hostile_values_are_survived(traced: "type[Traced]", look: "Look", value: Any) -> None:
    """Attributes of a wrong type or size read as absent or as any other text."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for i in range(6):
            span = trace.tool(root, "lookup", 100 + 100 * i, 200 + 100 * i)
            span.attributes |= dict.fromkeys(
                ("antiphon.input.sha256", "antiphon.msg.causes", "antiphon.tool.batch"), value
            )

    assert look(runs(traced, 6, plan)).of("p2") == []
