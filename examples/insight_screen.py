"""What ``insight.py`` shows: events as they come, a live table where there is a terminal, and the outcome."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from customers import Customers, mean_s
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from antiphon.agents.logging_agent.trial import entry_of
from antiphon.agents.logging_agent.verifier import predicted, primary
from antiphon.schemas.finding import Estimate, Finding, FindingState

RECENT_S = 10.0
PULSE_S = 10.0  # between two lines, where nobody has a table
UNITS: Mapping[str, str] = {"latency_s": "s", "tokens": "tokens", "model_s": "s of the model", "usd": "USD"}
STYLES: Mapping[FindingState, str] = {
    FindingState.VERIFIED: "bold green",
    FindingState.REFUTED: "red",
    FindingState.CANARY: "cyan",
    FindingState.OPEN: "yellow",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Seconds by the loop's clock between which the system was in one state."""

    since_s: float
    until_s: float


class Screen:
    """Prints; ``findings`` is what is known of each, by id. ``now_s``: the clock of phases and runs."""

    def __init__(
        self, console: Console, customers: Customers, findings: Mapping[str, Finding], now_s: Callable[[], float]
    ) -> None:
        self._console = console
        self._customers = customers
        self._findings = findings
        self._now_s = now_s
        self._began_s = self._pulse_s = now_s()
        self._live: Live | None = None

    @contextmanager
    def live(self) -> Iterator[None]:
        """A table below the events while the body runs and calls ``pulse``, where somebody watches."""
        if not self._console.is_terminal:
            yield
            return
        with Live(get_renderable=self._now, console=self._console, auto_refresh=False, transient=True) as live:
            self._live = live
            try:
                yield
            finally:
                self._live = None

    def say(self, text: str, style: str = "") -> None:
        """A line with the seconds since the beginning."""
        line = Text(f"{self._now_s() - self._began_s:6.1f} s  ", "dim").append(text, style or "default")
        self._console.print(line, soft_wrap=True)

    def command(self, text: str) -> None:
        """What a person would type."""
        self.say(f"$ antiphon {text}", "bold")

    def pulse(self) -> None:
        """Show how the system does now: in the table, or else now and then as a line."""
        if self._live is not None:
            self._live.refresh()
        elif self._now_s() >= self._pulse_s + PULSE_S:
            self._pulse_s = self._now_s()
            self.say(self._pace(), "dim")

    def found(self, finding: Finding) -> None:
        """A finding that opened."""
        self.say(
            f"{finding.pattern.upper()} {finding.id[:8]}  {finding.title}: a run would save "
            f"{told(predicted(finding), primary(finding.saving))} (grade {finding.grade})",
            STYLES[FindingState.OPEN],
        )

    def changed(self, finding: Finding) -> None:
        """A finding that went on: its state, what was measured, why."""
        text = f"{finding.pattern.upper()} {finding.id[:8]}  {finding.state}"
        if (got := realised(finding)) is not None:
            text += f": a run saves {told(got, primary(finding.saving))}, {error_of(finding)}"
        self.say(f"{text}; {finding.note}" if finding.note else text, STYLES.get(finding.state, ""))

    def outcome(self, before: Phase, after: Phase) -> None:
        """Each finding with prediction and reality, and latency before and after."""
        table = self._table("mean latency", lambda finding: self._change(before, after, entry_of(finding)))
        table.add_row("all runs", "", "", "", "", self._change(before, after))
        self._console.print(table)
        self._console.print("measured: runs with the remedy beside runs without, at the same time", style="dim")
        for finding in self._told():
            if finding.state is not FindingState.VERIFIED and finding.note:
                self._console.print(f"{finding.id[:8]} is not verified: {finding.note}", style="yellow")

    def record(self, before: Phase, after: Phase) -> dict[str, Any]:
        """The same for programs."""
        return {
            "mean_before_s": self._mean_s(before),
            "mean_after_s": self._mean_s(after),
            "findings": [
                {
                    "entry": entry_of(finding),
                    "mean_before_s": self._mean_s(before, entry_of(finding)),
                    "mean_after_s": self._mean_s(after, entry_of(finding)),
                    **finding.model_dump(mode="json"),
                }
                for finding in self._told()
            ],
        }

    def _change(self, before: Phase, after: Phase, entry: str = "") -> str:
        return f"{told_s(self._mean_s(before, entry))} to {told_s(self._mean_s(after, entry))}"

    def _mean_s(self, phase: Phase, entry: str = "") -> float | None:
        return mean_s(self._customers.between(phase.since_s, phase.until_s, entry))

    def _told(self) -> list[Finding]:
        return sorted(
            (finding for finding in self._findings.values() if finding.state is not FindingState.CANDIDATE),
            key=lambda finding: (int(finding.pattern[1:]), finding.id),
        )

    def _now(self) -> RenderableType:
        return Group(Text(self._pace(), "bold"), self._table("so far", lambda finding: finding.note.partition(";")[0]))

    def _pace(self) -> str:
        now_s = self._now_s()
        runs = self._customers.between(now_s - RECENT_S, now_s)
        return f"{len(runs) / RECENT_S:.1f} runs a second, {told_s(mean_s(runs))} each"

    def _table(self, name: str, of: Callable[[Finding], str]) -> Table:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for heading in ("finding", "predicted", "measured", "error", "state", name):
            table.add_column(heading, overflow="fold")
        for finding in self._told():
            metric = primary(finding.saving)
            table.add_row(
                f"{finding.pattern.upper()} {finding.id[:8]}\n{finding.subject}",
                _stacked(predicted(finding), metric),
                _stacked(realised(finding), metric),
                error_of(finding, short=True),
                Text(finding.state, STYLES.get(finding.state, "")),
                of(finding),
            )
        return table


def realised(finding: Finding) -> Estimate | None:
    """What was measured of the metric that decides."""
    if finding.realised is None:
        return None
    found: Estimate | None = getattr(finding.realised.saving, primary(finding.saving) or "latency_s")
    return found


def told(estimate: Estimate | None, metric: str) -> str:
    """A point with its 90 % interval."""
    if estimate is None:
        return "-"
    return f"{estimate.point:.3g} {UNITS.get(metric, '')} ({estimate.low:.2g} to {estimate.high:.2g})"


def _stacked(estimate: Estimate | None, metric: str) -> Text:
    """The same on two lines."""
    point, _, interval = told(estimate, metric).partition(" (")
    return Text.assemble(point, "\n", (interval.rstrip(")"), "dim")) if interval else Text(point)


def told_s(seconds: float | None) -> str:
    """Seconds, or a dash."""
    return "-" if seconds is None else f"{seconds:.2f} s"


def error_of(finding: Finding, *, short: bool = False) -> str:
    """How far the prediction was off."""
    error = None if finding.realised is None else finding.realised.prediction_error
    if error is None:
        return "-" if short else "which says nothing of the prediction"
    return f"{error:+.0%}" if short else f"the prediction was {error:+.0%} off"
