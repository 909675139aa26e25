"""Experiments on simulated runs: no effect is seldom verified, a real one soon, and harm is taken back."""

import random
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from antiphon.agents.logging_agent.trial import LeftOut
from antiphon.agents.logging_agent.units import Sample, Unit
from antiphon.agents.logging_agent.verifier import (
    COMPARED,
    MOST_RUNS,
    MOST_SLICES,
    Measured,
    Verdict,
    measure,
    primary,
)
from antiphon.runtime.policies.arms import Arm, arm_of
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Realised, Remedy, Saving
from antiphon.schemas.policy import Arms, Level, Policy, Proposal, SingleFlight

PROPOSAL = Proposal(action=SingleFlight(), target="tool look")


def finding(saved_s: float = 0.2, realised: Realised | None = None) -> Finding:
    """A proven finding that predicts ``saved_s`` a run."""
    return Finding(
        id="f" * 32,
        pattern="p3",
        title="twice",
        cohort="planner.plan#1f0c22ab",
        subject="tool look",
        state=FindingState.CANARY,
        grade=Grade.A,
        support=9,
        required=5,
        prevalence=1.0,
        saving=Saving(latency_s=Estimate(point=saved_s, low=saved_s / 2, high=2 * saved_s)),
        remedy=Remedy(text="share", proposal=PROPOSAL),
        realised=realised,
        first_seen_unix_ms=0,
        last_seen_unix_ms=0,
    )


@dataclass
class Runs:
    """As a Trial: what came in so far."""

    policy: Policy
    units: list[Unit] = field(default_factory=list)
    left_out: LeftOut = field(default_factory=LeftOut)
    compared: int = 0
    mismatches: int = 0

    def add(self, one: Sample, treated: bool | None = None) -> None:
        """A run that is a unit of its own, by its id treated or not."""
        unit = Unit(is_treated(one) if treated is None else treated)
        unit.add(one)
        self.units.append(unit)


def policy(level: Level = Level.CANARY) -> Policy:
    """Half of the runs are treated."""
    return Policy(id="p3-f", proposal=PROPOSAL, level=level, finding="f" * 32)


def is_treated(one: Sample) -> bool:
    """By its id."""
    return arm_of(policy(), one.run, 0) is Arm.TREATED


def sample(
    run: int, rng: random.Random, *, seed: int, effect: float = 0.0, more_tokens: float = 0.0, failing: float = 0.01
) -> Sample:
    """A run of about a second, whose length follows its input; treated ones take ``effect`` less."""
    name = f"{seed}-{run}"
    treated = arm_of(policy(), name, 0) is Arm.TREATED
    size = rng.lognormvariate(0, 0.3)
    return Sample(
        run=name,
        failed=rng.random() < (failing if treated else 0.01),
        latency_s=size * rng.lognormvariate(0, 0.3) * (1 - effect * treated),
        tokens=1_000 * size * (1 + more_tokens * treated),
        model_s=0.5 * size,
        usd=0.0,
        input_tokens=1_000 * size,
    )


def told(runs: Runs, said: Finding) -> Measured:
    """What the verifier says of the runs."""
    return measure(said, runs, random.Random(0))  # type: ignore[arg-type]  # a double of Trial


def tried(samples: Iterable[Sample], *, look: int) -> tuple[Verdict, int, str]:
    """The first verdict, after how many runs, and why."""
    runs = Runs(policy())
    for sample in samples:
        runs.add(sample)
        if len(runs.units) % look == 0:
            found = told(runs, finding())
            if found.verdict is not Verdict.OPEN:
                return found.verdict, len(runs.units), found.note
    return Verdict.OPEN, len(runs.units), ""


def many(seeds: int, runs: int, *, look: int = 50, **how: Any) -> list[tuple[Verdict, int, str]]:
    """Seeded experiments, one after the other."""
    found = []
    for seed in range(seeds):
        rng = random.Random(seed)
        found.append(tried((sample(run, rng, seed=seed, **how) for run in range(runs)), look=look))
    return found


@pytest.mark.parametrize("count", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_no_effect_is_seldom_verified(count: int) -> None:
    """At most 5 % of experiments without an effect end as verified, however often they are looked at."""
    verdicts = Counter(verdict for verdict, _, _ in many(count, 240, look=80))
    assert verdicts[Verdict.SAVES] / count <= 0.05
    assert verdicts[Verdict.HARMS] / count <= 0.10


def test_a_real_saving_is_verified_within_a_few_hundred_runs() -> None:
    """20 % of the latency: at least 19 of 20 experiments, half of them within 200 runs."""
    found = many(20, 600, effect=0.2)
    assert sum(verdict is Verdict.SAVES for verdict, _, _ in found) >= 19
    assert sorted(runs for _, runs, _ in found)[10] <= 200


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"effect": -0.3}, "mean latency gets worse"),
        ({"effect": 0.0, "failing": 0.3}, "more runs fail"),
        ({"effect": 0.0, "more_tokens": 0.5}, "tokens a run gets worse"),
    ],
)
def test_a_harmful_remedy_is_taken_back(how: dict[str, Any], why: str) -> None:
    """By the guardrail that it trips, within a few hundred runs, every time."""
    found = many(10, 500, **how)
    assert {verdict for verdict, _, _ in found} == {Verdict.HARMS}
    assert all(why in note for _, _, note in found)


