"""``antiphon``: define agents in Python, publish tasks on the bus, inspect traces, read findings."""

import typer

from antiphon.runtime.cli import (
    approvals,
    chat,
    compare,
    dataset,
    dead,
    doctor,
    export,
    findings,
    init,
    journal,
    kernels,
    knowledge,
    mcp,
    models,
    observe,
    password,
    policy,
    replay,
    schedules,
    schemas,
    serve,
    sessions,
    sql,
    status,
    tasks,
    whatif,
)
from antiphon.runtime.cli.showing import ShowingGroup
from antiphon.runtime.version import VERSION

app = typer.Typer(
    name="antiphon",
    help=__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    epilog="Settings: ANTIPHON_* variables or antiphon.toml. Without ANTIPHON_NATS_URL an embedded nats-server runs.",
)

traces = typer.Typer(cls=ShowingGroup, help=observe.trace.__doc__, no_args_is_help=False)
traces.command("show")(observe.trace)
traces.command("export")(export.export)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(VERSION)
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    """A runtime for systems of agents."""


app.command("init")(init.init)
app.command("doctor")(doctor.doctor)
app.command("password")(password.password)
app.command("run")(serve.run_system)
app.command("up")(serve.up)
app.command("serve")(serve.serve_model)
app.command("ask")(tasks.ask)
app.command("submit")(tasks.submit)
app.command("chat")(chat.chat)
app.command("result")(tasks.result)
app.command("cancel")(tasks.cancel)
app.command("task")(status.task)
app.command("journal")(journal.journal)
app.command("agents")(tasks.agents)
app.add_typer(traces, name="trace")
app.command("sql")(sql.sql)
app.command("whatif")(whatif.whatif)
app.command("replay")(replay.replay)
app.command("diff")(replay.diff)
app.command("compare")(compare.compare)
app.command("try-model")(compare.try_model)
app.command("schemas")(schemas.schemas)
app.add_typer(findings.app, name="findings")
app.add_typer(approvals.app, name="approvals")
app.add_typer(sessions.app, name="session")
app.add_typer(schedules.app, name="schedules")
app.add_typer(policy.app, name="policy")
app.add_typer(dead.app, name="dead")
app.add_typer(dataset.app, name="dataset")
app.add_typer(models.app, name="models")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(kernels.app, name="kernels")
app.add_typer(mcp.app, name="mcp")
