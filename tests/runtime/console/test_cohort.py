"""Cohorts: which runs belong, how they are written, and what can be asked about them and between them."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from antiphon.runtime.console import cohort as module
from antiphon.runtime.console.cohort import Cohort, choose
from antiphon.runtime.console.comparing import CohortQuery, Cohorts, contrasted, described
from antiphon.runtime.errors import ConfigurationError, Unanswerable
from antiphon.runtime.store.query import Reader
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.whatif.testing import T0_NS, Traced
from antiphon.schemas.score import Score
from antiphon.schemas.telemetry import TelemetryBatch

RUNS = 12
STEP_MS = 10_000  # from one begin to the next
NOW_NS = T0_NS + (RUNS + 1) * STEP_MS * 1_000_000


@pytest.fixture
def recorded(store: Store, reader: Reader) -> Reader:
    """Runs 1 to 12, ten seconds apart: odd ones are treated and take 100 ms less; 11 failed, 12 is at work."""
    spans = []
    for number in range(1, RUNS + 1):
        traced = Traced(number)
        treated = number % 2 == 1
        workflow = "desk.answer" if number > 2 else "desk.answers"
        end = 300 if treated else 400
        root = traced.ask(None, workflow, 0, end, capacity=4, status=2 if number == 11 else 0)
        arm = f"p1={'treated' if treated else 'control'}"
        more: dict[str, Any] = {"gen_ai.operation.name": "execute_tool", "antiphon.experiment.arm": [arm, "p2=control"]}
        traced.tool(root, "search", 50, end - 50, antiphon__group="1", antiphon__group__width=1, **more)
        if number == RUNS:
            root.end_ns = traced.spans[0].end_ns = 0
        spans += traced.spans
    store.write([Received(batch=TelemetryBatch(node="n1", sequence=1, spans=spans))])
    return reader


def names(recorded: Reader, text: str, *, failed: bool = False) -> list[int]:
    """Numbers of the runs of a cohort."""
    runs = choose(recorded, Cohort.parse(text, NOW_NS), now_ns=NOW_NS, left_out=Counter(), failed=failed)
    return [int(run.run.removeprefix("run")) for run in runs]


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("", [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]),
        ("workflow=desk.answers", [2, 1]),
        ("workflow=desk.answer limit=3", [10, 9, 8]),
        ("arm=p1=treated", [9, 7, 5, 3, 1]),
        ("arm=p1=control before=45s", [8, 6, 4, 2]),
        ("last=45s agent=desk", [10, 9]),
        ("last=65s before=25s", [10, 9, 8, 7]),
        ("status=error", [11]),
    ],
)
def test_all_that_is_given_must_be_true(recorded: Reader, text: str, runs: list[int]) -> None:
    """The newest first; a workflow is the whole name; those that failed are left out unless they are wanted."""
    assert names(recorded, text) == runs


def test_failed_runs_belong_where_they_are_wanted(recorded: Reader) -> None:
    """To compare is to count them; what is at work is counted and left out."""
    assert names(recorded, "last=30s", failed=True) == [11, 10]
    left_out: Counter[str] = Counter()
    choose(recorded, Cohort(), now_ns=NOW_NS, left_out=left_out)
    assert left_out == {"still at work": 1, "ended as error": 1}


def test_begins_are_bounded_by_clock_times(recorded: Reader) -> None:
    """Since a moment, itself included, and before another, itself not."""
    at_ms = [(T0_NS + number * STEP_MS * 1_000_000) / 1e6 for number in range(RUNS)]
    cohort = Cohort(since_unix_ms=at_ms[3], until_unix_ms=at_ms[6])
    found = choose(recorded, cohort, now_ns=NOW_NS, left_out=Counter())
    assert [run.run for run in found] == ["run5", "run4", "run3"]


def test_a_search_for_an_arm_ends(recorded: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says that older runs were not looked at."""
    monkeypatch.setattr(module, "LOOKED_AT", 6)
    with pytest.raises(Unanswerable, match="say when it was"):
        names(recorded, "arm=p3=treated")
    monkeypatch.setattr(module, "LOOKED_AT", 1_000)
    with pytest.raises(Unanswerable, match="no run matches"):
        names(recorded, "workflow=nobody.knows")