def test_few_runs_are_not_yet_harmless() -> None:
    """Guardrails compare means from 20 runs in each arm on; one that trips is harm, however many there are."""
    runs, rng = Runs(policy()), random.Random(1)
    for run in range(20):
        runs.add(sample(2 * run, rng, seed=1), treated=False)
        assert not told(runs, finding(saved_s=0.001)).is_harmless
        runs.add(sample(2 * run + 1, rng, seed=1), treated=True)
    assert told(runs, finding(saved_s=0.001)).is_harmless
    for run in range(100, 300):
        runs.add(replace(sample(run, rng, seed=1), latency_s=9.0), treated=True)
    harmed = told(runs, finding(saved_s=0.001))
    assert (harmed.verdict, harmed.is_harmless) == (Verdict.HARMS, False)


def test_rare_slow_runs_trip_the_guardrail_of_the_99th_percentile() -> None:
    """The mean says nothing of 3 % of runs that take twice the slowest."""
    runs = Runs(policy())
    rng = random.Random(1)
    for number in range(1_500):
        one = sample(number, rng, seed=1, effect=0.04)
        slow = is_treated(one) and rng.random() < 0.03
        runs.add(one if not slow else replace(one, latency_s=5.0))
    assert "the slowest runs are slower" in told(runs, finding()).note


def test_a_lower_score_is_harm() -> None:
    """A remedy that saves 20 % but makes results worse goes."""
    runs = Runs(policy())
    rng = random.Random(2)
    for number in range(300):
        one = sample(number, rng, seed=2, effect=0.2)
        runs.add(one)
        runs.units[-1].score("helpful", rng.gauss(0.8 if is_treated(one) else 0.9, 0.1), None)
    found = told(runs, finding())
    assert (found.verdict, "the score helpful gets worse" in found.note) == (Verdict.HARMS, True)


def test_the_realised_saving_has_interval_counts_and_the_error_of_the_prediction() -> None:
    """Predicted 0.2 s where 0.4 were saved: the error is about -50 %."""
    runs = Runs(policy())
    rng = random.Random(3)
    for number in range(600):
        runs.add(sample(number, rng, seed=3, effect=0.4))
    found = told(runs, finding(0.2))
    assert found.verdict is Verdict.SAVES
    got = found.realised
    assert got is not None and got.saving.latency_s is not None and got.saving.latency_p95_s is not None
    assert got.saving.latency_s.low < 0.44 < got.saving.latency_s.high
    assert sum(got.runs) == 600
    assert got.prediction_error == pytest.approx(0.2 / got.saving.latency_s.point - 1)
    assert got.saving.usd is None  # nothing costs anything


def test_what_is_verified_is_measured_again_over_twice_the_runs() -> None:
    """The first word came where chance helped; with twice the runs the saving and the prediction's error are new."""
    runs = Runs(policy())
    rng = random.Random(3)
    for number in range(100):
        runs.add(sample(number, rng, seed=3, effect=0.4))
    first = told(runs, finding(0.2))
    assert (first.verdict, first.realised is not None) == (Verdict.SAVES, True)
    verified = finding(0.2, first.realised).model_copy(update={"state": FindingState.VERIFIED})
    for number in range(100, 199):
        runs.add(sample(number, rng, seed=3, effect=0.2))
    assert told(runs, verified).verdict is Verdict.OPEN
    runs.add(sample(199, rng, seed=3, effect=0.2))
    again = told(runs, verified)
    assert (again.verdict, again.realised is not None) == (Verdict.AGAIN, True)
    assert first.realised is not None and again.realised is not None
    assert sum(again.realised.runs) == 200
    assert first.realised.saving.latency_s is not None and again.realised.saving.latency_s is not None
    assert again.realised.saving.latency_s.point < first.realised.saving.latency_s.point


def test_an_experiment_that_shows_nothing_ends() -> None:
    """After MOST_RUNS, with what was measured."""
    runs = Runs(policy())
    rng = random.Random(4)
    for number in range(MOST_RUNS):
        runs.add(sample(number, rng, seed=4))
    found = told(runs, finding(0.01))
    assert found.verdict is Verdict.NOTHING
    assert found.realised is not None


def test_results_that_differ_at_level_shadow_end_it() -> None:
    """One of few is enough; none of COMPARED lets a canary begin; one of very many is what models do."""
    shadow = policy(Level.SHADOW)
    assert told(Runs(shadow, compared=COMPARED - 1), finding()).verdict is Verdict.OPEN
    assert told(Runs(shadow, compared=COMPARED), finding()).verdict is Verdict.EQUAL
    assert told(Runs(shadow, compared=3, mismatches=1), finding()).verdict is Verdict.HARMS
    assert told(Runs(shadow, compared=1_000, mismatches=2), finding()).verdict is Verdict.EQUAL


