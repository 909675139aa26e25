"""``antiphon findings``: what the logging agent found, and a person's word on it."""

import json
from contextlib import closing
from typing import TypeVar

import typer

from antiphon.runtime.agent import Handler, remote
from antiphon.runtime.cli.common import fail, login, run
from antiphon.runtime.cli.connection import connected
from antiphon.runtime.cli.observe import open_reader
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.terminal import finding_panel, findings_table
from antiphon.runtime.errors import AntiphonError, ConfigurationError, UnknownAgent, UnknownHandler
from antiphon.runtime.store.seen import seen_attributes
from antiphon.runtime.telemetry.needs import NEEDS, missing
from antiphon.schemas.finding import Finding
from antiphon.schemas.finding_request import ApplyFinding, DismissFinding
from antiphon.schemas.message import Message
from antiphon.schemas.policy import Level

app = typer.Typer(help="See what the logging agent found, and apply or dismiss it.", invoke_without_command=True)

Wish = TypeVar("Wish", bound=Message)
APPLY = remote("logging-agent.apply", ApplyFinding, Finding)
DISMISS = remote("logging-agent.dismiss", DismissFinding, Finding)
ID = typer.Argument(help="The finding's id, or enough of its beginning.")
AS_JSON = typer.Option(False, "--json", help="Print JSON, errors included.")
BY = typer.Option("", help="Who says so; the login name if not given.")


@app.callback()
def findings(context: typer.Context, as_json: bool = AS_JSON) -> None:
    """List the findings, each with its state and its estimated saving."""
    if context.invoked_subcommand is not None:
        return
    found = _read("", as_json=as_json)
    if as_json:
        typer.echo(json.dumps([each.model_dump(mode="json") for each in found]))
    else:
        Console().print(findings_table(found))


@app.command("show")
def show(id: str = ID, as_json: bool = AS_JSON) -> None:
    """Print a finding with its evidence, its remedy, and what was measured of it."""
    found = _read(id, as_json=as_json)
    if len(found) != 1:
        said = f"{id!r} is the beginning of {len(found)} findings" if found else f"no finding begins with {id!r}"
        fail(ConfigurationError(f"{said}: `antiphon findings` lists them"), as_json=as_json)
    _print(found[0], as_json=as_json)


@app.command("missing")
def lacking(as_json: bool = AS_JSON) -> None:
    """Say which patterns cannot be seen, because the newest spans lack the facts for them."""
    try:
        with closing(open_reader()) as reader:
            spans, seen = reader.ask(seen_attributes)
    except AntiphonError as error:
        fail(error, as_json=as_json)
    lacks = missing(seen)
    if as_json:
        typer.echo(
            json.dumps({"spans": spans, "missing": {pattern: list(map(list, n)) for pattern, n in lacks.items()}})
        )
        return
    console = Console()
    if not spans:
        console.print("no spans yet: submit a task first")
        return
    for pattern, needs in lacks.items():
        console.print(f"{pattern.upper()} lacks {'; '.join(' or '.join(either) for either in needs)}")
    able = len(NEEDS) - len(lacks)
    console.print(f"{able} of {len(NEEDS)} patterns can be seen in the newest {spans:,} spans (docs/evidence.md)")


@app.command("apply")
def apply(
    id: str = ID,
    level: Level = typer.Option(Level.CANARY, help="How far: shadow, canary or on."),
    share: float = typer.Option(0.5, min=0.01, max=0.99, help="The share of runs that a canary treats."),
    yes: bool = typer.Option(False, "--yes", help="Also a remedy that is not proven, or that may change results."),
    by: str = BY,
    as_json: bool = AS_JSON,
) -> None:
    """Let a finding's remedy work, and measure it. What harms is taken back by itself."""
    if level is Level.SUGGEST:
        raise typer.BadParameter("say shadow, canary or on; `antiphon findings rollback` takes a remedy back")
    wish = ApplyFinding(finding=id, level=level, share=share, sure=yes, by=by or login())
    _print(_ask(APPLY, wish, as_json=as_json), as_json=as_json)


@app.command("rollback")
def rollback(id: str = ID, by: str = BY, as_json: bool = AS_JSON) -> None:
    """Take a finding's remedy back at once; it is not reported again for a week."""
    wish = ApplyFinding(finding=id, level=Level.SUGGEST, by=by or login())
    _print(_ask(APPLY, wish, as_json=as_json), as_json=as_json)


@app.command("dismiss")
def dismiss(
    id: str = ID,
    reason: str = typer.Option("", help="Why, for those who read it later."),
    by: str = BY,
    as_json: bool = AS_JSON,
) -> None:
    """Say no to a finding; it is not reported again for a week."""
    wish = DismissFinding(finding=id, reason=reason, by=by or login())
    _print(_ask(DISMISS, wish, as_json=as_json), as_json=as_json)


def _read(prefix: str, *, as_json: bool) -> list[Finding]:
    try:
        with closing(open_reader()) as reader:
            return [each for each in reader.findings() if each.id.startswith(prefix)]
    except AntiphonError as error:
        fail(error, as_json=as_json)


def _ask(handler: Handler[Wish, Finding], wish: Wish, *, as_json: bool) -> Finding:
    async def work() -> Finding:
        async with connected() as client:
            try:
                return await client.ask(handler, wish)
            except (UnknownAgent, UnknownHandler):
                raise ConfigurationError(
                    "no logging agent answers: `antiphon up` starts one; it must use the same server and tenant"
                ) from None

    return run(work(), as_json=as_json)


def _print(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        typer.echo(finding.model_dump_json())
    else:
        Console().print(finding_panel(finding))
