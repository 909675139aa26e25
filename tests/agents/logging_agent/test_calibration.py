"""What was realised corrects what is predicted, carefully, and the raw estimate stays known."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.agents.logging_agent.calibration import MOST, Calibration
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Realised, Remedy, Saving


def finding(number: int = 0, realised_s: float | None = None, **changes: Any) -> Finding:
    """One that predicts 1 s a run, in half of the runs, and perhaps what was realised."""
    got = None if realised_s is None else Saving(latency_s=Estimate(point=realised_s, low=0, high=9))
    given = {
        "id": f"{number:032x}",
        "pattern": "p3",
        "title": "twice",
        "cohort": "planner.plan#1f0c22ab",
        "subject": "tool look",
        "state": FindingState.OPEN,
        "grade": Grade.A,
        "support": 9,
        "required": 5,
        "prevalence": 0.5,
        "saving": Saving(latency_s=Estimate(point=1, low=0.8, high=1.2), tokens=Estimate(point=100, low=90, high=110)),
        "remedy": Remedy(text="share"),
        "realised": None if got is None else Realised(saving=got, runs=(50, 50)),
        "first_seen_unix_ms": 0,
        "last_seen_unix_ms": 0,
    }
    return Finding.model_validate({**given, **changes})


def test_nothing_measured_changes_nothing() -> None:
    """Not even the object."""
    said = finding()
    assert Calibration().corrected(said) is said


def test_a_pattern_that_promises_twice_too_much_is_believed_ever_less() -> None:
    """Predicted 0.5 s a run (1 s in half of them), realised 0.25: the factor goes towards 0.5, from 1."""
    calibration = Calibration()
    factors = []
    for number in range(12):
        calibration.learn(finding(number, 0.25))
        factors.append(calibration.factor("p3"))
    assert factors == sorted(factors, reverse=True)
    assert 0.65 < factors[0] < 0.85
    assert factors[-1] == pytest.approx(0.5, abs=0.06)
    assert calibration.factor("p4") == 1.0


def test_the_correction_shows_both_and_is_learned_from_the_raw_one() -> None:
    """A corrected prediction that comes true says that the factor was right, not that it should be 1."""
    calibration = Calibration()
    for number in range(20):
        calibration.learn(finding(number, 0.25))
    shown = calibration.corrected(finding(99))
    assert shown.saving is not None and shown.saving.latency_s is not None and shown.saving.tokens is not None
    assert shown.saving.latency_s.point / shown.factor == pytest.approx(1.0)
    assert shown.saving.latency_s.low == pytest.approx(0.8 * shown.factor)
    assert shown.saving.tokens.point == 100  # nothing was measured of it
    before = calibration.factor("p3")
    got = Saving(latency_s=Estimate(point=0.25, low=0, high=1))
    calibration.learn(shown.model_copy(update={"realised": Realised(saving=got, runs=(50, 50))}))
    assert calibration.factor("p3") == pytest.approx(before, abs=0.02)


def test_a_finding_counts_once_with_its_newest_measurement() -> None:
    """Said again it is no second witness."""
    calibration, once = Calibration(), Calibration()
    for realised_s in (0.1, 0.4, 0.25):
        calibration.learn(finding(1, realised_s))
    once.learn(finding(1, 0.25))
    assert calibration.factor("p3") == once.factor("p3")


@given(st.lists(st.tuples(st.sampled_from(["p3", "p4", "p8"]), st.floats(-1e9, 1e9)), max_size=40))
def test_the_factor_stays_between_none_and_most(measured: list[tuple[str, float]]) -> None:
    """Whatever was measured, losses included."""
    calibration = Calibration()
    for number, (pattern, realised_s) in enumerate(measured):
        calibration.learn(finding(number, realised_s, pattern=pattern))
    assert all(0 <= calibration.factor(pattern) <= MOST for pattern in ("p3", "p4", "p8"))
