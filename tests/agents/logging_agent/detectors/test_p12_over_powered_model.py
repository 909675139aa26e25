"""P12 advises where answers look easy, and recommends only what was compared."""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.detectors.p12_over_powered_model import OverPoweredModel
from antiphon.schemas.finding import Finding, FindingState, Grade, QualityRisk
from antiphon.schemas.policy import Route

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.agents.logging_agent.detectors.base import Observed
    from antiphon.runtime.whatif.testing import Traced


def runs(
    traced: "type[Traced]",
    *,
    count: int = 40,
    first: int = 1,
    result: Callable[[int], str] = lambda number: f"class{number % 3}",
    prompt: Callable[[int], str | None] = str,
    output: int = 4,
    tokens: int = 500,
    small_ms: int = 1,
    usd: tuple[float, float] | None = (0.01, 0.001),
) -> "list[Traced]":
    """Runs of a router that asks a big model, 10 ms a token of output and 1 s of prefill, and of a writer that asks a
    small one for 100 tokens: ``small_ms`` a token and 0.1 s of prefill."""
    found = []
    for number in range(first, first + count):
        trace = traced(number)
        extra = number % 4
        big_ms = 1_000 + 10 * (output + extra)
        little_ms = 100 + small_ms * (100 + extra)
        root = trace.ask(None, "front.serve", 0, 2_500 + little_ms)
        router = trace.ask(root, "router.route", 0, big_ms)
        facts: dict[str, Any] = {"antiphon.result.sha256": result(number), "antiphon.input.sha256": prompt(number)}
        big = {"antiphon.model.prefill_s": 1.0, "antiphon.model.decode_s": (big_ms - 1_000) / 1_000, **facts}
        small: dict[str, Any] = {"antiphon.model.prefill_s": 0.1, "antiphon.model.decode_s": (little_ms - 100) / 1_000}
        if usd is not None:
            big["antiphon.cost_usd"], small["antiphon.cost_usd"] = usd
        trace.model(router, 0, big_ms, model="big", tokens=tokens, output=output + extra, **big)
        writer = trace.ask(root, "writer.write", 2_000, 2_000 + little_ms)
        trace.model(writer, 2_000, 2_000 + little_ms, model="small", tokens=500, output=100 + extra, **small)
        found.append(trace)
    return found


def shadows(
    traced: "type[Traced]", finding: Finding, count: int, *, wrong: Callable[[int], bool] = lambda number: False,
    first: int = 10_000, arm: str = "p=shadow",
) -> "list[Traced]":  # fmt: skip
    """What a route policy at level shadow records, each comparison a root of its own."""
    found = []
    for number in range(first, first + count):
        trace = traced(number)
        facts: dict[str, Any] = {
            "antiphon.shadow.equal": not wrong(number),
            "antiphon.experiment.arm": [arm],
            "antiphon.finding.id": [finding.id],
        }
        trace.add(None, "shadow p", 0, 100, **facts)
        found.append(trace)
    return found


def test_easy_answers_of_a_large_model_are_advice_to_compare(traced: "type[Traced]", look: "Look") -> None:
    """Three classes, four tokens: by its law the small model takes 0.1 s and 1 ms a token, where the large one takes
    1 s and 10 ms a token. Of 5.5 tokens on average 0.95 s are saved, and of 1 cent all but what 505.5 tokens cost."""
    finding = look(runs(traced)).one("p12")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.C
    assert finding.quality_risk is QualityRisk.NEEDS_EVALUATION
    assert (finding.required, finding.support_unit) == (20, "calls")
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.action == Route(model="small")
    assert (finding.remedy.proposal.target, finding.remedy.proposal.agent) == ("model big", "router")
    saving = finding.saving
    assert saving is not None and saving.latency_s is not None and saving.usd is not None
    assert saving.latency_s.point == pytest.approx(0.9 + 0.009 * 5.5, rel=0.02)
    assert saving.usd.point == pytest.approx(0.01 - 0.001 * 505.5 / 601.5, rel=0.02)


def test_189_equal_results_make_it_a_recommendation(traced: "type[Traced]", look: "Look") -> None:
    """Compared and equal often enough: grade B, open, of little risk."""
    made = runs(traced)
    before = look(made).one("p12")
    finding = look([*made, *shadows(traced, before, 189), *runs(traced, count=2, first=20_000)]).one("p12")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.quality_risk is QualityRisk.LOW
    assert (finding.support, finding.required, finding.support_unit) == (189, 189, "compared calls")
    assert "189 of 189 compared results were equal (at least 98.0% of all, 95 %)" in finding.remedy.text


def test_a_policy_that_a_person_set_compares_as_well(traced: "type[Traced]", look: "Look") -> None:
    """It names no finding: the agent and the model that was asked beside say what was compared."""
    made = runs(traced)
    before = look(made).one("p12")
    more = shadows(traced, before, 189)
    facts = {"antiphon.agent": "router", "gen_ai.request.model": "small"}
    for trace in more:
        del trace.spans[0].attributes["antiphon.finding.id"]
        trace.spans[0].attributes.update(facts)
    finding = look([*made, *more, *runs(traced, count=2, first=20_000)]).one("p12")
    assert (finding.state, finding.grade, finding.support) == (FindingState.OPEN, Grade.B, 189)


