"""Which runs an experiment counts, and which it leaves out and says so."""

from typing import TYPE_CHECKING, Any

import pytest

from antiphon.agents.logging_agent.trial import KEEP, Trial
from antiphon.agents.logging_agent.units import LATENCIES, Unit, arms
from antiphon.runtime.policies.arms import arm_of
from antiphon.runtime.whatif.testing import T0_NS
from antiphon.runtime.whatif.trace import Trace, build
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy
from antiphon.schemas.policy import Arms, Concurrency, Level, Policy, Proposal, SingleFlight

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced

SINCE_MS = T0_NS // 1_000_000
SHARING = Proposal(action=SingleFlight(), target="tool look")


def trial(**changes: Any) -> Trial:
    """An experiment on planner.plan since T0."""
    given = {"id": "p3-f", "proposal": SHARING, "level": Level.CANARY, "finding": "f", "since_unix_ms": SINCE_MS}
    finding = Finding(
        id="f",
        pattern="p3",
        title="twice",
        cohort="planner.plan#1f0c22ab",
        subject="tool look",
        state=FindingState.CANARY,
        grade=Grade.A,
        support=5,
        required=5,
        remedy=Remedy(text="share"),
        first_seen_unix_ms=0,
        last_seen_unix_ms=0,
    )
    return Trial(finding, Policy.model_validate({**given, **changes}))


def run(
    traced: "type[Traced]",
    number: int = 1,
    *,
    at_ms: float = 10_000,
    ms: float = 1_000,
    handler: str = "planner.plan",
    tool: str = "look",
    status: int = 0,
    **attributes: Any,
) -> Trace:
    """A run with one tool and one model call."""
    trace = traced(number, at_ms=at_ms)
    root = trace.ask(None, handler, 0, ms, status=status, **attributes)
    trace.tool(root, tool, 100, 200, **attributes)
    trace.model(root, 200, 400, tokens=100 + number, output=7)
    built = build([(span, "n1") for span in trace.spans])
    assert built is not None
    return built


def counted(here: Trial) -> int:
    """Runs that count."""
    return sum(unit.runs for unit in here.units)


def test_a_run_counts_with_the_arm_that_its_id_and_start_give(traced: "type[Traced]") -> None:
    """What it took, cost and came with; failed runs are marked and give no means."""
    here = trial()
    for number in range(40):
        here.see(run(traced, number, status=2 if number == 7 else 0))
    assert len(here.units) == counted(here) == 40
    for number, unit in enumerate(here.units):
        assert unit.treated == (arm_of(here.policy, f"run{number}", SINCE_MS) == "treated")
    one = here.units[5]
    assert (one.latencies_s, one.sums["tokens"].y, one.sums["tokens"].x, one.failed) == ([1.0], 112, 105, 0)
    assert (here.units[7].failed, here.units[7].sums) == (1, {})
    treated, control = arms(here.units, "latency_s")
    assert len(treated) + len(control) == 39


def test_a_run_that_never_ended_has_failed(traced: "type[Traced]") -> None:
    """A remedy that holds runs up for ever would else be measured by those that it lets through."""
    here = trial()
    for number in range(10):
        hung = run(traced, number, operation="submit")
        process = hung.steps[hung.finish].span
        process.end_ns = 0
        built = build([(step.span, "n1") for step in hung.steps])
        assert built is not None and built.finish == 1
        here.see(built)
    assert [unit.failed for unit in here.units] == [1] * 10
    assert here.left_out.unread == 0
    assert {unit.treated for unit in here.units} == {True, False}


def test_other_runs_are_none_of_its_business(traced: "type[Traced]") -> None:
    """Other entry, target that never came up, began before the policy, or another agent's use of the target."""
    here = trial()
    here.see(run(traced, handler="writer.write"))
    here.see(run(traced, tool="other"))
    here.see(run(traced, at_ms=-60_000))
    assert (here.units, here.runs) == ([], 0)
    theirs = trial(proposal=SHARING.model_copy(update={"agent": "writer"}))
    theirs.see(run(traced))
    assert theirs.units == []
    ours = trial(proposal=SHARING.model_copy(update={"agent": "planner"}))
    ours.see(run(traced))
    assert counted(ours) == 1


def test_what_is_left_out_is_counted(traced: "type[Traced]") -> None:
    """Within 2 s of the change on either side, without a root, and with spans of both arms."""
    here = trial()
    here.see(run(traced, 1, at_ms=1_900))
    here.see(run(traced, 2, at_ms=-1_900))
    lost = run(traced, 3)
    lost.steps[0].span.parent_id = b"elsewhere"
    here.see(lost)
    here.see(run(traced, 4, antiphon__experiment__arm=["p3-f=treated", "x=control"]))
    here.see(run(traced, 4, antiphon__experiment__arm=["p3-f=control"]))
    out = here.left_out
    assert (out.near_change, out.unread, out.mixed, counted(here)) == (2, 1, 1, 1)


