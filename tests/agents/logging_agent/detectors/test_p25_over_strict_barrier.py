"""P25 fires on groups that wait for all though the first decide, and on nothing else."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from antiphon.schemas.finding import FindingState, Grade, QualityRisk
from antiphon.schemas.policy import Proposal, Quorum
from antiphon.schemas.telemetry import SpanRecord

if TYPE_CHECKING:
    from tests.agents.logging_agent.conftest import Look

    from antiphon.runtime.whatif.testing import Traced

ENDS = {2: (300, 900), 3: (300, 500, 900), 5: (300, 400, 500, 600, 900)}  # ms, of so many reviewers


def runs(traced: "type[Traced]", count: int, plan: "Callable[[Traced, SpanRecord], None]") -> "list[Traced]":
    """``count`` runs of planner.plan, each 1 s, filled by ``plan``."""
    found = []
    for number in range(1, count + 1):
        trace = traced(number)
        plan(trace, trace.ask(None, "planner.plan", 0, 1_000))
        found.append(trace)
    return found


def vote(
    trace: "Traced",
    root: SpanRecord,
    results: Sequence[str | None] = ("yes", "yes", "yes"),
    *,
    needed: int | None = None,
    start: float = 0,
    tool: str = "read",
    **kwargs: Any,
) -> None:
    """Reviewers who begin together and end one after the other, in a gather that is operation 1."""
    ends = ENDS[len(results)]
    for i, result in enumerate(results):
        done = trace.ask(
            root,
            "critic.review",
            start * i,
            ends[i],
            **{
                "antiphon__group": "1",
                "antiphon__path": f"1.{'abcde'[i]}.1",
                "antiphon__group__needed": needed or len(results),
                **kwargs,
            },
        )
        trace.tool(done, "look", start * i, ends[i], effect=tool, content=f"{trace.number}.{i}")
        done.attributes["antiphon.result.sha256"] = result


def test_a_majority_that_stands_early_is_found(traced: "type[Traced]", look: "Look") -> None:
    """Two of three decide after 500 ms instead of 900: 400 ms. That two would do is for the code to say: advice."""
    finding = look(runs(traced, 20, vote)).one("p25")
    assert finding.state is FindingState.OPEN
    assert finding.grade is Grade.B
    assert finding.quality_risk is QualityRisk.LOW
    assert finding.subject == "planner.plan"
    assert finding.remedy.proposal is None
    assert "of 20 decisions 0 would have changed" in finding.remedy.text
    assert "ctx.group(at_least=2)" in finding.remedy.text
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.4)


def test_what_follows_the_group_follows_earlier(traced: "type[Traced]", look: "Look") -> None:
    """A model call after the group begins 20 ms after the second answer, not the third."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        vote(trace, root)
        trace.model(root, 920, 990, content=f"{trace.number}")

    saving = look(runs(traced, 20, plan)).one("p25").saving
    assert saving is not None and saving.latency_s is not None
    assert saving.latency_s.point == pytest.approx(0.4)


def test_a_declared_quorum_is_proven(traced: "type[Traced]", look: "Look") -> None:
    """Where the code says that two would do, a policy may take it at its word."""
    plan = partial(vote, antiphon__group__at_least=2)
    finding = look(runs(traced, 20, plan)).one("p25")
    assert finding.grade is Grade.A
    assert finding.quality_risk is QualityRisk.NONE
    assert finding.remedy.proposal == Proposal(action=Quorum(needed=2), target="planner.plan")
    assert "at_least" not in finding.remedy.text


def test_no_fewer_than_declared_are_proposed(traced: "type[Traced]", look: "Look") -> None:
    """Of five, three would be enough, and four are declared to be: 300 ms, not 400."""
    plan = partial(vote, results=["yes"] * 5, antiphon__group__at_least=4)
    finding = look(runs(traced, 20, plan)).one("p25")
    assert finding.grade is Grade.A
    assert finding.remedy.proposal is not None
    assert finding.remedy.proposal.action == Quorum(needed=4)
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.3)


