"""``antiphon trace | findings``: what was seen and what it means, in the terminal."""

import json
from contextlib import closing

import typer
from rich.console import Console

from antiphon.runtime.cli.common import fail, settings
from antiphon.runtime.console.terminal import (
    finding_panel,
    findings_table,
    runs_table,
    spending_table,
    trace_tree,
)
from antiphon.runtime.console.views import RunDetail, RunsView
from antiphon.runtime.errors import AntiphonError, ConfigurationError
from antiphon.runtime.store.query import Reader, RunFilter
from antiphon.runtime.store.runs import RunStatus
from antiphon.runtime.store.spending import spending_of

AS_JSON = typer.Option(False, "--json", help="Print one JSON object.")


def trace(
    run: str = typer.Argument("", help="A run, trace or task id, or the beginning of one; without it, list runs."),
    last: bool = typer.Option(False, "--last", help="Show the newest run."),
    agent: str | None = typer.Option(None, help="Only runs in which this agent took part."),
    model: str | None = typer.Option(None, help="Only runs that used this model."),
    status: RunStatus | None = typer.Option(None, help="Only runs that ended so."),
    limit: int = typer.Option(20, min=1, max=200, help="How many runs to list."),
    obs: bool = typer.Option(False, "--obs", help="Include the observability system's own runs."),
    as_json: bool = AS_JSON,
) -> None:
    """List runs, or print one as a tree with durations, tokens and model timings."""
    try:
        with closing(_reader()) as reader:
            wanted = RunFilter(agent=agent, model=model, status=status, obs=obs)
            if not run and not last:
                page = reader.runs(wanted, limit=limit)
                if as_json:
                    typer.echo(RunsView.of(page).model_dump_json())
                else:
                    Console().print(runs_table(page.runs))
                return
            record = reader.run(_one(reader, run, wanted))
            if record is None:
                raise ConfigurationError(f"run {run} has just been removed by the retention limits")
            if as_json:
                typer.echo(RunDetail.of(record).model_dump_json())
            else:
                console = Console()
                console.print(trace_tree(record))
                console.print(spending_table(spending_of(record.spans)))
    except AntiphonError as error:
        fail(error, as_json=as_json)


def findings(
    finding: str = typer.Argument("", help="A finding's id or the beginning of one; without it, list all."),
    as_json: bool = AS_JSON,
) -> None:
    """Show what the logging agent found, each with its evidence and estimated saving."""
    try:
        with closing(_reader()) as reader:
            found = [each for each in reader.findings() if each.id.startswith(finding)]
    except AntiphonError as error:
        fail(error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps([each.model_dump(mode="json") for each in found]))
        return
    if finding and not found:
        fail(ConfigurationError(f"no finding begins with {finding!r}: `antiphon findings` lists them"))
    console = Console()
    if finding:
        for each in found:
            console.print(finding_panel(each))
    else:
        console.print(findings_table(found))


def _reader() -> Reader:
    return Reader.open(settings().store_path)


def _one(reader: Reader, prefix: str, wanted: RunFilter) -> str:
    if not prefix:
        page = reader.runs(wanted, limit=1)
        if not page.runs:
            raise ConfigurationError("the store has no such run yet: submit a task first")
        return page.runs[0].run
    found = reader.find(prefix)
    if not found:
        raise ConfigurationError(f"no run or trace begins with {prefix!r}: `antiphon trace` lists them")
    if len(found) > 1:
        raise ConfigurationError(f"{prefix!r} is the beginning of several runs: give more of it")
    return found[0]
