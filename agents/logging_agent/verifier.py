"""What an experiment says so far: a measured saving, harm, or nothing yet."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from antiphon.agents.logging_agent.cases import MIN_LATENCY_S
from antiphon.agents.logging_agent.statistics import (
    ALPHA,
    difference,
    evidence,
    interval,
    interval_p95,
    lopsided,
)
from antiphon.agents.logging_agent.trial import Sample, Trial, units
from antiphon.schemas.finding import Estimate, Finding, Realised, Saving
from antiphon.schemas.policy import Level

FEWEST = 20  # units in each arm before means are compared: with fewer their variances are guesses
MOST_RUNS = 2_000  # an experiment that has shown nothing by then ends
SLACK = {"latency_s": 0.05, "tokens": 0.10, "model_s": 0.10, "usd": 0.10, "score": 0.02}
"""By how much of the control's mean a metric may get worse before it counts as harm: what a remedy for another one may
cost, such as the second attempts of hedging. Nothing of the one it is for."""
HARM = 0.2  # of the control's mean: the size of harm that is found soonest
SLOWEST = 0.01  # of all runs: those beyond the 99th percentile
COMPARED = 50  # equal results at level shadow after which a canary may begin
MISMATCHES = 0.01  # share of compared results that may differ, as models' texts do on another machine
ON_WINDOW = 200  # newest runs whose failures are watched when all are treated
ON_ALPHA = 1e-4  # of each such window: there are many in the life of a remedy


class Verdict(StrEnum):
    """What follows from an experiment."""

    OPEN = "open"  # nothing yet
    EQUAL = "equal"  # at level shadow: enough results compared, and they agree
    SAVES = "saves"
    HARMS = "harms"
    NOTHING = "nothing"  # it has had its runs, and no saving shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A verdict with its reason, and the realised saving where one was measured."""

    verdict: Verdict
    note: str
    realised: Realised | None = None


def primary(saving: Saving | None) -> str:
    """The metric that decides, fixed by the prediction: the first that is to fall; empty: none.

    Latency that hardly falls decides only where nothing else falls. The finding was reported for something else then,
    as a duplicate beside which the other is answered as fast: no experiment would ever show its latency.
    """
    if saving is None:
        return ""
    fall = [m for m in ("latency_s", "tokens", "model_s", "usd") if (e := getattr(saving, m)) and e.point > 0]
    if len(fall) > 1 and saving.latency_s is not None and 0 < saving.latency_s.point < MIN_LATENCY_S:
        return fall[1]
    return fall[0] if fall else ""


def predicted(finding: Finding) -> Estimate | None:
    """What a run of the cohort would save of the primary metric, runs without the pattern included."""
    metric = primary(finding.saving)
    if not metric:
        return None
    found: Estimate = getattr(finding.saving, metric)
    share = 1.0 if finding.prevalence is None else finding.prevalence
    return Estimate(point=found.point * share, low=found.low * share, high=found.high * share)


def measure(finding: Finding, trial: Trial, rng: random.Random) -> Measured:
    """What the trial says of the finding it is about. Looking often costs nothing: the tests are sequential."""
    if trial.policy.level is Level.SHADOW:
        return _compared(trial)
    if trial.policy.level is Level.ON:
        return _watched(finding, trial)
    samples = trial.samples
    count = _told(samples, trial)
    metric, expected = primary(finding.saving), predicted(finding)
    harm = _harm(samples, trial.policy.share, metric)
    if harm:
        return Measured(verdict=Verdict.HARMS, note=f"{harm}; {count}", realised=realised(finding, samples, rng))
    if metric and expected is not None:
        treated, control = units(samples, metric)
        found = difference(treated, control) if min(len(treated), len(control)) >= FEWEST else None
        if found and found.saved > 0 and evidence(found.saved, found.variance, expected.point) >= 1 / ALPHA:
            return Measured(verdict=Verdict.SAVES, note=f"measured: {count}", realised=realised(finding, samples, rng))
    if len(samples) >= MOST_RUNS:
        return Measured(
            verdict=Verdict.NOTHING, note=f"no saving shows: {count}", realised=realised(finding, samples, rng)
        )
    return Measured(verdict=Verdict.OPEN, note=f"measuring: {count}")