@pytest.mark.parametrize(
    "other",
    [
        {"antiphon.agent": "writer", "gen_ai.request.model": "small"},
        {"antiphon.agent": "router", "gen_ai.request.model": "tiny"},
        {"antiphon.agent": "router", "gen_ai.request.model": "small", "antiphon.operation": "model"},
    ],
    ids=["another agent", "another model", "a cache in the shadow"],
)
def test_a_person_s_other_comparisons_do_not_count(traced: "type[Traced]", look: "Look", other: dict[str, Any]) -> None:
    """Only what this agent was answered by that model beside."""
    made = runs(traced)
    more = shadows(traced, look(made).one("p12"), 200)
    for trace in more:
        del trace.spans[0].attributes["antiphon.finding.id"]
        trace.spans[0].attributes.update(other)
    finding = look([*made, *more, *runs(traced, count=2, first=20_000)]).one("p12")
    assert (finding.state, finding.grade, finding.support_unit) == (FindingState.OPEN, Grade.C, "calls")


@pytest.mark.parametrize("count", [50, 188])
def test_fewer_comparisons_recommend_nothing_yet(traced: "type[Traced]", look: "Look", count: int) -> None:
    """All equal, but not enough: a candidate that goes on comparing."""
    made = runs(traced)
    before = look(made).one("p12")
    finding = look([*made, *shadows(traced, before, count), *runs(traced, count=2, first=20_000)]).one("p12")
    assert (finding.state, finding.grade, finding.saving) == (FindingState.CANDIDATE, Grade.C, None)
    assert finding.remedy.proposal is not None


def test_a_small_model_that_is_wrong_on_hard_cases_is_not_recommended(traced: "type[Traced]", look: "Look") -> None:
    """One in twenty differs: no policy, no saving, however many are compared."""
    made = runs(traced)
    before = look(made).one("p12")
    hard = shadows(traced, before, 300, wrong=lambda number: number % 20 == 0)
    finding = look([*made, *hard, *runs(traced, count=2, first=20_000)]).one("p12")
    assert (finding.state, finding.saving) == (FindingState.CANDIDATE, None)
    assert finding.remedy.proposal is None


def test_other_comparisons_do_not_count(traced: "type[Traced]", look: "Look") -> None:
    """Of a cache at level shadow, for example, or of an arm that is not a shadow."""
    made = runs(traced)
    before = look(made).one("p12")
    other = before.model_copy(update={"id": "another"})
    more = [*shadows(traced, other, 200), *shadows(traced, before, 200, first=30_000, arm="p=treated")]
    finding = look([*made, *more, *runs(traced, count=2, first=40_000)]).one("p12")
    assert (finding.state, finding.grade) == (FindingState.OPEN, Grade.C)


def test_nineteen_calls_are_a_candidate(traced: "type[Traced]", look: "Look") -> None:
    """Below twenty calls nothing is claimed."""
    finding = look(runs(traced, count=19)).one("p12")
    assert (finding.state, finding.saving) == (FindingState.CANDIDATE, None)


@pytest.mark.parametrize(
    "decoy",
    [
        {"result": str, "output": 60},
        {"prompt": lambda number: "same"},
        {"prompt": lambda number: None},
        {"tokens": 3_000},
        {"small_ms": 200, "usd": None},
        {"usd": (0.001, 0.01)},
    ],
    ids=["free texts", "one input again and again", "no hashes", "long prompts", "no faster model", "a dearer model"],
)
def test_decoys_are_left_alone(traced: "type[Traced]", look: "Look", decoy: dict[str, Any]) -> None:
    """Nothing says that a smaller model could, or that it would be worth it."""
    assert look(runs(traced, **decoy)).of("p12") == []


def test_an_unpriced_model_is_judged_by_its_time(traced: "type[Traced]", look: "Look") -> None:
    """Models of one's own have no price: no money is claimed."""
    finding = look(runs(traced, usd=None)).one("p12")
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.usd is None


@pytest.mark.parametrize("equal", ["yes", 1, None, [True]])
def test_hostile_comparisons_are_left_alone(traced: "type[Traced]", look: "Look", equal: object) -> None:
    """What is no truth value compares nothing."""
    made = runs(traced)
    more = shadows(traced, look(made).one("p12"), 200)
    for trace in more:
        trace.spans[0].attributes["antiphon.shadow.equal"] = equal
    assert look([*made, *more, *runs(traced, count=2, first=20_000)]).one("p12").support_unit == "calls"


def test_its_memory_is_bounded(traced: "type[Traced]", observed: "Callable[[Traced], Observed]") -> None:
    """Many agents and models leave no more than a fixed number of entries."""
    detector = OverPoweredModel(random.Random(1))
    for number in range(1, 400):
        trace = traced(number)
        root = trace.ask(None, f"router{number}.route", 0, 100)
        for call in range(2):
            trace.model(root, 0, 50, model=f"m{number}-{call}", content="x")
        detector.trace(observed(trace))
    assert len(detector._sites) == 256
    assert len(detector._rivals._prices) == 32
