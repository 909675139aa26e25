"""``antiphon sql``: one SELECT over the trace store."""

import json

import typer
from rich.table import Table
from rich.text import Text

from antiphon.runtime.cli.common import fail, settings
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.questions import TableView, table_csv
from antiphon.runtime.errors import AntiphonError
from antiphon.runtime.store.sql import MOST_ROWS, SECONDS, ask


def sql(
    query: str = typer.Argument(help='One SELECT, such as "SELECT agent, count(*) FROM spans GROUP BY agent".'),
    limit: int = typer.Option(1_000, min=1, max=MOST_ROWS, help="Print at most so many rows."),
    timeout: float = typer.Option(SECONDS, min=0.01, max=600, help="Seconds until the query is stopped."),
    as_csv: bool = typer.Option(False, "--csv", help="Print comma-separated values."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object, errors included."),
) -> None:
    """Query the trace store. It cannot be changed this way, and prompts are not in it unless contents are captured."""
    if as_csv and as_json:
        raise typer.BadParameter("give one of --csv and --json")
    try:
        found = ask(settings().store_path, query, limit=limit, time_s=timeout)
    except AntiphonError as error:
        fail(error, as_json=as_json)
    if as_json:
        typer.echo(json.dumps(TableView.of(found).model_dump(mode="json"), ensure_ascii=False))
        return
    if as_csv:
        typer.echo(table_csv(found), nl=False)
    else:
        table = Table(box=None, header_style="dim", pad_edge=False)
        for column in found.columns:
            table.add_column(Text(column), overflow="fold")
        for row in TableView.of(found).rows:
            table.add_row(*(Text("" if value is None else str(value)) for value in row))
        Console().print(table)
    if found.truncated:
        typer.echo(f"only the first {len(found.rows):,} rows: --limit shows more", err=True)
