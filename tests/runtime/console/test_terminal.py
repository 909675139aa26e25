import io
from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console, RenderableType

from antiphon.runtime.console import terminal
from antiphon.runtime.store.query import Reader, RunFilter
from antiphon.runtime.store.spending import spending_of
from antiphon.schemas.finding import Estimate, Finding, FindingState, Grade, Realised, Remedy, Saving
from antiphon.schemas.telemetry import LogRecord


def _shown(what: RenderableType, width: int = 160) -> str:
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(what)
    return out.getvalue()


def _finding(**more: Any) -> Finding:
    values: dict[str, Any] = {
        "id": "f",
        "pattern": "p3",
        "title": "The same read twice",
        "cohort": "c",
        "subject": "writer",
        "state": FindingState.CANDIDATE,
        "grade": Grade.A,
        "support": 1,
        "required": 5,
        "saving": Saving(latency_s=Estimate(point=1.5, low=1, high=2), tokens=Estimate(point=0, low=0, high=0)),
        "remedy": Remedy(text="Share [it]."),
        "first_seen_unix_ms": 1,
        "last_seen_unix_ms": 2,
    }
    return Finding(**{**values, **more})


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 µs"),
        (0.000085, "85 µs"),
        (0.0051, "5.1 ms"),
        (0.34, "340 ms"),
        (0.9999, "1.0 s"),
        (12.44, "12.4 s"),
        (123, "2 m 03 s"),
        (3725, "1 h 02 m"),
    ],
)
def test_durations_are_short(seconds: float, text: str) -> None:
    """Two or three digits and a unit."""
    assert terminal.duration(seconds) == text


def test_a_trace_shows_what_a_person_asks(make: Any, put: Callable[..., None], reader: Reader) -> None:
    """Nesting, durations, waits, tokens, model timings, attempts, errors, joins and warnings are all there."""
    warning = LogRecord(unix_ns=make.start_ns, level="warning", event="slow", trace_id=b"\x01" * 16, fields={"n": 1})
    put(*make.run(), logs=(warning,))
    record = reader.run("r1")
    assert record is not None
    lines = _shown(terminal.trace_tree(record)).splitlines()
    head, plan, write, chat, tool, review, log = (line.rstrip() for line in lines)
    assert "r1  ok  10.0 s  100 in (40 cached), 7 out" in head
    assert plan.startswith("submit planner.plan") and "9.5 s" in plan
    assert write.startswith("├ call writer.write #2") and "4.0 s" in write and "waited 2.0 s" in write
    assert "░░░░░██████████" in write
    assert chat.startswith("│ ├ chat m") and "waited 100 ms  prefill 200 ms  decode 500 ms" in chat
    assert tool.startswith("│ └ execute_tool search")
    assert review.startswith("└ call critic.review") and f"from #2  attempt 2  {make.hostile}" in review
    assert log == "warning slow n=1"


def test_an_unfinished_span_is_marked(make: Any, put: Callable[..., None], reader: Reader) -> None:
    """A start record without an end says so, in the tree and in the list."""
    put(make.handle(1, None, "writer.write", 0, 0))
    record = reader.run("r1")
    assert record is not None
    assert "unfinished" in _shown(terminal.trace_tree(record))
    assert "running" in _shown(terminal.runs_table(reader.runs(RunFilter(), limit=5).runs))


@pytest.mark.parametrize("width", [20, 80, 200])
def test_any_width_will_do(make: Any, put: Callable[..., None], reader: Reader, width: int) -> None:
    """Nothing breaks, and no line is longer than the terminal."""
    put(*make.run())
    record = reader.run("r1")
    assert record is not None
    for what in (
        terminal.trace_tree(record),
        terminal.runs_table((record.run,)),
        terminal.spending_table(spending_of(record.spans)),
        terminal.findings_table([_finding()]),
        terminal.finding_panel(_finding()),
    ):
        assert max(len(line) for line in _shown(what, width).splitlines()) <= width


def test_a_finding_shows_the_95th_percentile_and_money() -> None:
    """They are in the panel; the table has room for the mean only."""
    saving = Saving(
        latency_s=Estimate(point=1.5, low=1, high=2),
        latency_p95_s=Estimate(point=2.5, low=2, high=3),
        usd=Estimate(point=0.02, low=0.01, high=0.03),
    )
    panel = " ".join(_shown(terminal.finding_panel(_finding(saving=saving, state=FindingState.OPEN))).split())
    assert "2.5 s of the 95th percentile (2 to 3)" in panel
    assert "0.02 USD (0.01 to 0.03)" in panel
    assert "USD" not in _shown(terminal.findings_table([_finding(saving=saving, state=FindingState.OPEN)]))


def test_a_candidate_claims_no_saving() -> None:
    """Below the required support: the word, the count, and no number of seconds."""
    for shown in (_shown(terminal.findings_table([_finding()])), _shown(terminal.finding_panel(_finding()))):
        assert "candidate: support 1 of 5 runs" in shown
        assert "1.5 s" not in shown
    assert "Share [it]." in _shown(terminal.finding_panel(_finding()))


def test_an_open_finding_says_what_it_saves() -> None:
    """Its grade, point and interval; what would save nothing is left out."""
    shown = _shown(terminal.findings_table([_finding(state=FindingState.OPEN, support=7, grade=Grade.C)]))
    assert shown.splitlines()[0].split()[:3] == ["id", "pattern", "grade"]
    assert shown.splitlines()[1].split()[1:3] == ["P3", "C"]
    assert "open: support 7 of 5 runs" in shown
    assert "1.5 s (1 to 2)" in shown
    assert "tokens" not in shown


def test_spending_names_agents_and_models(make: Any) -> None:
    """Calls, time and tokens, by agent and work."""
    shown = _shown(terminal.spending_table(spending_of(make.run())))
    assert "writer: chat m" in shown
    assert "planner: handler" in shown


def test_nothing_yet_says_what_to_do() -> None:
    """Empty lists are sentences."""
    for what in (terminal.runs_table(()), terminal.findings_table(()), terminal.spending_table(())):
        assert len(_shown(what).split()) > 3


def test_a_verified_finding_shows_what_was_measured_beside_what_was_predicted() -> None:
    """The realised saving with its interval, the error of the prediction, the learned correction and the reason."""
    realised = Realised(
        saving=Saving(latency_s=Estimate(point=1.2, low=1.1, high=1.3)), runs=(40, 41), prediction_error=0.25
    )
    found = _finding(state=FindingState.VERIFIED, realised=realised, factor=0.8, note="measured: 40 runs with")
    shown = _shown(terminal.finding_panel(found))
    assert "measured: a run saves 1.2 s (1.1 to 1.3); the prediction was +25% off" in shown
    assert "corrected by 0.80 after earlier measurements" in shown
    assert "so far: measured: 40 runs with" in shown
    assert "measured: 1.2 s (1.1 to 1.3)" in _shown(terminal.findings_table([found]))
