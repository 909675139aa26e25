"""Two groups of runs: means, intervals and operations, by hand where one can, by law where not."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.runtime.replay.contrast import MOST_LABELS, Contrast, Measured, Sample, Spent, contrast, sample_of
from antiphon.runtime.whatif.testing import Traced
from antiphon.runtime.whatif.trace import build


def sample(latency_s: float, *, failed: bool = False, scores: dict[str, float] | None = None) -> Sample:
    """A run of one tool."""
    spent = {"tool search": Spent(count=1, own_s=latency_s, critical_s=latency_s)}
    return Sample(
        failed=failed, latency_s=latency_s, tokens=10, model_s=0, usd=0, spent=spent, scores=scores or {}
    )  # fmt: skip


def named(found: Contrast, name: str) -> Measured:
    """One quantity."""
    return next(each for each in found.measured if each.name == name)


def test_a_run_is_measured_by_its_trace() -> None:
    """Own time leaves out what runs below; the critical path adds up to the latency; work side by side adds up."""
    traced = Traced(1)
    root = traced.ask(None, "a.b", 0, 100)
    traced.tool(root, "long", 10, 90)
    traced.tool(root, "short", 10, 50)
    trace = build([(span, "n") for span in traced.spans])
    assert trace is not None
    found = sample_of(trace, failed=False, scores={"good": 1.0})
    assert found.latency_s == pytest.approx(0.1)
    own = {label: each.own_s for label, each in found.spent.items()}
    assert own == pytest.approx({"ask a.b": 0, "a.b": 0.02, "tool long": 0.08, "tool short": 0.04})
    assert sum(each.critical_s for each in found.spent.values()) == pytest.approx(0.1)
    assert found.of("nothing") == Spent()


def test_a_clear_difference_is_one() -> None:
    """Second minus first; tokens are the same; nobody paid, so there is no row of costs."""
    found = contrast([sample(1 + n / 100) for n in range(20)], [sample(2 + n / 100) for n in range(30)])
    latency = named(found, "latency, mean")
    assert latency.difference == pytest.approx(1.05) and latency.runs == (20, 30)
    assert latency.low is not None and latency.high is not None and 1 < latency.low < 1.05 < latency.high < 1.1
    tokens = named(found, "tokens a run")
    assert (tokens.difference, tokens.low, tokens.high) == (0, 0, 0)
    assert "cost a run" not in {each.name for each in found.measured}
    (operation,) = found.operations
    assert operation.label == "tool search" and operation.own.difference == pytest.approx(1.05)


def test_failed_runs_count_as_failed_and_for_nothing_else() -> None:
    """A run that fails early is not a quick one."""
    found = contrast([sample(2), sample(2)], [sample(2), sample(2), sample(0.1, failed=True), sample(0.1, failed=True)])
    assert named(found, "latency, mean").difference == 0
    assert (named(found, "failed").first, named(found, "failed").second) == (0, 0.5)
    only = contrast([sample(2)], [sample(1, failed=True)])
    assert [each.name for each in only.measured] == ["failed"] and only.operations == ()


def test_scores_are_of_the_runs_that_have_them() -> None:
    """By name; one that a group lacks cannot be compared."""
    first = [sample(1, scores={"helpful": 0.5, "short": 1}), sample(1)]
    found = contrast(first, [sample(1, scores={"helpful": 0.75})])
    helpful = named(found, "score helpful")
    assert (helpful.difference, helpful.low, helpful.runs) == (0.25, None, (1, 1))
    assert "score short" not in {each.name for each in found.measured}


def test_operations_that_matter_come_first_and_are_not_without_end() -> None:
    """By what they change of the latency; work that a run lacks counts as none."""
    spent = {f"tool t{n}": Spent(count=2, own_s=n, critical_s=n) for n in range(MOST_LABELS + 5)}
    rich = Sample(failed=False, latency_s=1, tokens=0, model_s=0, usd=0, spent=spent)
    found = contrast([sample(1)], [rich])
    assert (len(found.operations), found.more) == (MOST_LABELS, 6)
    assert found.operations[0].label == f"tool t{MOST_LABELS + 4}" and found.operations[0].first == Spent()


def test_no_difference_is_covered_about_as_often_as_the_interval_says() -> None:
    """Of 40 comparisons of equal groups 0 lies in the 90 % interval of 31 at least, and not of all."""
    rng = random.Random(3)
    covered = 0
    for _ in range(40):
        groups = [[sample(rng.gauss(5, 1)) for _ in range(25)] for _ in range(2)]
        latency = named(contrast(groups[0], groups[1]), "latency, mean")
        assert latency.low is not None and latency.high is not None
        covered += latency.low <= 0 <= latency.high
    assert 31 <= covered < 40


@settings(max_examples=15, deadline=None)
@given(*[st.lists(st.floats(0, 1e6), min_size=1, max_size=6)] * 2)
def test_turning_the_groups_turns_the_sign(first: list[float], second: list[float]) -> None:
    """Of every quantity; the interval holds the difference of means; one run alone has none."""
    groups = [sample(each) for each in first], [sample(each) for each in second]
    there, back = contrast(*groups), contrast(groups[1], groups[0])
    for one, other in zip(there.measured, back.measured, strict=True):
        assert one.difference == -other.difference
        assert (one.low is None) == (min(len(first), len(second)) < 2)
        assert one.low is None or one.high is None or one.low <= one.high