def test_failures_at_level_on_are_compared_with_those_that_the_control_had() -> None:
    """1 of 200 before: 30 of the newest 200 end it, 2 do not; without a measurement nothing can be said."""
    before = Realised(saving=Saving(), runs=(200, 200), failed=(1, 1))
    rng = random.Random(5)

    def on(failed: int) -> Runs:
        runs = Runs(policy(Level.ON))
        for number in range(200):
            one = sample(number, rng, seed=5, failing=0.0)
            runs.add(replace(one, failed=number < failed), treated=True)
        return runs

    assert told(on(30), finding(realised=before)).verdict is Verdict.HARMS
    assert told(on(2), finding(realised=before)).verdict is Verdict.OPEN
    assert told(on(30), finding()).verdict is Verdict.OPEN


def test_the_metric_that_decides_is_fixed_by_the_prediction() -> None:
    """Latency if it is to fall, else tokens, model time, money; 20 ms of it only where nothing else is to fall."""
    one = Estimate(point=1, low=0, high=2)
    assert primary(Saving(latency_s=one, tokens=one)) == "latency_s"
    assert primary(Saving(latency_s=Estimate(point=0, low=0, high=0), tokens=one)) == "tokens"
    assert primary(Saving(usd=one)) == "usd"
    hardly = Estimate(point=0.02, low=0.01, high=0.03)
    assert primary(Saving(latency_s=hardly, tokens=one)) == "tokens"
    assert primary(Saving(latency_s=hardly, tokens=Estimate(point=0, low=0, high=0))) == "latency_s"
    assert primary(None) == ""


def test_work_that_is_done_twice_at_once_is_verified_by_its_tokens() -> None:
    """Shared with its twin a call takes as long, to 3 ms: its tokens show the saving, where latency never would."""
    one = finding().model_copy(
        update={
            "saving": Saving(
                latency_s=Estimate(point=0.003, low=0.0, high=0.006), tokens=Estimate(point=260, low=240, high=280)
            )
        }
    )
    runs, rng = Runs(policy()), random.Random(8)
    for number in range(100):
        runs.add(sample(number, rng, seed=8, more_tokens=-0.25))
    measured = told(runs, one)
    assert measured.verdict is Verdict.SAVES
    assert measured.realised is not None
    assert abs(measured.realised.prediction_error or 1.0) < 0.2


def sliced(slices: int, rng: random.Random, *, effect: float = 0.0, failing: float = 0.01, run_s: float = 20) -> Runs:
    """Time slices of 10 s at ``run_s`` runs a second: what one takes moves with the load, which its slice shares."""
    by_time = policy().model_copy(update={"arms": Arms.TIME, "slice_s": 10.0})
    runs = Runs(by_time)
    for number in range(slices):
        unit = Unit(arm_of(by_time, "", 10_000 * number) is Arm.TREATED)
        load = rng.lognormvariate(0, 0.2)
        for run in range(int(10 * run_s)):
            one = sample(run, rng, seed=number)
            took_s = one.latency_s * load * (1 - effect * unit.treated)
            unit.add(replace(one, latency_s=took_s, failed=rng.random() < (failing if unit.treated else 0.01)))
        runs.units.append(unit)
    return runs


@pytest.mark.parametrize("run_s", [2, 20])
def test_slices_of_a_busy_system_verify_what_is_saved(run_s: float) -> None:
    """At 20 runs a second as at 2: 60 slices, however many runs that is."""
    found = told(sliced(60, random.Random(12), effect=0.5, run_s=run_s), finding(0.5))
    assert found.verdict is Verdict.SAVES
    assert found.realised is not None and found.realised.saving.latency_s is not None
    assert found.realised.saving.latency_p95_s is not None
    assert sum(found.realised.runs) == 600 * run_s
    assert found.realised.saving.latency_s.low < 0.56 < found.realised.saving.latency_s.high
    assert found.note.endswith(" time slices)")


def test_slices_that_show_nothing_end_by_their_own_number() -> None:
    """MOST_SLICES in both arms; the runs of a busy system do not use an experiment up."""
    assert told(sliced(60, random.Random(10)), finding(0.5)).verdict is Verdict.OPEN  # of 12,000 runs
    whole = sliced(3 * MOST_SLICES, random.Random(10), run_s=0.3)
    control = [unit for unit in whole.units if not unit.treated]
    short = Runs(whole.policy, [unit for unit in whole.units if unit.treated or unit in control[: MOST_SLICES - 1]])
    assert (told(short, finding(0.5)).verdict, told(whole, finding(0.5)).verdict) == (Verdict.OPEN, Verdict.NOTHING)


def test_failures_in_slices_that_all_have_some_are_told_from_chance() -> None:
    """Where every slice has failures, those count that have more than their part: 4 % with the remedy, 1 % without."""
    assert "more runs fail with the remedy" in told(sliced(60, random.Random(11), failing=0.04), finding(0.5)).note
    wrong = sum(told(sliced(30, random.Random(n), run_s=5), finding(0.5)).verdict is Verdict.HARMS for n in range(20))
    assert wrong <= 2
