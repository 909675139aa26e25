"""P4 fires on work that is asked for again while its answer is good, and on nothing else."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade
from antiphon.schemas.policy import Cache, Proposal
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced


def runs(
    traced: "type[Traced]", count: int, plan: "Callable[[Traced, SpanRecord], object]", every_s: float = 10
) -> "list[Traced]":
    """``count`` runs of planner.plan, each 1 s, one every ``every_s``, filled by ``plan``."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number, at_ms=1_000 * every_s * number)
        plan(trace, trace.ask(None, "planner.plan", 0, 1_000))
        found.append(trace)
    return found


def price(trace: "Traced", root: SpanRecord, *, ttl_s: float | None = 3_600, **kwargs: Any) -> SpanRecord:
    """The same question in every run, 500 ms."""
    return trace.tool(root, "price", 100, 600, content="gold", antiphon__tool__ttl_s=ttl_s, **kwargs)


def test_the_same_question_in_every_run_is_found(traced: "type[Traced]", look: "Look") -> None:
    """After 40 runs every 10 s, results of up to 80 s are known to agree; a run then saves 500 ms of its 1 s."""
    finding = look(runs(traced, 40, price)).one("p4")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.A
    assert finding.subject == "tool price"
    assert finding.remedy.proposal == Proposal(action=Cache(ttl_s=80), target="tool price")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.5)
    assert finding.support == 24  # told anew with a quarter more


def test_a_repeat_within_the_run_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Two model calls at temperature 0 with one prompt, 400 ms each: the second one's time and 120 tokens go."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for start in (100, 500):
            trace.model(root, start, start + 400, content=f"q{trace.number}")

    finding = look(runs(traced, 40, plan)).one("p4")
    assert finding.grade is Grade.A
    assert finding.subject == "model m"
    assert finding.saving is not None and finding.saving.latency_s and finding.saving.tokens
    assert finding.saving.latency_s.point == pytest.approx(0.4)
    assert finding.saving.tokens.point == pytest.approx(120)


def test_a_cache_is_filled_anew_when_its_result_is_too_old(traced: "type[Traced]", look: "Look") -> None:
    """With a ttl of 25 s and a run every 10 s every third run fills it: two of three save."""
    finding = look(runs(traced, 40, lambda trace, root: price(trace, root, ttl_s=25))).one("p4")
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.action == Cache(ttl_s=25)
    assert finding.prevalence == pytest.approx(2 / 3, abs=0.1)


def test_results_that_change_bound_the_time(traced: "type[Traced]", look: "Look") -> None:
    """A price that changes every minute agrees too rarely with those of 20 s and more before; 1 s is good."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for start in (100, 1_100):
            span = trace.tool(root, "price", start, start + 500, content="gold", antiphon__tool__ttl_s=3_600)
            span.attributes["antiphon.result.sha256"] = f"{trace.number // 3}"

    found = []
    for number in range(1, 61):
        trace = traced(number, at_ms=20_000 * number)
        plan(trace, trace.ask(None, "planner.plan", 0, 2_000))
        found.append(trace)
    finding = look(found).one("p4")
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.action == Cache(ttl_s=1)


def test_without_a_declaration_it_is_advice(traced: "type[Traced]", look: "Look") -> None:
    """A tool that reads and declares no ttl is grade B: no policy may cache it before its author has said so."""
    finding = look(runs(traced, 40, lambda trace, root: price(trace, root, ttl_s=None))).one("p4")
    assert (finding.grade, finding.remedy.proposal) == (Grade.B, None)
    assert "once its effect and ttl are declared" in finding.remedy.text


def test_a_model_with_chance_is_grade_b(traced: "type[Traced]", look: "Look") -> None:
    """Sampled replies that agreed so far prove nothing."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        trace.model(root, 100, 600, content="q", deterministic=False)

    finding = look(runs(traced, 40, plan)).one("p4")
    assert (finding.grade, finding.remedy.proposal) == (Grade.B, None)


