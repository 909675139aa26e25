"""Runs of one workflow are one cohort."""

from typing import TYPE_CHECKING

from antiphon.agents.logging_agent.cohorts import SHAPES, Cohorts, template
from antiphon.runtime.whatif.trace import Trace, build

if TYPE_CHECKING:
    from antiphon.runtime.whatif.testing import Traced


def plan(
    traced: "type[Traced]", number: int, *, summaries: int, tool: str = "look", together: bool = False, failed: int = 0
) -> Trace:
    """A run that looks something up and summarises it some times."""
    trace = traced(number)
    root = trace.ask(None, "planner.plan", 0, 1_000)
    trace.tool(root, tool, 0, 50)
    for i in range(summaries + failed):
        start = 100 if together else 100 + 50 * i
        trace.ask(root, "summariser.summarise", start, start + 40, status=2 if i < failed else 0)
    found = build([(span, "n") for span in trace.spans])
    assert found is not None
    return found


def test_how_often_and_in_what_order_does_not_matter(traced: "type[Traced]") -> None:
    """Three or five calls, in a row or together, with failed tries or without: one workflow."""
    reference = template(plan(traced, 1, summaries=3))
    assert template(plan(traced, 2, summaries=5)) == reference
    assert template(plan(traced, 3, summaries=3, together=True)) == reference
    assert template(plan(traced, 4, summaries=3, failed=2)) == reference


def test_other_work_is_another_workflow(traced: "type[Traced]") -> None:
    """Another tool, or none of a peer's calls, is another workflow."""
    reference = template(plan(traced, 1, summaries=3))
    assert template(plan(traced, 2, summaries=3, tool="fetch")) != reference
    assert template(plan(traced, 3, summaries=0)) != reference


def test_a_cohort_counts_and_names_its_runs(traced: "type[Traced]") -> None:
    """The label starts with the first handler; runs and their latency are summed."""
    cohorts = Cohorts()
    for number in (1, 2):
        cohort = cohorts.see(plan(traced, number, summaries=2))
    assert cohort.label.startswith("planner.plan#")
    assert (cohort.runs, cohort.latency_s) == (2, 2.0)


def test_the_number_of_cohorts_is_bounded(traced: "type[Traced]") -> None:
    """The least recently seen workflow is forgotten."""
    cohorts = Cohorts(limit=2)
    for number, tool in enumerate(("a", "b", "c", "a")):
        cohort = cohorts.see(plan(traced, number + 1, summaries=1, tool=tool))
    assert cohort.runs == 1


def test_runs_that_decide_their_steps_are_one_cohort(traced: "type[Traced]") -> None:
    """An entry whose runs take ever other shapes is one cohort, but for the shapes seen first."""
    cohorts = Cohorts()
    keys = [cohorts.see(plan(traced, n, summaries=1, tool=f"tool{n}")).key for n in range(1, 31)]
    assert len(set(keys[:SHAPES])) == SHAPES
    assert len(set(keys[SHAPES:])) == 1
