"""``antiphon dataset``: recorded tasks with inputs, results and scores, as JSONL."""

import json
import re
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import typer
from rich.table import Table

from antiphon.runtime.cli.common import fail, settings
from antiphon.runtime.cli.observe import AS_JSON, open_reader
from antiphon.runtime.cli.replay import chosen
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.durations import seconds
from antiphon.runtime.errors import AntiphonError, ConfigurationError, Unanswerable
from antiphon.runtime.replay.dataset import Example, example_of, read_lines, write_lines
from antiphon.runtime.replay.record import recorded
from antiphon.runtime.store.query import Cursor, Reader, RunFilter

app = typer.Typer(help="Export recorded tasks as JSONL, keep such files, and compare versions on them.")

_NAME = re.compile(r"[a-z0-9_-]{1,64}")
_LAST = re.compile(r"last\s+(\S+)")
_PAGE = 100
_LIMIT = typer.Option(200, min=1, max=10_000, help="The newest so many tasks.")


@app.command("export")
def export(
    file: Path = typer.Argument(help="Where to write; - prints."),
    run: list[str] = typer.Option([], help="Only this run; several are possible."),
    last: str = typer.Option("", help="Only runs begun in the last 24h, 7d."),
    agent: str | None = typer.Option(None, help="Only tasks that this agent was given from outside."),
    limit: int = _LIMIT,
    as_json: bool = AS_JSON,
) -> None:
    """Write the tasks that were submitted from outside, with their results and scores, one JSON object a line."""
    try:
        with closing(open_reader()) as reader:
            if run:
                left_out: Counter[str] = Counter()
                examples = [read_example(reader, chosen(reader, each)) for each in run]
            else:
                examples, left_out = recent(reader, last, agent, limit)
        text = "".join(write_lines(examples))
        if str(file) == "-":
            typer.echo(text, nl=False)
            return
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(ConfigurationError(f"cannot write {file}: {error.strerror}"), as_json=as_json)
    except AntiphonError as error:
        fail(error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps({"file": str(file), "examples": len(examples), "left_out": dict(left_out)}))
        return
    typer.echo(f"{len(examples):,} tasks in {file}")
    for reason, count in left_out.most_common():
        typer.echo(f"{count:,} left out: {reason}", err=True)


@app.command("import")
def import_(
    file: Path = typer.Argument(help="A JSONL file as export writes it."),
    name: str = typer.Option("", help="What to call it; the file's own name if not given."),
    as_json: bool = AS_JSON,
) -> None:
    """Check a file and keep it under a name, for `antiphon compare --on NAME`."""
    try:
        examples = read_file(file)
        called = name or file.stem
        if _NAME.fullmatch(called) is None:
            raise ConfigurationError(f"dataset name {called!r}: expected 1 to 64 characters of a-z, 0-9, _ and -")
        place = _folder() / f"{called}.jsonl"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("".join(write_lines(examples)), encoding="utf-8")
    except OSError as error:
        fail(ConfigurationError(f"cannot keep the dataset: {error}"), as_json=as_json)
    except AntiphonError as error:
        fail(error, as_json=as_json)
    shown = json.dumps({"name": called, "examples": len(examples)})
    typer.echo(shown if as_json else f"dataset {called}: {len(examples):,} tasks")


@app.command("list")
def list_datasets(as_json: bool = AS_JSON) -> None:
    """Show the datasets that are kept."""
    try:
        found = [(path.stem, read_file(path)) for path in sorted(_folder().glob("*.jsonl"))]
    except AntiphonError as error:
        fail(error, as_json=as_json)
    rows = [
        {
            "name": name,
            "examples": len(examples),
            "handlers": sorted({each.handler for each in examples}),
            "scores": sorted({score for each in examples for score in each.scores}),
        }
        for name, examples in found
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("there are no datasets: export some tasks, then import the file", err=True)
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("name", "tasks", "handlers", "scores"):
        table.add_column(column)
    for name, examples in found:
        handlers = ", ".join(sorted({each.handler for each in examples}))
        table.add_row(name, f"{len(examples):,}", handlers, ", ".join(sorted({s for e in examples for s in e.scores})))
    Console().print(table)


def examples_on(reader: Reader, on: str, agent: str | None, limit: int) -> tuple[list[Example], Counter[str]]:
    """The examples that ``--on`` names: ``last 7d``, a dataset, or a file; and why runs were left out.

    Raises:
        ConfigurationError: it is none of these.
        InvalidMessage: a line of the file that is no example.
    """
    last = _LAST.fullmatch(on.strip())
    if last is not None:
        return recent(reader, last[1], agent, limit)
    kept = _folder() / f"{on}.jsonl"
    place = kept if _NAME.fullmatch(on) and kept.is_file() else Path(on)
    if not place.is_file():
        raise ConfigurationError(f"--on is {on!r}, expected 'last 7d', a dataset of `antiphon dataset list`, or a file")
    found = [each for each in read_file(place) if agent is None or each.handler.startswith(f"{agent}.")]
    return found[:limit], Counter()


def recent(reader: Reader, last: str, agent: str | None, limit: int) -> tuple[list[Example], Counter[str]]:
    """The newest tasks that somebody outside submitted; and why runs were left out."""
    since_ns = round((time.time() - seconds("--last", last)) * 1e9) if last else 0
    found: list[Example] = []
    left_out: Counter[str] = Counter()
    after: Cursor | None = None
    while True:
        page = reader.runs(RunFilter(agent=agent), limit=_PAGE, after=after)
        for each in page.runs:
            if each.start_ns < since_ns or len(found) == limit:
                return found, left_out
            try:
                example = read_example(reader, each.run)
            except Unanswerable:
                left_out["no journal that can be replayed: asks, unfinished or expired work"] += 1
                continue
            if agent is None or example.handler.startswith(f"{agent}."):
                found.append(example)
        after = page.next
        if after is None:
            return found, left_out


def read_example(reader: Reader, run: str) -> Example:
    """The first task of an archived run. Raises Unanswerable."""
    batch = reader.journal(settings().tenant, run)
    return example_of(recorded(run, [] if batch is None else [batch]).root, reader.scores(run))


def read_file(path: Path) -> list[Example]:
    """The examples in a file. Raises ConfigurationError, InvalidMessage."""
    try:
        with path.open(encoding="utf-8") as lines:
            return read_lines(lines, str(path))
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text: {error.reason}") from None


def _folder() -> Path:
    return settings().home / "datasets"
