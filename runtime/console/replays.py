"""Replays, differences of runs and comparisons of versions as rich renderables."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from antiphon.runtime.console.terminal import duration
from antiphon.runtime.replay.compare import Comparison, Measured
from antiphon.runtime.replay.contrast import Contrast
from antiphon.runtime.replay.contrast import Measured as Contrasted
from antiphon.runtime.replay.counterfactual import Counterfactual, Side
from antiphon.runtime.replay.difference import Difference, Row, Whole
from antiphon.runtime.replay.strict import Divergence, Shown, Verdict

_CONTENT = 600  # characters of a request or a result
_ROWS = 400


def verdict_view(verdict: Verdict) -> RenderableType:
    """Identical, or the first divergence with both sides."""
    if verdict.divergence is None:
        operations, tasks = _count(verdict.operations, "operation"), _count(verdict.tasks, "task")
        return Text(f"identical, {operations} of {tasks}", "green")
    return _divergence(verdict.divergence)


def counterfactual_view(found: Counterfactual) -> RenderableType:
    """The record beside what would have been, and what answered its operations."""
    table = _table("", "recorded", "replayed", "change")
    then, now = found.recorded, found.replayed
    table.add_row("result", _cut(_outcome(then)), _cut(_outcome(now)), _same(_outcome(then) == _outcome(now)))
    table.add_row("time", duration(then.took_s), duration(now.took_s), _change_s(then.took_s, now.took_s))
    table.add_row("model calls", str(then.used.calls), str(now.used.calls), f"{now.used.calls - then.used.calls:+,}")
    table.add_row("tokens", f"{then.used.tokens:,}", f"{now.used.tokens:,}", f"{now.used.tokens - then.used.tokens:+,}")
    table.add_row("cost", _usd(then.used.usd), _usd(now.used.usd), _change_usd(then.used.usd, now.used.usd))
    steps = _table("who", "path", "operation", "answered by", "took")
    for each in found.did[:_ROWS]:
        steps.add_row(each.agent, each.path, f"{each.operation} {each.target}", each.source, duration(each.took_s))
    more = len(found.did) - _ROWS
    return Group(table, Text(), steps, *([Text(f"and {more:,} more", "dim")] if more > 0 else []))


def difference_view(found: Difference) -> RenderableType:
    """Totals, critical paths, and the aligned trees."""
    left, right = found.left, found.right
    totals = _table("", left.run[:12], right.run[:12], "change")
    totals.add_row(
        "latency", duration(left.latency_s), duration(right.latency_s), _change_s(left.latency_s, right.latency_s)
    )
    for name, a, b in (("tokens", left.cost.tokens, right.cost.tokens), ("cost, USD", left.cost.usd, right.cost.usd)):
        totals.add_row(name, f"{a:,.6g}", f"{b:,.6g}", f"{b - a:+,.6g}")
    tree = _table("what", left.run[:12], right.run[:12], "change", "tokens", "result")
    for row in found.rows[:_ROWS]:
        tree.add_row(*_cells(row))
    more = len(found.rows) - _ROWS
    said = [line for row in found.rows if row.said is not None for line in _said(row.label, row.said)]
    return Group(
        totals, Text(), _critical(left, right), Text(), tree,
        *([Text(f"and {more:,} more steps: --json has them all", "dim")] if more > 0 else []), *said[:60],
    )  # fmt: skip


def contrast_view(found: Contrast, names: tuple[str, str], left_out: Sequence[Mapping[str, int]]) -> RenderableType:
    """Quantities and operations of two cohorts, and which runs were left out."""
    table = _table("", "first", "second", "difference", "90 % interval", "runs")
    for each in found.measured:
        table.add_row(
            each.name, _amount(each.first, each.unit), _amount(each.second, each.unit),
            _more(each.difference, each.unit), _reach(each), f"{each.runs[0]:,} and {each.runs[1]:,}",
        )  # fmt: skip
    work = _table("a mean run", "times", "own time", "critical path", "difference", "90 % interval")
    for row in found.operations:
        a, b = row.first, row.second
        work.add_row(
            Text(row.label), f"{a.count:.3g} → {b.count:.3g}",
            f"{_amount(a.own_s, 's')} → {_amount(b.own_s, 's')}",
            f"{_amount(a.critical_s, 's')} → {_amount(b.critical_s, 's')}",
            _more(row.critical.difference, "s"), _reach(row.critical),
        )  # fmt: skip
    lines = [Text(f"and {found.more:,} more operations", "dim")] if found.more else []
    for name, counts, runs in zip(names, left_out, found.runs, strict=True):
        without = "".join(f"; left out {count:,}: {reason}" for reason, count in counts.items())
        lines.append(Text(f"{name}: {_count(runs, 'run')}{without}", "dim"))
    return Group(table, Text(), work, *lines)


def comparison_view(found: Comparison) -> RenderableType:
    """Each quantity with its paired difference, and the failures of both arms."""
    first, second = found.names
    table = _table("", first, second, "difference", "90 % interval", "examples")
    for each in found.measured:
        table.add_row(
            each.name, f"{each.first:,.4g}", f"{each.second:,.4g}", _point(each), _between(each), f"{each.examples:,}"
        )
    lines = [Text(f"{found.examples:,} tasks, {found.seeds} seeds each, in both arms", "dim")]
    for name, reasons in zip(found.names, found.failures, strict=True):
        lines += [Text(line) for line in _reasons(name, reasons)]
    return Group(table, *lines)


def _divergence(found: Divergence) -> RenderableType:
    where = f"operation {found.path}" if found.path else "its end"
    lines = [Text(f"task {found.task} of {found.handler} diverges at {where}", "red")]
    for name, side, nothing in (
        ("recorded", found.recorded, "nothing: the record has no such operation"),
        ("this code", found.found, "nothing: it goes on without it"),
    ):
        lines.append(Text.assemble((f"  {name:<10} ", "dim"), nothing if side is None else _one_line(side)))
        if side is not None and side.content:
            lines.append(Text(f"             {_cut(side.content)}"))
    return Group(*lines)


def _one_line(side: Shown) -> str:
    request = f", request {side.request}" if side.request else ""
    return f"{side.operation} {side.target}{request}".replace(" ,", ",").strip()


def _cells(row: Row) -> tuple[Text | str, ...]:
    a, b = row.left_s, row.right_s
    tokens = ""
    if row.left_tokens is not None or row.right_tokens is not None:
        tokens = f"{row.left_tokens or 0:,.0f} → {row.right_tokens or 0:,.0f}"
    change: Text | str = "only left" if b is None else "only right"
    if a is not None and b is not None:
        change = _change_s(a, b)
    result: Text | str = "" if row.same is None else _same(row.same)
    return (
        Text("  " * row.depth + row.label),
        "" if a is None else duration(a),
        "" if b is None else duration(b),
        change,
        tokens,
        result,
    )


def _critical(left: Whole, right: Whole) -> RenderableType:
    table = _table("on the critical path", left.run[:12], right.run[:12], "change")
    labels = {**left.critical_s, **right.critical_s}
    rows = [(label, left.critical_s.get(label, 0.0), right.critical_s.get(label, 0.0)) for label in labels]
    for label, a, b in sorted(rows, key=lambda row: -abs(row[2] - row[1]))[:30]:
        table.add_row(Text(label), duration(a), duration(b), _change_s(a, b))
    return table


def _said(label: str, said: tuple[str, str]) -> list[Text]:
    return [Text(f"{label} said", "bold"), Text(f"  left:  {said[0]}"), Text(f"  right: {said[1]}")]


def _amount(value: float, unit: str) -> str:
    if unit == "s":
        return ("-" if value < 0 else "") + duration(abs(value)) if value else "0"
    return f"{value:.1%}" if unit == "share" else f"{value:,.4g}"


def _more(value: float, unit: str) -> str:
    return ("+" if value > 0 else "") + _amount(value, unit)


def _reach(found: Contrasted) -> str:
    if found.low is None or found.high is None:
        return "unknown: one run"
    return f"{_more(found.low, found.unit)} to {_more(found.high, found.unit)}"


def _reasons(name: str, reasons: Mapping[str, int]) -> list[str]:
    if not reasons:
        return []
    shown = sorted(reasons.items(), key=lambda item: -item[1])[:5]
    return [f"{name}: {sum(reasons.values()):,} failed", *(f"  {count:,}: {_cut(reason)}" for reason, count in shown)]


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _outcome(side: Side) -> str:
    return side.error or side.value.decode(errors="replace")


def _point(each: Measured) -> str:
    return f"{each.difference:+,.4g}"


def _between(each: Measured) -> Text:
    low, high = each.low, each.high
    if low is None or high is None:
        return Text("one example", "dim")
    shown = f"{low:+,.4g} to {high:+,.4g}"
    return Text(shown, "dim") if low <= 0 <= high else Text(shown, "bold")


def _same(same: bool) -> Text:
    return Text("same", "dim") if same else Text("differs", "yellow")


def _change_s(a: float, b: float) -> str:
    sign = "+" if b >= a else "-"
    return f"{sign}{duration(abs(b - a))}"


def _change_usd(a: float | None, b: float | None) -> str:
    return "" if a is None or b is None else f"{b - a:+,.6f}"


def _usd(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.6f} USD"


def _cut(text: str) -> str:
    return text if len(text) <= _CONTENT else f"{text[:_CONTENT]}…"


def _table(*names: str) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table