def test_time_slices_are_the_units_of_switchback_arms(traced: "type[Traced]") -> None:
    """Runs of one slice are one unit; those that begin at a change of arm or reach into another one do not count."""
    slots = Proposal(action=Concurrency(slots=8), target="planner")
    here = trial(id="p17-f", proposal=slots, arms=Arms.TIME, slice_s=10)
    arms = [arm_of(here.policy, "", SINCE_MS + 10_000 * n) for n in range(40)]
    change = next(n for n in range(2, 40) if arms[n] is not arms[n - 1])
    begin_ms = 10_000 * change - SINCE_MS % 10_000
    here.see(run(traced, 1, at_ms=begin_ms + 500))
    here.see(run(traced, 2, at_ms=begin_ms - 500))
    assert (here.left_out.near_change, here.left_out.mixed) == (1, 1)
    for number in range(3, 8):
        here.see(run(traced, number, at_ms=begin_ms + 3_000 + number))
    assert [unit.runs for unit in here.units] == [5]


def test_a_slice_keeps_sums_of_all_its_runs_and_a_draw_of_what_they_took(traced: "type[Traced]") -> None:
    """However many come in a slice, none is lost and memory stays."""
    slots = Proposal(action=Concurrency(slots=8), target="planner")
    here = trial(id="p17-f", proposal=slots, arms=Arms.TIME, slice_s=600)
    for number in range(300):
        here.see(run(traced, number, at_ms=60_000 + 10 * number, ms=1_000 + number))
    (unit,) = here.units
    assert (unit.runs, unit.sums["latency_s"].runs, len(unit.latencies_s)) == (300, 300, LATENCIES)
    assert unit.sums["latency_s"].y == pytest.approx(sum(1 + n / 1_000 for n in range(300)))
    assert 1.1 < sum(unit.latencies_s) / LATENCIES < 1.2


def test_at_level_on_each_run_is_watched(traced: "type[Traced]") -> None:
    """Also where the canary had slices: there is nothing left to assign."""
    slots = Proposal(action=Concurrency(slots=8), target="planner")
    here = trial(id="p17-f", proposal=slots, arms=Arms.TIME, slice_s=600, level=Level.ON)
    for number in range(3):
        here.see(run(traced, number, at_ms=60_000))
    assert [(unit.runs, unit.treated) for unit in here.units] == [(1, True)] * 3


def test_comparisons_at_level_shadow_are_counted(traced: "type[Traced]") -> None:
    """Each span that says whether both ways agreed; those of other policies are not ours."""
    here = trial(level=Level.SHADOW)
    ours, theirs = ["p3-f=shadow"], ["x=shadow"]
    here.see(run(traced, 1, antiphon__experiment__arm=ours, antiphon__shadow__equal=True))
    before = here.compared
    here.see(run(traced, 2, antiphon__experiment__arm=ours, antiphon__shadow__equal=False))
    here.see(run(traced, 3, antiphon__experiment__arm=theirs, antiphon__shadow__equal=False))
    assert before >= 1
    assert (here.compared, here.mismatches) == (2 * before, before)


def scores(unit: Unit) -> dict[str, tuple[int, float]]:
    """Of each score how many and their sum."""
    return {metric: (sums.runs, sums.y) for metric, sums in unit.sums.items() if metric.startswith("score ")}


@pytest.mark.parametrize("said", ["0.25", 0.25, " 0.25 "])
def test_a_score_comes_with_the_run(traced: "type[Traced]", said: object) -> None:
    """As a label or a number; anything else is none."""
    here = trial()
    here.see(run(traced, 1, antiphon__label__score=said))
    here.see(run(traced, 2, antiphon__label__score="good"))
    assert [scores(unit) for unit in here.units] == [{"score score": (1, 0.25)}, {}]


def test_a_score_that_is_given_later_counts_and_the_last_of_a_name_stays(traced: "type[Traced]") -> None:
    """By name; it replaces the label; other runs, and those that failed, have none."""
    here = trial()
    here.see(run(traced, 1, antiphon__label__score=0.25))
    here.see(run(traced, 2, status=2))
    here.scored("run1", {"helpful": 0.9})
    here.scored("run1", {"helpful": 0.5, "score": 1.0})
    here.scored("run2", {"helpful": 0.1})
    here.scored("else", {"helpful": 0.1})
    assert [scores(unit) for unit in here.units] == [{"score score": (1, 1.0), "score helpful": (1, 0.5)}, {}]


def test_hostile_spans_do_no_harm(traced: "type[Traced]") -> None:
    """Wrong types in everything that is read."""
    here = trial()
    here.see(run(traced, 1, antiphon__experiment__arm=7, antiphon__label__score=[1], antiphon__shadow__equal="yes"))
    here.see(run(traced, 2, antiphon__experiment__arm=[None, {}, "p3-f"]))
    assert counted(here) + here.left_out.mixed == 2


def test_memory_is_bounded(traced: "type[Traced]") -> None:
    """The oldest runs give way; how many there were is known."""
    here = trial()
    one = run(traced, 1)
    for number in range(KEEP + 50):
        here.see(Trace(id=str(number), run=f"r{number}", steps=one.steps))
    assert len(here.units) == KEEP
    assert here.runs == KEEP + 50
