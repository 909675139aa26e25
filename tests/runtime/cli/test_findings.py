"""``antiphon findings``: seen from the store, applied by the logging agent, and clear where there is none."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from antiphon import Agent, Context
from antiphon.runtime.cli.commands import app
from antiphon.runtime.client import Client
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.store.retention import Retention
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.whatif.testing import Traced
from antiphon.schemas.finding import Finding, FindingState, Grade, Remedy
from antiphon.schemas.finding_request import ApplyFinding, DismissFinding
from antiphon.schemas.policy import Level
from antiphon.schemas.telemetry import TelemetryBatch


def finding(id: str, **changes: Any) -> Finding:
    """As the store keeps it."""
    given = {
        "id": id,
        "pattern": "p3",
        "title": "Concurrent duplicates of tool look",
        "cohort": "planner.plan#1f0c22ab",
        "subject": "tool look",
        "state": FindingState.OPEN,
        "grade": Grade.A,
        "support": 9,
        "required": 5,
        "remedy": Remedy(text="share one result"),
        "first_seen_unix_ms": 1,
        "last_seen_unix_ms": 2,
    }
    return Finding.model_validate({**given, **changes})


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose store has two findings."""
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    store = Store.open(tmp_path / "store.db", clock=SystemClock(), retention=Retention(max_age_s=1e6, max_bytes=10**9))
    store.put_findings([finding("abc1" * 8), finding("abd2" * 8, title="Another")])
    store.close()
    return tmp_path


def invoke(*arguments: str) -> tuple[int, str, str]:
    """The command's status, output and errors."""
    done = CliRunner().invoke(app, ["findings", *arguments], env={"COLUMNS": "200"})
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.usefixtures("home")
def test_findings_are_listed_and_shown_by_the_beginning_of_their_id() -> None:
    """As a table with ids, as JSON, and one whole; a beginning that fits none or two is an error."""
    status, out, _ = invoke()
    assert status == 0
    assert "abc1abc1" in out and "Another" in out
    assert {each["id"] for each in json.loads(invoke("--json")[1])} == {"abc1" * 8, "abd2" * 8}
    assert "share one result" in invoke("show", "abc")[1]
    assert json.loads(invoke("show", "abd", "--json")[1])["title"] == "Another"
    assert "'ab' is the beginning of 2 findings" in invoke("show", "ab")[2]
    status, out, _ = invoke("show", "x", "--json")
    assert status == 1
    assert "no finding begins with 'x'" in json.loads(out)["error"]["message"]


def test_missing_names_the_patterns_that_cannot_be_seen(home: Path) -> None:
    """Of a store with spans of one tool without queues or groups; and of one without spans that there are none."""
    assert "no spans yet" in invoke("missing")[1]
    trace = Traced(1)
    trace.tool(trace.ask(None, "a.b", 0, 100, capacity=None), "look", 10, 20, content="x")
    store = Store.open(home / "store.db", clock=SystemClock())
    store.write([Received(batch=TelemetryBatch(node="n", sequence=1, spans=trace.spans))])
    store.close()
    found = json.loads(invoke("missing", "--json")[1])
    assert found["spans"] == 3
    assert found["missing"]["p25"] == [["antiphon.group"], ["antiphon.group.needed"]]
    assert "p4" not in found["missing"]
    status, out, _ = invoke("missing")
    assert status == 0 and "P25 lacks antiphon.group" in out


def test_suggest_is_no_level_to_apply() -> None:
    """It says what takes a remedy back."""
    status, _, err = invoke("apply", "abc", "--level", "suggest")
    assert status == 2
    assert "rollback" in err


@pytest.mark.nats
async def test_a_word_on_a_finding_reaches_the_logging_agent(
    serve: Callable[[Agent], Awaitable[Client]], command: Callable[..., Awaitable[Any]]
) -> None:
    """With level, share and name as given; without an agent that answers: what to start."""
    none = await command("findings", "apply", "abc", "--by", "ada")
    assert none.status == 1
    assert "no logging agent answers: `antiphon up` starts one" in none.err
    agent = Agent("logging-agent")
    heard: list[ApplyFinding | DismissFinding] = []

    @agent.handles
    async def apply(wish: ApplyFinding, ctx: Context) -> Finding:
        """Note it."""
        heard.append(wish)
        return finding("abc1" * 8, state=FindingState.CANARY)

    @agent.handles
    async def dismiss(wish: DismissFinding, ctx: Context) -> Finding:
        """Note it."""
        heard.append(wish)
        return finding("abc1" * 8, state=FindingState.DISMISSED)

    await serve(agent)
    done = await command("findings", "apply", "abc", "--level", "canary", "--share", "0.3", "--by", "ada", "--json")
    assert json.loads(done.out)["state"] == "canary"
    assert "dismissed" in (await command("findings", "dismiss", "abc", "--reason", "no", "--by", "ada")).out
    await command("findings", "rollback", "abc", "--by", "ada")
    assert heard == [
        ApplyFinding(finding="abc", level=Level.CANARY, share=0.3, by="ada"),
        DismissFinding(finding="abc", reason="no", by="ada"),
        ApplyFinding(finding="abc", level=Level.SUGGEST, by="ada"),
    ]
