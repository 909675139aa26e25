"""What a case gathers becomes a saving: mean, 95th percentile and money, over the runs that it knows."""

import random
from typing import TYPE_CHECKING

import pytest

from antiphon.agents.logging_agent.cases import Case, Cases, Gain
from antiphon.agents.logging_agent.cohorts import Cohort
from antiphon.agents.logging_agent.detectors.base import Observed, Saved
from antiphon.agents.logging_agent.window import RUNS
from antiphon.runtime.whatif import edits
from antiphon.runtime.whatif.cost import Cost
from antiphon.runtime.whatif.trace import build
from antiphon.schemas.finding import Finding, Grade, Remedy

if TYPE_CHECKING:
    from collections.abc import Callable

    from antiphon.agents.logging_agent.window import Window
    from antiphon.runtime.whatif.testing import Traced


def cohort(latencies_s: list[float], usd: float = 0.0) -> Cohort:
    """A cohort whose runs 0, 1, … took that long and cost as much each."""
    made = Cohort("key", "planner.plan#key")
    for number, took_s in enumerate(latencies_s):
        made.add(f"run{number}", took_s, Cost(tokens=0, model_s=0, usd=usd))
    return made


def found(case: Case) -> Finding | None:
    """The finding that the case makes."""
    case.support = 5
    return case.finding("p0", title="t", grade=Grade.B, remedy=Remedy(text="do"), rng=random.Random(0))


def test_runs_without_the_pattern_count_for_the_95th_percentile() -> None:
    """Two runs of 5 s show it and save 4 s, 19 of 2 s do not: 5 s falls to 2 s, not to 1 s."""
    case = Case(cohort([5.0, 5.0, *[2.0] * 19]), "s")
    for run in ("run0", "run1"):
        case.gain(run, Gain(latency_s=(4.0, 4.0)))
    finding = found(case)
    assert finding is not None and finding.saving is not None
    assert finding.saving.latency_s is not None and finding.saving.latency_s.point == 4.0
    assert finding.saving.latency_p95_s is not None
    assert finding.saving.latency_p95_s.point == pytest.approx(3.0)
    assert 0.0 <= finding.saving.latency_p95_s.low <= 3.0


def test_what_was_told_is_told_again_however_small_it_becomes() -> None:
    """Else the last word would be the largest of all estimates; what was never told must matter first."""
    case, fresh = (Case(cohort([2.0] * 20), "s") for _ in range(2))
    for n in range(10):
        case.gain(f"run{n}", Gain(latency_s=(1.0, 1.0)))
    assert found(case) is not None
    for n in range(10):
        for each in (case, fresh):
            each.gain(f"run{n}", Gain(latency_s=(0.01, 0.01)))
    finding = found(case)
    assert finding is not None and finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.01)
    assert found(fresh) is None


def test_told_cases_are_known_as_such() -> None:
    """A candidate is not."""
    cases = Cases()
    seen = cohort([2.0] * 5)
    case = cases.touch(seen, "s")
    case.gain("run0", Gain(latency_s=(1.0, 1.0)))
    case.finding("p0", title="t", grade=Grade.B, remedy=Remedy(text="do"), rng=random.Random(0), required=50)
    assert cases.told(seen, "s") is None
    assert found(case) is not None
    assert cases.told(seen, "s") is case


def test_a_window_speaks_for_its_own_runs_only() -> None:
    """Of 40 runs the window holds the newest four, which all save 1 s; older runs are not taken as saving nothing."""
    case = Case(cohort([9.0] * 36 + [2.0] * 4), "s", of_runs=4)
    for number in range(36, 40):
        case.gain(f"run{number}", Gain(latency_s=(1.0, 1.0)))
    finding = found(case)
    assert finding is not None and finding.saving is not None and finding.saving.latency_p95_s is not None
    assert finding.saving.latency_p95_s.point == pytest.approx(1.0)


def test_a_window_speaks_anew_of_its_runs_and_leaves_older_ones() -> None:
    """Four runs, then four of which two are new: six are known, and of the two in both the second word counts."""
    case = Case(cohort([2.0] * 6), "s")
    case.renew({f"run{n}": Gain(latency_s=(1.0, 1.0)) for n in range(4)}, [f"run{n}" for n in range(4)])
    case.renew({f"run{n}": Gain(latency_s=(0.4, 0.4)) for n in (3, 4, 5)}, [f"run{n}" for n in (2, 3, 4, 5)])
    assert (case.support, case.prevalence) == (5, 5 / 6)
    assert {run: gain.latency_s and gain.latency_s[0] for run, gain in case.gains.items()} == {
        "run0": 1.0, "run1": 1.0, "run3": 0.4, "run4": 0.4, "run5": 0.4,
    }  # fmt: skip


def test_as_many_runs_are_kept_as_a_window_has_of_one_workflow() -> None:
    """The oldest go, with what was said of them; a window with more is kept whole."""
    case = Case(cohort([2.0] * 200), "s")
    for first in range(0, 60, 4):
        runs = [f"run{n}" for n in range(first, first + 4)]
        case.renew({run: Gain(tokens=1) for run in runs}, runs)
    assert (case.support, next(iter(case.gains))) == (RUNS, "run10")
    many = {f"run{n}": Gain(tokens=1) for n in range(200)}
    case.renew(many, many)
    assert case.support == 200