@pytest.mark.parametrize("text", ["agents=x", "agent", "last=soon", "limit=0", "status=good", f"agent={'x' * 300}"])
def test_what_cannot_be_read_is_said(text: str) -> None:
    """With what was found."""
    with pytest.raises(ConfigurationError, match=text.split("=")[0]):
        Cohort.parse(text, NOW_NS)


def test_a_cohort_says_what_is_in_it(recorded: Reader) -> None:
    """Names by kind, slots as reported, handlers whose steps are declared independent; also of one run."""
    found = described(recorded, CohortQuery(workflow="desk.answer"), NOW_NS)
    assert (found.runs, found.agents, found.tools, found.models) == (8, ("desk",), ("search",), ())
    assert (found.declares, found.slots) == (("desk.answer",), {"agent:desk": 4})
    assert described(recorded, CohortQuery(run="run1"), NOW_NS).declares == ("desk.answers",)
    for nobody in (CohortQuery(run="nobody"), CohortQuery(agent="nobody")):
        assert described(recorded, nobody, NOW_NS).runs == 0


def test_two_cohorts_are_compared(recorded: Reader, store: Store) -> None:
    """The arms of a policy: 100 ms less, all of it in the tool; scores too; overlap is counted, nobody is an error."""
    for run, value in (("run4", 0.5), ("run5", 0.75), ("run7", 0.25)):
        store.put_scores([("default", Score(task=run, name="good", value=value, comment="", unix_ms=1))])
    arms = [Cohort.parse(f"workflow=desk.answer arm=p1={arm}", NOW_NS) for arm in ("control", "treated")]
    found = contrasted(recorded, Cohorts(first=arms[0], second=arms[1]), NOW_NS)
    assert (found.runs, found.both, found.left_out) == ((4, 5), 0, ({"still at work": 1}, {"still at work": 1}))
    latency = next(each for each in found.measured if each.name == "latency, mean")
    assert [latency.difference, latency.low] == pytest.approx([-0.1, -0.1])
    assert found.operations[0].label == "tool search"
    assert found.operations[0].critical.difference == pytest.approx(-0.1)
    failed = next(each for each in found.measured if each.name == "failed")
    assert (failed.first, failed.second, failed.runs) == (0, 0.2, (4, 5))
    score = next(each for each in found.measured if each.name == "score good")
    assert (score.first, score.second, score.low, score.runs) == (0.5, 0.5, None, (1, 2))
    assert contrasted(recorded, Cohorts(first=arms[0], second=arms[0]), NOW_NS).both == 4
    nobody = Cohort(since_unix_ms=NOW_NS / 1e6)
    with pytest.raises(Unanswerable, match="no run"):
        contrasted(recorded, Cohorts(first=arms[0], second=nobody), NOW_NS)


async def test_the_api_answers_for_cohorts(console: Any, make: Any, put: Callable[..., None]) -> None:
    """What is in one, two side by side, one replayed with a policy; mistakes are 4xx with a message."""
    put(*make.run())
    inside = await console.get("/api/cohort", workflow="planner.plan", status="ok")
    assert (inside["runs"], inside["models"], inside["agents"]) == (1, ["m"], ["critic", "planner", "writer"])
    cohort = {"workflow": "planner.plan", "until_unix_ms": make.start_ns / 1e6 + 1_000}
    both = await console.http.post("/api/compare", json={"first": cohort, "second": cohort})
    assert both.status_code == 200 and both.json()["both"] == 1
    replayed = await console.http.post("/api/whatif", json={**cohort, "status": None, "scale": ["model:m=0.5"]})
    assert replayed.status_code == 200, replayed.text
    assert replayed.json()["waterfall"]["run"] == "r1"
    for body in (
        {"first": cohort},
        {"first": cohort, "second": {"nobody": 1}},
        {"first": cohort, "second": {"limit": 0}},
    ):
        assert (await console.http.post("/api/compare", json=body)).status_code == 422
    nobody = await console.http.post("/api/compare", json={"first": cohort, "second": {"agent": "nobody"}})
    assert nobody.status_code == 422 and "no run matches" in nobody.json()["error"]["message"]
