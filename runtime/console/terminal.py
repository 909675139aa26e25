"""Runs, traces, findings and spending as rich renderables."""

from collections.abc import Sequence
from datetime import datetime

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from antiphon.runtime.console.tree import Row, Work, rows_of
from antiphon.runtime.store.facts import ERROR, PROCESS
from antiphon.runtime.store.query import RunRecord
from antiphon.runtime.store.runs import Run, RunStatus
from antiphon.runtime.store.spending import Spending
from antiphon.schemas.finding import Estimate, Finding, FindingState
from antiphon.schemas.score import Score

_STATUS_STYLE = {
    RunStatus.QUEUED: "yellow",
    RunStatus.RUNNING: "cyan",
    RunStatus.OK: "green",
    RunStatus.ERROR: "red",
    RunStatus.CANCELLED: "yellow",
}
_WORK_STYLE = {
    Work.HANDLER: "bold",
    Work.MODEL: "magenta",
    Work.TOOL: "blue",
    Work.MESSAGE: "",
    Work.OTHER: "dim",
}
_STATE_STYLE = {
    FindingState.OPEN: "green",
    FindingState.VERIFIED: "bold green",
    FindingState.REFUTED: "red",
    FindingState.DISMISSED: "dim",
    FindingState.GONE: "dim",
}  # those under way: yellow
_BAR = 24  # cells
_WIDE = 110  # columns from which bars leave room for the rest


def duration(seconds: float) -> str:
    """As short as a person wants it: 85 µs, 340 ms, 12.4 s, 2 m 03 s."""
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.0f} ms" if seconds >= 0.00995 else f"{seconds * 1e3:.1f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} m {rest:02} s"
    return f"{minutes // 60} h {minutes % 60:02} m"


def tokens(input_tokens: int, cached_tokens: int, output_tokens: int) -> str:
    """``1,204 in (812 cached), 310 out``; empty when there were none."""
    if not (input_tokens or output_tokens):
        return ""
    cached = f" ({cached_tokens:,} cached)" if cached_tokens else ""
    return f"{input_tokens:,} in{cached}, {output_tokens:,} out"


def work_name(operation: str, model: str) -> str:
    """``chat smollm2-135m``, ``execute_tool``; ``handler`` for the agent's own code."""
    return "handler" if operation == PROCESS else f"{operation} {model}".rstrip()


