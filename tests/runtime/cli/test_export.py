"""`antiphon trace export` and `antiphon sql` over a store, without a server."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from antiphon.runtime.cli.commands import app
from antiphon.runtime.clock import SystemClock
from antiphon.runtime.store.sqlite import Received, Store
from antiphon.runtime.telemetry.otlp_proto import spans_of
from antiphon.schemas.telemetry import SpanRecord, TelemetryBatch

runner = CliRunner()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANTIPHON_HOME", str(tmp_path))
    monkeypatch.setenv("NO_COLOR", "1")
    span = SpanRecord(
        trace_id=b"\x01" * 16, span_id=b"\x02" * 8, name="p", kind=4, start_ns=10**18, end_ns=10**18 + 10**6,
        attributes={"antiphon.run": "r1", "antiphon.agent": "writer", "antiphon.handler": "write"},
    )  # fmt: skip
    store = Store.open(tmp_path / "store.db", clock=SystemClock())
    store.write([Received(batch=TelemetryBatch(node="a", sequence=1, spans=[span]))])
    store.close()
    return tmp_path


def test_a_run_is_exported(home: Path) -> None:
    """To standard output as OTLP, to a file for Perfetto; what is no run says so."""
    printed = json.loads(runner.invoke(app, ["trace", "export", "r1"]).stdout)
    assert printed["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] == "02" * 8
    done = runner.invoke(app, ["trace", "export", "r1", "--format", "perfetto", "--out", str(home / "run.json")])
    assert done.exit_code == 0 and "1 spans" in done.stderr
    assert any(event["ph"] == "X" for event in json.loads((home / "run.json").read_text())["traceEvents"])
    assert runner.invoke(app, ["trace", "export", "nope"]).exit_code == 1
    assert runner.invoke(app, ["trace", "export", "r1", "--out", str(home)]).exit_code == 1


def test_a_run_is_exported_for_receivers_that_read_no_json(home: Path) -> None:
    """The same spans in protobuf, to a file and to standard output, byte for byte what can be posted."""
    printed = runner.invoke(app, ["trace", "export", "r1", "--format", "protobuf"]).stdout_bytes
    done = runner.invoke(app, ["trace", "export", "r1", "--format", "protobuf", "--out", str(home / "run.pb")])
    assert done.exit_code == 0 and (home / "run.pb").read_bytes() == printed
    ((span,), rejected) = spans_of(printed)
    assert (span.span_id, span.name, rejected) == (b"\x02" * 8, "invoke_agent writer", 0)


def test_without_a_command_a_trace_is_shown() -> None:
    """As before there were two."""
    assert "writer.write" in runner.invoke(app, ["trace", "r1"]).stdout
    assert runner.invoke(app, ["trace"]).stdout == runner.invoke(app, ["trace", "show"]).stdout
    assert "export" in runner.invoke(app, ["trace", "--help"]).stdout


def test_the_store_is_queried() -> None:
    """As a table, CSV or JSON; what would write is refused with status 1."""
    query = "SELECT agent, count(*) AS n FROM spans GROUP BY agent"
    assert runner.invoke(app, ["sql", query]).stdout.split() == ["agent", "n", "writer", "1"]
    assert runner.invoke(app, ["sql", query, "--csv"]).stdout.split() == ["agent,n", "writer,1"]
    assert json.loads(runner.invoke(app, ["sql", query, "--json"]).stdout)["rows"] == [["writer", 1]]
    refused = runner.invoke(app, ["sql", "DELETE FROM spans", "--json"])
    assert refused.exit_code == 1 and "Unanswerable" in refused.stdout + refused.stderr
    assert runner.invoke(app, ["sql", query, "--csv", "--json"]).exit_code == 2