def realised(finding: Finding, samples: Sequence[Sample], rng: random.Random) -> Realised | None:
    """The saving between the arms, each metric with its 90 % interval; None while an arm is empty."""
    found: dict[str, Estimate | None] = {}
    for metric in ("latency_s", "tokens", "model_s", "usd"):
        treated, control = units(samples, metric)
        found[metric] = interval(treated, control, rng)
        if metric == "latency_s":
            found["latency_p95_s"] = interval_p95(treated, control, rng)
    if found["latency_s"] is None:
        return None
    saving = Saving(**found)
    arms = tuple([s for s in samples if s.treated is treated] for treated in (True, False))
    expected, got = predicted(finding), getattr(saving, primary(finding.saving) or "latency_s")
    error = (expected.point - got.point) / got.point if expected is not None and got.point > 0 else None
    return Realised(
        saving=saving,
        runs=(len(arms[0]), len(arms[1])),
        failed=(sum(s.failed for s in arms[0]), sum(s.failed for s in arms[1])),
        prediction_error=error,
    )


def _harm(samples: Sequence[Sample], share: float, primary: str) -> str:
    """The first guardrail that trips, in words; empty: none."""
    failed = {s.unit: s.treated for s in samples if s.failed}
    bad = sum(failed.values())
    if lopsided(bad, len(failed) - bad, share) >= 1 / ALPHA:
        return f"more runs fail with the remedy ({bad} of {len(failed)} failures)"
    for metric, slack in SLACK.items():
        treated, control = units(samples, metric)
        found = difference(treated, control) if min(len(treated), len(control)) >= FEWEST else None
        if found is None or not found.control:
            continue
        better = -1 if metric == "score" else 1  # of a score less is worse
        worse = -better * found.saved - (0 if metric == primary else slack * abs(found.control))
        if worse > 0 and evidence(worse, found.variance, HARM * abs(found.control)) >= 1 / ALPHA:
            becomes = f"{found.control:.3g} to {found.control - found.saved:.3g}"
            return f"{_NAMES[metric]} gets worse with the remedy ({becomes})"
    slow = {s.unit: s.treated for s in _slowest(samples)}
    bad = sum(slow.values())
    if lopsided(bad, len(slow) - bad, share) >= 1 / ALPHA:
        return f"the slowest runs are slower with the remedy ({bad} of the {len(slow)} slowest)"
    return ""


_NAMES = {
    "latency_s": "mean latency",
    "tokens": "tokens a run",
    "model_s": "model time a run",
    "usd": "cost a run",
    "score": "the score",
}


def _slowest(samples: Sequence[Sample]) -> list[Sample]:
    done = sorted((s for s in samples if not s.failed), key=lambda s: s.latency_s)
    return done[len(done) - int(SLOWEST * len(done)) :]


def _compared(trial: Trial) -> Measured:
    """Results at level shadow. One that differs among few stops it: what is left to show is only that it is rare."""
    compared, differ = trial.compared, trial.mismatches
    note = f"{compared} results compared, {differ} differ"
    if differ > MISMATCHES * max(compared, COMPARED):
        return Measured(verdict=Verdict.HARMS, note=f"the remedy gives other results: {note}")
    return Measured(verdict=Verdict.EQUAL if compared >= COMPARED else Verdict.OPEN, note=note)


def _watched(finding: Finding, trial: Trial) -> Measured:
    """All runs are treated: failures are compared with those that the control had when it was measured."""
    newest = trial.samples[-ON_WINDOW:]
    failed = sum(s.failed for s in newest)
    if finding.realised is not None and finding.realised.runs[1]:
        runs, bad = finding.realised.runs[1], finding.realised.failed[1]
        if lopsided(failed, bad, len(newest) / (len(newest) + runs) if newest else 0.0) >= 1 / ON_ALPHA:
            note = f"more runs fail than without the remedy ({failed} of {len(newest)}, it was {bad} of {runs})"
            return Measured(verdict=Verdict.HARMS, note=note)
    return Measured(verdict=Verdict.OPEN, note="")


def _told(samples: Sequence[Sample], trial: Trial) -> str:
    treated = sum(s.treated for s in samples)
    out = trial.left_out
    left = {"near a change": out.near_change, "not whole on record": out.unread, "in both arms": out.mixed}
    named = ", ".join(f"{count} {why}" for why, count in left.items() if count)
    return f"{treated} runs with, {len(samples) - treated} without" + (f"; left out: {named}" if named else "")