def runs_table(runs: Sequence[Run]) -> RenderableType:
    """A line a run; in brackets how many of its spans failed, in and out are tokens."""
    if not runs:
        return Text("no runs yet: start a system with `antiphon run` and submit a task", style="dim")
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("run", "started", "what", "status"):
        table.add_column(name, no_wrap=name != "what", overflow="fold", min_width=14 if name == "what" else None)
    for name in ("took", "spans", "in", "out"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in runs:
        status = Text(run.entry.status.value, _STATUS_STYLE[run.entry.status])
        if run.errors:
            status.append(f" ({run.errors})", "red")
        table.add_row(
            run.run[:8],
            _clock(run.start_ns),
            Text(run.entry.title),
            status,
            duration(run.duration_ns / 1e9),
            f"{run.spans:,}",
            f"{run.input_tokens:,}" if run.input_tokens else "",
            f"{run.output_tokens:,}" if run.output_tokens else "",
        )
    return table


def trace_tree(record: RunRecord) -> RenderableType:
    """One run as ``TraceTree`` shows it."""
    return TraceTree(record)


class TraceTree:
    """One run: a tree with times, waits, tokens and errors, each line with its place in the run's time.

    A line that others link to (fan-in) has a number; those say ``from #3``. Where lines are short the place in time
    is left out.
    """

    def __init__(self, record: RunRecord) -> None:
        self._record = record
        self._rows = rows_of(record.spans)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Head, tree, and the logs that matter."""
        record = self._record
        yield _head(record.run)
        yield self._lines(bars=options.max_width >= _WIDE)
        if record.truncated:
            shown, all_ = len(record.spans), record.run.spans
            yield Text(f"only the earliest {shown:,} of {all_:,} spans and the earliest logs are shown", "yellow")
        for log in record.logs:
            if log.level in ("warning", "error", "critical"):
                style = "yellow" if log.level == "warning" else "red"
                fields = " ".join(f"{key}={value}" for key, value in log.fields.items() if key != "node")
                yield Text.assemble((log.level, style), f" {log.event} ", (fields, "dim"))

    def _lines(self, *, bars: bool) -> Table:
        rows = self._rows
        numbers = {
            span.span_id: n for n, row in enumerate(rows, 1) for span in (row.caller, row.span) if span is not None
        }
        linked = {numbers.get(link.span_id) for row in rows for link in row.links}
        table = Table.grid(padding=(0, 1))
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True)
        if bars:
            table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for row, guide in zip(rows, _guides([row.depth for row in rows]), strict=True):
            style = "red" if row.span.status == ERROR else _WORK_STYLE[row.work]
            name = Text.assemble((guide, "dim"), (row.label, style))
            if numbers[row.span.span_id] in linked:
                name.append(f" #{numbers[row.span.span_id]}", "dim")
            took = duration((row.span.end_ns - row.span.start_ns) / 1e9) if row.finished else "unfinished"
            bar = [_bar(row, self._record.run)] if bars else []
            table.add_row(name, Text(took, "" if row.finished else "yellow"), *bar, _notes(row, numbers))
        return table


def _head(run: Run) -> Text:
    return Text.assemble(
        ("run ", "dim"),
        (run.run, "bold"),
        "  ",
        (run.entry.status.value, _STATUS_STYLE[run.entry.status]),
        f"  {duration(run.duration_ns / 1e9)}  ",
        tokens(run.input_tokens, run.cached_tokens, run.output_tokens),
        (f"  {_clock(run.start_ns)}", "dim"),
    )


def findings_table(findings: Sequence[Finding]) -> RenderableType:
    """A line a finding, in the order given."""
    if not findings:
        return Text("no findings yet: patterns show after a few runs of the same shape", style="dim")
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("id", no_wrap=True)
    for name in ("pattern", "grade", "what", "about", "state", "saving a run"):
        table.add_column(name, overflow="fold")
    for finding in findings:
        table.add_row(
            finding.id[:8],
            finding.pattern.upper(),
            finding.grade.value,
            Text(finding.title),
            Text(finding.subject),
            Text(_support(finding), _STATE_STYLE.get(finding.state, "yellow")),
            f"measured: {measured}" if (measured := _measured(finding)) else _saving(finding),
        )
    return table


def finding_panel(finding: Finding) -> RenderableType:
    """One finding whole: what was seen, how sure, what it would save, what to do."""
    lines = [
        Text(_support(finding), _STATE_STYLE.get(finding.state, "yellow")),
        Text(f"about {finding.subject}, cohort {finding.cohort}, grade {finding.grade}"),
    ]
    if finding.prevalence is not None:
        lines.append(Text(f"seen in {finding.prevalence:.0%} of the cohort's runs"))
    if saving := _saving(finding, whole=True):
        learned = "" if finding.factor == 1.0 else f", corrected by {finding.factor:.2f} after earlier measurements"
        lines.append(Text(f"would save a run {saving}{learned}"))
    if measured := _measured(finding):
        error = finding.realised.prediction_error if finding.realised is not None else None
        told = "" if error is None else f"; the prediction was {error:+.0%} off"
        lines.append(Text(f"measured: a run saves {measured}{told}"))
    if finding.note:
        lines.append(Text.assemble(("so far: ", "dim"), finding.note))
    lines.append(Text.assemble(("do: ", "dim"), finding.remedy.text))
    lines += [Text.assemble(("assumes: ", "dim"), text) for text in finding.assumptions]
    if finding.evidence_traces:
        lines.append(Text.assemble(("evidence: ", "dim"), ", ".join(item[:12] for item in finding.evidence_traces[:5])))
    title = Text(f"{finding.id[:8]}  {finding.pattern.upper()}  {finding.title}")
    return Panel(Group(*lines), title=title, title_align="left", border_style="dim")


def spending_table(rows: Sequence[Spending]) -> RenderableType:
    """Where time and tokens went. Seconds of work: what ran in parallel adds up."""
    if not rows:
        return Text("nothing has finished yet", style="dim")
    cached = any(row.cached_tokens for row in rows)
    table = Table(box=None, header_style="dim", pad_edge=False)
    # 80 columns must do: the names keep theirs, everything else is as narrow as its numbers.
    table.add_column("who does what", min_width=26, overflow="ellipsis", no_wrap=True)
    for name in ("calls", "total", "own", "waited", "model", "in", *(["cached"] if cached else []), "out"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        calls = f"{row.count:,}" + (f" ({row.errors} failed)" if row.errors else "")
        counts = (row.input_tokens, *([row.cached_tokens] if cached else []), row.output_tokens)
        table.add_row(
            Text(f"{row.agent or '-'}: {work_name(row.operation, row.model)}"),
            Text(calls, "red" if row.errors else ""),
            duration(row.total_s),
            _if_any(row.own_s),
            _if_any(row.queue_s),
            _if_any(row.prefill_s + row.decode_s),
            *(f"{n:,}" if n else "" for n in counts),
        )
    return table


def score_line(score: Score) -> Text:
    """A score on one line."""
    comment = f"  {score.comment}" if score.comment else ""
    return Text.assemble(("score ", "dim"), f"{score.name} {score.value:g}{comment}", (f"  task {score.task}", "dim"))


def _guides(depths: Sequence[int]) -> list[str]:
    """Branches in front of each line, from how deep each lies."""
    guides: list[str] = []
    open_below: set[int] = set()  # depths at which a later sibling comes
    for depth in reversed(depths):
        stem = "".join("│ " if level in open_below else "  " for level in range(1, depth))
        guides.append(stem + (("├ " if depth in open_below else "└ ") if depth else ""))
        open_below = {level for level in open_below if level < depth} | {depth}
    return guides[::-1]


def _notes(row: Row, numbers: dict[bytes, int]) -> Text:
    span, facts = row.span, row.facts
    notes = [
        f"waited {duration(facts.queue_ns / 1e9)}" if facts.queue_ns >= 1_000_000 else "",
        f"prefill {duration(facts.prefill_ns / 1e9)}" if facts.prefill_ns else "",
        f"decode {duration(facts.decode_ns / 1e9)}" if facts.decode_ns else "",
        tokens(facts.input_tokens, facts.cached_tokens, facts.output_tokens),
        _links(row, numbers),
    ]
    text = Text("  ".join(note for note in notes if note), "dim")
    if facts.attempt > 1:
        text.append(f"  attempt {facts.attempt}", "yellow not dim")
    if span.status == ERROR:
        message = span.status_message or "error"
        text.append(f"  {message[:96]}{'…' if len(message) > 96 else ''}", "red not dim")
    return text


def _links(row: Row, numbers: dict[bytes, int]) -> str:
    names = [f"#{numbers[link.span_id]}" for link in row.links if link.span_id in numbers]
    elsewhere = len(row.links) - len(names)
    return f"from {', '.join([*names, *([f'{elsewhere} elsewhere'] if elsewhere else [])])}" if row.links else ""


def _bar(row: Row, run: Run) -> Text:
    """The row's place in the run: waiting light, working full."""
    whole = max(run.duration_ns, 1)
    begin = (row.start_ns - run.start_ns) * _BAR // whole
    work = (row.span.start_ns - run.start_ns) * _BAR // whole
    end = max(-((run.start_ns - (row.span.end_ns or run.last_ns)) * _BAR // whole), work + 1)
    cells = "".join("█" if work <= n < end else "░" if begin <= n < work else " " for n in range(_BAR))
    return Text(f"▏{cells}▕", style=_WORK_STYLE[row.work].replace("bold", "cyan") or "dim")


def _support(finding: Finding) -> str:
    return f"{finding.state.value}: support {finding.support} of {finding.required} {finding.support_unit}"


def _measured(finding: Finding) -> str:
    """What was realised, gains and losses."""
    if finding.realised is None:
        return ""
    saving = finding.realised.saving
    named = ((saving.latency_s, "s"), (saving.latency_p95_s, "s of the 95th percentile"), (saving.tokens, "tokens"))
    return ", ".join(_interval(item, unit) for item, unit in named if item is not None)


def _saving(finding: Finding, *, whole: bool = False) -> str:
    if finding.state is FindingState.CANDIDATE or finding.saving is None:
        return ""
    saving = finding.saving
    named = [(saving.latency_s, "s"), (saving.model_s, "s of model time"), (saving.tokens, "tokens")]
    if whole:
        named[1:1] = [(saving.latency_p95_s, "s of the 95th percentile")]
        named.append((saving.usd, "USD"))
    return ", ".join(_interval(item, unit) for item, unit in named if item is not None and item.point > 0)


def _interval(estimate: Estimate, unit: str) -> str:
    return f"{estimate.point:,.3g} {unit} ({estimate.low:,.3g} to {estimate.high:,.3g})"


def _if_any(seconds: float | None) -> str:
    return duration(seconds) if seconds else ""


def _clock(unix_ns: int) -> str:
    return datetime.fromtimestamp(unix_ns / 1e9).strftime("%d %b %H:%M")
