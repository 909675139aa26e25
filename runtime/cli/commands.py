"""``antiphon``: define agents in Python, publish tasks on the bus, inspect traces, read findings."""

import typer

from antiphon.runtime.cli import approvals, dead, journal, models, observe, schedules, schemas, serve, status, tasks
from antiphon.runtime.version import VERSION

app = typer.Typer(
    name="antiphon",
    help=__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Settings: ANTIPHON_* variables or antiphon.toml. Without ANTIPHON_NATS_URL an embedded nats-server runs.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """A runtime for systems of agents."""


app.command("run")(serve.run_system)
app.command("up")(serve.up)
app.command("serve")(serve.serve_model)
app.command("ask")(tasks.ask)
app.command("submit")(tasks.submit)
app.command("result")(tasks.result)
app.command("cancel")(tasks.cancel)
app.command("task")(status.task)
app.command("journal")(journal.journal)
app.command("agents")(tasks.agents)
app.command("trace")(observe.trace)
app.command("findings")(observe.findings)
app.command("schemas")(schemas.schemas)
app.add_typer(approvals.app, name="approvals")
app.add_typer(schedules.app, name="schedules")
app.add_typer(dead.app, name="dead")
app.add_typer(models.app, name="models")
