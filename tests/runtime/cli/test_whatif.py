"""``antiphon whatif`` on a store with recorded runs."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from antiphon.runtime.cli.commands import app
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.telemetry.otlp_json import spans_of
from antiphon.runtime.whatif.testing import Traced
from antiphon.schemas.telemetry import TelemetryBatch

RUNS = 12
FOREIGN = Path(__file__).parents[2] / "data" / "foreign"


def command(*arguments: str) -> Result:
    """The command line in this process."""
    return CliRunner().invoke(app, ["whatif", *arguments], env={"COLUMNS": "160"})


@pytest.fixture(autouse=True)
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve runs of a search (100 ms) and a model call (200 ms), one that failed, one that is at work."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    store = Store.open(tmp_path / "store.db", clock=SystemClock())
    spans = []
    for number in range(1, RUNS + 3):
        trace = Traced(number)
        failed = number == RUNS + 1
        root = trace.ask(None, "writer.write", 0, 320, status=2 if failed else 0)
        trace.tool(root, "search", 10, 110)
        trace.model(
            root, 110, 310, model="big", gen_ai__operation__name="chat", antiphon__agent="writer", tokens=50 + number
        )
        if number == RUNS + 2:
            root.end_ns = trace.spans[0].end_ns = 0
        spans += trace.spans
    store.write([Received(batch=TelemetryBatch(node="n1", sequence=1, spans=spans))])
    store.close()


def test_a_query_is_answered_with_a_table_and_what_was_left_out(tmp_path: Path) -> None:
    """The failed run and the one at work are counted; the picture is written."""
    picture = tmp_path / "plot.svg"
    said = command("--scale", "model:big=0.5", "--agent", "writer", "--plot", str(picture))
    assert said.exit_code == 0, said.stderr
    for part in ("12 runs", "1: ended as error", "1: still at work", "100 ms (31%)", "took up to", "assumes: "):
        assert part in said.stdout
    assert picture.read_text().startswith("<svg")


def test_a_cohort_and_a_policy_are_named() -> None:
    """A workflow by its whole name, a policy by its kind."""
    said = command("--workflow", "writer.write", "--limit", "4", "--single-flight", "tool:search", "--json")
    assert said.exit_code == 1 and "recorded a hash of its input" in said.stdout
    fair = command("--workflow", "writer.write", "--limit", "4", "--least-attained", "model:big", "--json")
    found = json.loads(fair.stdout)
    assert (found["runs"], found["left_out"]) == (4, {"still at work": 1, "ended as error": 1})
    nobody = command("--workflow", "writer", "--parallelise", "agent:writer", "--json")
    assert nobody.exit_code == 1 and "no run matches" in nobody.stdout


def test_one_run_is_answered_for_machines() -> None:
    """By the beginning of its id; one JSON object."""
    said = command("run3", "--remove", "tool:search", "--json")
    found = json.loads(said.stdout)
    assert found["runs"] == 1
    assert found["rows"][0]["saving"]["point"] == pytest.approx(0.11)


def test_a_run_of_another_program_is_answered_by_its_own_names(tmp_path: Path) -> None:
    """What a framework wrote without knowing of us is in the store as it came."""
    spans = spans_of(json.loads((FOREIGN / "pydantic_ai.json").read_text()))
    store = Store.open(tmp_path / "store.db", clock=SystemClock())
    store.write([Received(batch=TelemetryBatch(node="n1", sequence=2, spans=spans))])
    store.close()
    said = command(spans[0].trace_id.hex(), "--remove", "tool:get_weather", "--json")
    assert said.exit_code == 0, said.stderr
    assert json.loads(said.stdout)["rows"][0]["saving"]["point"] == pytest.approx(0.1025, rel=0.1)  # twice 51 ms


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--remove", "tool:x"], "Unanswerable: none of 12 runs used tool:x: there are search"),
        (["--swap", "model:big=small"], "0 calls of model 'small'"),
        (["--pool", "critic=3"], "there are agent:writer@n1"),
        (["--scale", "model:big=0.5", "--agent", "nobody"], "no run matches"),
        (["--scale", "model:big=0.5", "--last", "1h"], "no run matches"),
        (["--scale", "model:big=0.5", "--last", "week"], "--last is 'week'"),
        (["run99", "--scale", "model:big=0.5"], "no run or trace begins with 'run99'"),
        ([], "nothing would be different"),
        (["--scale", "model:big=0.5", "--plot", "/nowhere/plot.svg"], "cannot write /nowhere/plot.svg"),
    ],
)
def test_what_cannot_be_answered_is_said_in_a_line(arguments: list[str], said: str) -> None:
    """Status 1, the reason on standard error."""
    found = command(*arguments)
    assert found.exit_code == 1
    assert said in found.stderr
