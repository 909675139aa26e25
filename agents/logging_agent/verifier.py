"""What an experiment says so far: a measured saving, harm, or nothing yet."""

import random
from collections import Counter
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
from antiphon.agents.logging_agent.trial import Trial
from antiphon.agents.logging_agent.units import METRICS, SCORE, Unit, arms
from antiphon.schemas.finding import Estimate, Finding, FindingState, Realised, Saving
from antiphon.schemas.policy import Arms, Level

FEWEST = 20  # units in each arm before means are compared: with fewer their variances are guesses
MOST_RUNS = 2_000  # an experiment that has shown nothing by then ends
MOST_SLICES = 200  # in each arm, where slices are what is assigned, however many runs they have
SLACK = {"latency_s": 0.05, "tokens": 0.10, "model_s": 0.10, "usd": 0.10}
SCORE_SLACK = 0.02
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
    AGAIN = "again"  # it is known to save, and here is what it saves over twice the runs
    HARMS = "harms"
    NOTHING = "nothing"  # it has had its runs, and no saving shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A verdict with its reason, and the realised saving where one was measured.

    ``is_harmless``: each arm has enough units for guardrails to see by, and none trips.
    """

    verdict: Verdict
    note: str
    realised: Realised | None = None
    is_harmless: bool = False


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
    units = trial.units
    count = _told(units, trial)
    metric, expected = primary(finding.saving), predicted(finding)
    harm = _harm(units, trial.policy.share, metric)
    if harm:
        return Measured(verdict=Verdict.HARMS, note=f"{harm}; {count}", realised=realised(finding, units, rng))
    if finding.state is FindingState.VERIFIED and finding.realised is not None:
        # A test that stops when it first shows a saving stops where chance helped: more runs take that away.
        if _runs(units) < 2 * sum(finding.realised.runs):
            return Measured(verdict=Verdict.OPEN, note=f"measured: {count}")
        return Measured(verdict=Verdict.AGAIN, note=f"measured: {count}", realised=realised(finding, units, rng))
    is_harmless = min(len(arm) for arm in _sides(units)) >= FEWEST
    if metric and expected is not None:
        treated, control = arms(units, metric)
        found = difference(treated, control) if min(len(treated), len(control)) >= FEWEST else None
        if found and found.saved > 0 and evidence(found.saved, found.variance, expected.point) >= 1 / ALPHA:
            saved = realised(finding, units, rng)
            return Measured(verdict=Verdict.SAVES, note=f"measured: {count}", realised=saved, is_harmless=is_harmless)
    if _has_had_its_runs(units, trial.policy.arms):
        return Measured(
            verdict=Verdict.NOTHING, note=f"no saving shows: {count}", realised=realised(finding, units, rng)
        )
    return Measured(verdict=Verdict.OPEN, note=f"measuring: {count}", is_harmless=is_harmless)


def realised(finding: Finding, units: Sequence[Unit], rng: random.Random) -> Realised | None:
    """The saving between the arms, each metric with its 90 % interval; None while an arm is empty."""
    found: dict[str, Estimate | None] = {metric: interval(*arms(units, metric), rng) for metric in METRICS}
    if found["latency_s"] is None:
        return None
    treated, control = _sides(units)
    with_it, without = ([unit.latencies_s for unit in arm if unit.latencies_s] for arm in (treated, control))
    saving = Saving(latency_p95_s=interval_p95(with_it, without, rng), **found)
    expected, got = predicted(finding), getattr(saving, primary(finding.saving) or "latency_s")
    error = (expected.point - got.point) / got.point if expected is not None and got.point > 0 else None
    return Realised(
        saving=saving,
        runs=(_runs(treated), _runs(control)),
        failed=(_failed(treated), _failed(control)),
        prediction_error=error,
    )


def _has_had_its_runs(units: Sequence[Unit], by: Arms) -> bool:
    if by is Arms.RUN:
        return len(units) >= MOST_RUNS
    return min(len(arm) for arm in _sides(units)) >= MOST_SLICES


def _harm(units: Sequence[Unit], share: float, primary: str) -> str:
    """The first guardrail that trips, in words; empty: none."""
    if _gathers(units, [unit.failed for unit in units], [unit.runs for unit in units], share):
        with_it, without = ((_failed(arm), _runs(arm)) for arm in _sides(units))
        return f"more runs fail with the remedy ({with_it[0]} of {with_it[1]}, without {without[0]} of {without[1]})"
    scores = sorted({metric for unit in units for metric in unit.sums if metric.startswith(SCORE)})
    for metric, slack in (*SLACK.items(), *((score, SCORE_SLACK) for score in scores)):
        treated, control = arms(units, metric)
        found = difference(treated, control) if min(len(treated), len(control)) >= FEWEST else None
        if found is None or not found.control:
            continue
        better = -1 if metric.startswith(SCORE) else 1  # of a score less is worse
        worse = -better * found.saved - (0 if metric == primary else slack * abs(found.control))
        if worse > 0 and evidence(worse, found.variance, HARM * abs(found.control)) >= 1 / ALPHA:
            becomes = f"{found.control:.3g} to {found.control - found.saved:.3g}"
            return f"{_NAMES.get(metric, f'the {metric}')} gets worse with the remedy ({becomes})"
    if _gathers(units, _slowest(units), [len(unit.latencies_s) for unit in units], share):
        return "the slowest runs are slower with the remedy"
    return ""


_NAMES = {
    "latency_s": "mean latency",
    "tokens": "tokens a run",
    "model_s": "model time a run",
    "usd": "cost a run",
}


def _gathers(units: Sequence[Unit], bad: Sequence[int], of: Sequence[int], share: float) -> bool:
    """Whether units with more than their part of what is ``bad`` among ``of`` are treated more often than by chance."""
    usual = sum(bad) / max(sum(of), 1)
    sides = [unit.treated for unit, some, all in zip(units, bad, of, strict=True) if some > usual * all]
    return lopsided(sum(sides), len(sides) - sum(sides), share) >= 1 / ALPHA


def _slowest(units: Sequence[Unit]) -> list[int]:
    """How many of the slowest runs each unit has."""
    done = sorted((latency_s, place) for place, unit in enumerate(units) for latency_s in unit.latencies_s)
    slow = Counter(place for _, place in done[len(done) - int(SLOWEST * len(done)) :])
    return [slow[place] for place in range(len(units))]


def _compared(trial: Trial) -> Measured:
    """Results at level shadow. One that differs among few stops it: what is left to show is only that it is rare."""
    compared, differ = trial.compared, trial.mismatches
    note = f"{compared} results compared, {differ} differ"
    if differ > MISMATCHES * max(compared, COMPARED):
        return Measured(verdict=Verdict.HARMS, note=f"the remedy gives other results: {note}")
    return Measured(verdict=Verdict.EQUAL if compared >= COMPARED else Verdict.OPEN, note=note)


def _watched(finding: Finding, trial: Trial) -> Measured:
    """All runs are treated: failures are compared with those that the control had when it was measured."""
    newest = trial.units[-ON_WINDOW:]
    failed = _failed(newest)
    if finding.realised is not None and finding.realised.runs[1]:
        runs, bad = finding.realised.runs[1], finding.realised.failed[1]
        if lopsided(failed, bad, len(newest) / (len(newest) + runs) if newest else 0.0) >= 1 / ON_ALPHA:
            note = f"more runs fail than without the remedy ({failed} of {len(newest)}, it was {bad} of {runs})"
            return Measured(verdict=Verdict.HARMS, note=note)
    return Measured(verdict=Verdict.OPEN, note="")


def _told(units: Sequence[Unit], trial: Trial) -> str:
    treated, control = _sides(units)
    slices = f" ({len(treated)} and {len(control)} time slices)" if trial.policy.arms is Arms.TIME else ""
    out = trial.left_out
    left = {"near a change": out.near_change, "without their root": out.unread, "in both arms": out.mixed}
    named = ", ".join(f"{count} {why}" for why, count in left.items() if count)
    counts = f"{_runs(treated)} runs with, {_runs(control)} without{slices}"
    return f"{counts}; left out: {named}" if named else counts


def _sides(units: Sequence[Unit]) -> tuple[list[Unit], list[Unit]]:
    return [unit for unit in units if unit.treated], [unit for unit in units if not unit.treated]


def _runs(units: Sequence[Unit]) -> int:
    return sum(unit.runs for unit in units)


def _failed(units: Sequence[Unit]) -> int:
    return sum(unit.failed for unit in units)