def test_a_majority_of_the_first_may_have_a_dissenter(traced: "type[Traced]", look: "Look") -> None:
    """Of five the first is against and all others for: three decide, after 500 ms instead of 900."""
    plan = partial(vote, results=["no", "yes", "yes", "yes", "yes"])
    finding = look(runs(traced, 20, plan)).one("p25")
    assert (finding.grade, finding.remedy.proposal) == (Grade.B, None)
    assert "ctx.group(at_least=3)" in finding.remedy.text
    assert finding.saving is not None and finding.saving.latency_s is not None
    assert finding.saving.latency_s.point == pytest.approx(0.4)


def test_one_decision_in_twenty_may_change(traced: "type[Traced]", look: "Look") -> None:
    """The rate is told."""

    def plan(trace: "Traced", root: SpanRecord) -> None:
        vote(trace, root, ("yes", "no", "no") if trace.number == 3 else ("yes",) * 3)

    finding = look(runs(traced, 40, plan)).one("p25")
    assert "1 would have changed" in finding.remedy.text
    assert finding.quality_risk is QualityRisk.LOW
    # Also the runs count in which that decision was more than one of twenty.
    assert (finding.support, finding.prevalence) == (40, 1.0)


def test_fewer_than_twenty_votes_say_nothing(traced: "type[Traced]", look: "Look") -> None:
    """19 that agreed may be chance."""
    assert look(runs(traced, 19, vote)).of("p25") == []


def _changes_often(trace: "Traced", root: SpanRecord) -> None:
    """The third decides in every fifth run."""
    vote(trace, root, ("yes", "no", "no") if trace.number % 5 == 0 else ("yes",) * 3)


def _counts_matter(trace: "Traced", root: SpanRecord) -> None:
    """The result says how many agreed."""
    third = "no" if trace.number % 2 else "yes"
    vote(trace, root, ("yes", "yes", third))
    root.attributes["antiphon.result.sha256"] = f"yes with {third}"


def _two_sizes(trace: "Traced", root: SpanRecord) -> None:
    vote(trace, root, ("yes",) * (3 + 2 * (trace.number % 2)))


@pytest.mark.parametrize(
    "plan",
    [
        _changes_often,
        _counts_matter,
        _two_sizes,
        lambda trace, root: vote(trace, root, ("a", "b", "c")),
        lambda trace, root: vote(trace, root, ["no", "no", "yes", "yes", "yes"]),
        lambda trace, root: vote(trace, root, ("yes",) * 2),
        lambda trace, root: vote(trace, root, needed=2),
        lambda trace, root: vote(trace, root, needed=4),
        lambda trace, root: vote(trace, root, ("yes", "yes", None)),
        lambda trace, root: vote(trace, root, start=350),
        lambda trace, root: vote(trace, root, tool="write"),
        lambda trace, root: vote(trace, root, status=2),
        lambda trace, root: vote(trace, root, antiphon__group=None),
        lambda trace, root: vote(trace, root, antiphon__group__width=3),
        lambda trace, root: vote(trace, root, antiphon__path="1.a.1"),
    ],
)
def test_decoys_are_left_alone(
    traced: "type[Traced]", look: "Look", plan: "Callable[[Traced, SpanRecord], None]"
) -> None:
    """Votes that the late ones change, joins that count or list, quorums, writes and other groups stay as they are."""
    assert look(runs(traced, 40, plan)).of("p25") == []


def test_more_handlers_than_are_kept_are_missed(
    traced: "type[Traced]", look: "Look", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is bounded: with room for one handler, two that vote in turn never have enough votes."""
    found = []
    for number in range(1, 61):
        trace = traced(number)
        vote(trace, trace.ask(None, f"planner.plan{number % 2}", 0, 1_000))
        found.append(trace)
    assert len(look(found).of("p25")) == 2
    monkeypatch.setattr("antiphon.agents.logging_agent.detectors.p25_over_strict_barrier._HANDLERS", 1)
    assert look(found).of("p25") == []


@pytest.mark.parametrize("value", [7, "x" * 100_000, [1, 2], True, float("nan"), 1 << 70])
@pytest.mark.parametrize("key", ["group", "path", "group.needed"])
def test_hostile_values_are_survived(traced: "type[Traced]", look: "Look", key: str, value: Any) -> None:
    """Evidence of a wrong type or size reads as missing."""
    name = f"antiphon.{key}".replace(".", "__")
    plan = partial(vote, **{name: value})
    assert look(runs(traced, 20, plan)).of("p25") == []
