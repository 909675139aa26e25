"""``antiphon trace``: what was seen, in the terminal."""

import json
from contextlib import closing

import typer

from antiphon.runtime.cli.common import fail, settings
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.terminal import runs_table, score_line, spending_table, trace_tree
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
        with closing(open_reader()) as reader:
            wanted = RunFilter(agent=agent, model=model, status=status, obs=obs)
            if not run and not last:
                page = reader.runs(wanted, limit=limit)
                if as_json:
                    typer.echo(RunsView.of(page).model_dump_json())
                else:
                    Console().print(runs_table(page.runs))
                return
            record = reader.run(one_run(reader, run, wanted))
            if record is None:
                raise ConfigurationError(f"run {run} has just been removed by the retention limits")
            if as_json:
                scores = [score.model_dump(mode="json") for score in reader.scores(record.run.run)]
                typer.echo(json.dumps({**RunDetail.of(record).model_dump(mode="json"), "scores": scores}))
            else:
                console = Console()
                console.print(trace_tree(record))
                console.print(spending_table(spending_of(record.spans)))
                for score in reader.scores(record.run.run):
                    console.print(score_line(score))
    except AntiphonError as error:
        fail(error, as_json=as_json)


def open_reader() -> Reader:
    """The store of this machine. Raises ConfigurationError where there is none."""
    return Reader.open(settings().store_path)


def one_run(reader: Reader, prefix: str, wanted: RunFilter) -> str:
    """The id of the one run that begins so; of the newest without a beginning. Raises ConfigurationError."""
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
