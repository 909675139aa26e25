"""The answer to a what-if question as rich renderables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from antiphon.runtime.console.terminal import duration
from antiphon.runtime.whatif.answer import Answer, Row
from antiphon.runtime.whatif.ensemble import reasons

_BAR = 20  # cells
_BINS = 10
_EIGHTHS = " ▏▎▍▌▋▊▉"


def answer_view(answer: Answer) -> RenderableType:
    """Table, distribution, what was left out, and what is assumed."""
    parts: list[RenderableType] = [_head(answer), _table(answer.rows)]
    if len(answer.before_s) > 1:
        parts += [Text(), histogram(answer.before_s, answer.after_s)]
    parts.append(Text())
    parts += [Text.assemble(("assumes: ", "dim"), text) for text in answer.assumptions]
    return Group(*parts)


def histogram(before: Sequence[float], after: Sequence[float]) -> Table:
    """How many runs took how long, before and after, in classes of equal width."""
    low, high = min(*before, *after), max(*before, *after)
    width = (high - low) / _BINS or 1.0
    counts = [[0] * _BINS for _ in range(2)]
    for count, values in zip(counts, (before, after), strict=True):
        for value in values:
            count[min(int((value - low) / width), _BINS - 1)] += 1
    most = max(*counts[0], *counts[1])
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("took up to", justify="right", no_wrap=True)
    for name in ("before", "after"):
        table.add_column(name, no_wrap=True, min_width=_BAR + 6)
    for index, (was, becomes) in enumerate(zip(*counts, strict=True)):
        table.add_row(duration(low + (index + 1) * width), _bar(was, most, "dim"), _bar(becomes, most, "cyan"))
    return table


def _head(answer: Answer) -> Text:
    runs = "1 run" if answer.runs == 1 else f"{answer.runs:,} runs"
    text = Text.assemble((runs, "bold"), f", replayed unchanged within {answer.fidelity:.1%} of the record (median)")
    if answer.left_out:
        text.append(f"; left out: {reasons(answer.left_out)}", "yellow")
    return text


def _table(rows: Sequence[Row]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in ("before", "after", "saving", "90 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        saving = row.saving
        share = f" ({saving.point / row.before:.0%})" if row.before and saving.point else ""
        style = "green" if saving.low > 0 else "red" if saving.high < 0 else ""
        table.add_row(
            row.name,
            _amount(row.before, row.unit),
            _amount(row.after, row.unit),
            Text(_amount(saving.point, row.unit) + share, style),
            f"{_amount(saving.low, row.unit)} to {_amount(saving.high, row.unit)}",
        )
    return table


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return ("-" if value < 0 else "") + duration(abs(value)) if value else "0"
    return f"${value:,.4g}" if unit == "usd" else f"{value:,.0f}"


def _bar(count: int, most: int, style: str) -> Text:
    eighths = round(8 * _BAR * count / most)
    bar = "█" * (eighths // 8) + (_EIGHTHS[eighths % 8] if eighths % 8 else "")
    return Text.assemble((bar, style), f" {count:,}" if count else "")