def test_runs_that_do_not_show_it_count_where_others_did() -> None:
    """Else a case would rest on the windows that chance chose; what is no case yet stays none."""
    cases, seen = Cases(), cohort([2.0] * 8)
    cases.clear(seen, "s", ["run0"])
    case = cases.touch(seen, "s")
    case.renew({f"run{n}": Gain(latency_s=(1.0, 1.0)) for n in range(4)}, [f"run{n}" for n in range(4)])
    cases.clear(seen, "s", [f"run{n}" for n in range(3, 8)])
    assert (case.support, case.prevalence) == (3, 3 / 8)


def test_a_run_whose_saving_is_unknown_is_left_out() -> None:
    """Its time could have been anything: the percentile rests on the other runs."""
    case = Case(cohort([100.0, *[2.0] * 9]), "s")
    case.gain("run0", Gain(tokens=1))
    for number in range(1, 10):
        case.gain(f"run{number}", Gain(latency_s=(1.0, 1.0)))
    finding = found(case)
    assert finding is not None and finding.saving is not None and finding.saving.latency_p95_s is not None
    assert finding.saving.latency_p95_s.point == pytest.approx(1.0)


def test_money_alone_makes_a_finding() -> None:
    """Two cents of a dollar a run are over 1 %; half a cent is not."""
    worth, little = (Case(cohort([1.0] * 5, usd=1.0), "s") for _ in range(2))
    for number in range(5):
        worth.gain(f"run{number}", Gain(usd=0.02))
        little.gain(f"run{number}", Gain(usd=0.005))
    finding = found(worth)
    assert finding is not None and finding.saving is not None and finding.saving.usd is not None
    assert finding.saving.usd.point == pytest.approx(0.02)
    assert finding.saving.latency_p95_s is None
    assert found(little) is None


def test_a_cohort_keeps_its_newest_runs() -> None:
    """The oldest of 65 is forgotten; a run seen again is one run."""
    made = cohort([1.0] * 65)
    made.add("run64", 2.0, Cost(tokens=0, model_s=0, usd=0))
    assert len(made.recent_s) == 64
    assert "run0" not in made.recent_s and made.recent_s["run64"] == 2.0


def without_price(observed: Observed) -> Saved:
    """What the run alone saves that does not look up the price: 100 ms."""
    assert observed.run is not None
    last = observed.run.last[-1]
    saved = observed.saved_s(edits.remove(observed.run.cautious, [last]), edits.remove(observed.run.program, [last]))
    assert saved == pytest.approx((0.1, 0.1))
    assert saved is not None
    return saved


def saving_of(window: "Window", runs: int = 6, *, doubted: bool = False) -> tuple[Case, tuple[float, float]]:
    """A case of the window's first runs, and point and low end of what it saves a run."""
    seen = list(window)
    case = Case(seen[0].cohort, "writer.write")
    for observed in seen[:runs]:
        alone = without_price(observed)
        case.gain(observed.trace.run, Gain(latency_s=alone.doubted() if doubted else alone))
    return case, latency_of(case)


def latency_of(case: Case) -> tuple[float, float]:
    """Point and low end of the finding's mean saving."""
    finding = found(case)
    assert finding is not None and finding.saving is not None and finding.saving.latency_s is not None
    return finding.saving.latency_s.point, finding.saving.latency_s.low


def test_what_others_need_not_wait_for_counts(queued: "Callable[[int], Window]") -> None:
    """Run k of 6 ends 100 (k + 1) ms earlier when all look up less: 350 ms in the mean, not 100."""
    _, (point, low) = saving_of(queued(6))
    assert point == pytest.approx(0.35)
    assert 0.1 <= low < 0.35


def test_doubt_holds_in_the_joint_replay_too(queued: "Callable[[int], Window]") -> None:
    """Where the edit may not be possible at all the low end is nothing, and the point lies midway."""
    _, (point, low) = saving_of(queued(6), doubted=True)
    assert point == pytest.approx(0.175)
    assert low == pytest.approx(0.0)


def test_fewer_than_five_runs_of_the_window_count_one_by_one(queued: "Callable[[int], Window]") -> None:
    """Too few to speak of how runs of this kind meet."""
    _, (point, _) = saving_of(queued(6), runs=4)
    assert point == pytest.approx(0.1)


def test_another_trace_of_the_same_run_is_left_as_it_was(
    queued: "Callable[[int], Window]", traced: "type[Traced]"
) -> None:
    """A run that went on in a second trace: its edit is for the first."""
    window = queued(6)
    more = traced(77, at_ms=60_000, run="run0")
    more.ask(None, "writer.write", 0, 10, node="n0")
    trace = build([(span, more.nodes[span.span_id]) for span in more.spans])
    assert trace is not None
    window.add(Observed(trace, next(iter(window)).cohort))
    _, (point, _) = saving_of(window)
    assert point == pytest.approx(0.35)


def test_what_is_forgotten_no_longer_counts(queued: "Callable[[int], Window]") -> None:
    """The savings of another remedy are not taken for those of the one before."""
    case, _ = saving_of(queued(6))
    case.forget()
    for number in range(5):
        case.gain(f"run{number}", Gain(latency_s=(0.2, 0.2)))
    assert latency_of(case)[0] == pytest.approx(0.2)