def test_a_peer_that_only_reads_is_grade_b_and_takes_its_work_along(traced: "type[Traced]", look: "Look") -> None:
    """A hit on the peer covers the model call in it: each token counts once, 120 a run."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        done = trace.ask(root, "reader.read", 100, 900, antiphon__input__sha256="x")
        done.attributes["antiphon.result.sha256"] = "y"
        trace.model(done, 150, 850, content="q")

    finding = look(runs(traced, 40, plan)).one("p4")
    assert finding.subject == "ask reader.read"
    assert finding.grade is Grade.B
    assert finding.saving is not None and finding.saving.tokens is not None
    assert finding.saving.tokens.point == pytest.approx(120)


def _write_between(trace: "Traced", root: SpanRecord) -> None:
    trace.tool(root, "update_price", 0, 50, effect="write", content=f"{trace.number}")
    price(trace, root)


def _other_results(trace: "Traced", root: SpanRecord) -> None:
    price(trace, root).attributes["antiphon.result.sha256"] = f"{trace.number}"


def _other_tenants(trace: "Traced", root: SpanRecord) -> None:
    price(trace, root, antiphon__tenant=f"{trace.number}")


def _at_once(trace: "Traced", root: SpanRecord) -> None:
    for _ in range(3):
        trace.tool(root, "price", 100, 600, content=f"{trace.number}", effect="pure")


def _answered(trace: "Traced", root: SpanRecord) -> None:
    price(trace, root, antiphon__answered_by="p1")


def _failed(trace: "Traced", root: SpanRecord) -> None:
    price(trace, root, status=2)


def _other_input(trace: "Traced", root: SpanRecord) -> None:
    trace.tool(root, "price", 100, 600, content=f"{trace.number}", effect="pure")


def _no_result(trace: "Traced", root: SpanRecord) -> None:
    del price(trace, root).attributes["antiphon.result.sha256"]


def _peer_that_writes(trace: "Traced", root: SpanRecord) -> None:
    done = trace.ask(root, "clerk.file", 100, 900, antiphon__input__sha256="x")
    done.attributes["antiphon.result.sha256"] = "y"
    trace.tool(done, "store", 150, 850, effect="write")


@pytest.mark.parametrize(
    "plan",
    [
        _write_between,
        _other_results,
        _other_tenants,
        _at_once,
        _answered,
        _failed,
        _other_input,
        _no_result,
        _peer_that_writes,
        lambda trace, root: price(trace, root, effect="write"),
        lambda trace, root: price(trace, root, effect=None),
        lambda trace, root: price(trace, root, ttl_s=5),
    ],
)
def test_decoys_are_left_alone(
    traced: "type[Traced]", look: "Look", plan: "Callable[[Traced, SpanRecord], object]"
) -> None:
    """Changes between, other tenants, inputs or results, twins at once, writes and results too old are no repeats."""
    assert look(runs(traced, 60, plan)).of("p4") == []


def test_a_pure_tool_is_not_touched_by_writes(traced: "type[Traced]", look: "Look") -> None:
    """What depends on nothing but its input may be answered after a write too."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        trace.tool(root, "update_price", 0, 50, effect="write", content=f"{trace.number}")
        trace.tool(root, "convert", 100, 600, content="gold", effect="pure")

    assert look(runs(traced, 40, plan)).one("p4").subject == "tool convert"


def test_few_pairs_say_nothing(traced: "type[Traced]", look: "Look") -> None:
    """Seven runs make 21 pairs: fewer than 30."""
    assert look(runs(traced, 7, price)).of("p4") == []


def test_a_result_that_comes_late_in_the_record_changes_nothing(traced: "type[Traced]", look: "Look") -> None:
    """Runs that are analysed in another order than they ran: the newest eight results then reach back one further."""
    found = runs(traced, 40, price)
    for first in range(0, 40, 2):
        found[first], found[first + 1] = found[first + 1], found[first]
    finding = look(found).one("p4")
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.action == Cache(ttl_s=90)
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.5)


def test_more_questions_than_are_kept_are_missed(
    traced: "type[Traced]", look: "Look", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: of twelve questions in turn, with room for ten, each is forgotten before it comes again."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        for i in range(12):
            trace.tool(root, "price", 80 * i, 80 * i + 80, content=f"{i}", effect="pure")

    assert look(runs(traced, 20, plan)).one("p4").subject == "tool price"
    monkeypatch.setattr("antiphon.agents.logging_agent.detectors.p4_repeated_work._KEYS", 10)
    assert look(runs(traced, 20, plan)).of("p4") == []


@pytest.mark.parametrize("value", [7, "x" * 100_000, [1, 2], True, float("inf"), -1])
def test_hostile_values_are_survived(traced: "type[Traced]", look: "Look", value: Any) -> None:
    """A ttl or a hash of a wrong type reads as absent."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        price(trace, root).attributes["antiphon.tool.ttl_s"] = value
        trace.tool(root, "odd", 700, 900, content="x").attributes["antiphon.result.sha256"] = value

    for finding in look(runs(traced, 40, plan)).of("p4"):
        assert finding.grade is (Grade.B if value != 7 else finding.grade)
