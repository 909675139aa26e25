"""``antiphon approvals``: what tasks ask of people, and the answers."""

import json

import typer
from rich.table import Table
from rich.text import Text

from antiphon.runtime.approvals import Approvals, moment
from antiphon.runtime.cli.common import body_of, login, run
from antiphon.runtime.cli.connection import connected_host
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.terminal import duration
from antiphon.runtime.errors import UnknownApproval
from antiphon.schemas.approval import Approval, ApprovalState

app = typer.Typer(help="See what tasks ask of people, and answer.", no_args_is_help=True)

ID = typer.Argument(help="The approval's id, or enough of its beginning.")
AS_JSON = typer.Option(False, "--json", help="Print JSON, errors included.")
_SHORT = 8  # digits of an id in the table; a prefix that is unique is enough everywhere
_STYLES = {
    ApprovalState.OPEN: "yellow",
    ApprovalState.APPROVED: "green",
    ApprovalState.REJECTED: "red",
    ApprovalState.EXPIRED: "dim",
}


@app.command("list")
def list_approvals(
    everything: bool = typer.Option(False, "--all", help="Also those that are answered, while their task goes on."),
    as_json: bool = AS_JSON,
) -> None:
    """Show the questions that wait for an answer, the oldest first."""

    async def work() -> tuple[list[Approval], int]:
        async with connected_host() as host:
            found = await host.approvals.all(None if everything else ApprovalState.OPEN)
            return found, host.clock.unix_ns() // 1_000_000

    found, now_ms = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps([approval.model_dump(mode="json") for approval in found], ensure_ascii=False))
        return
    if not found:
        typer.echo("nothing waits for an answer", err=True)
        return
    Console().print(listed(found, now_ms))


@app.command("show")
def show(id: str = ID, as_json: bool = AS_JSON) -> None:
    """Print one approval: the proposal, who may answer, and the answer if there is one."""

    async def work() -> Approval:
        async with connected_host() as host:
            return await _one(host.approvals, id)

    found = run(work(), as_json=as_json)
    if as_json:
        typer.echo(found.model_dump_json())
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "approval": found.id,
        "task": f"{found.task} ({found.agent}.{found.handler}, operation {found.path})",
        "of": found.to or "anybody",
        "asked": moment(found.asked_unix_ms),
        "until": moment(found.until_unix_ms) if found.until_unix_ms is not None else "no end",
        "state": found.state.value,
        found.proposal_type: as_seen(found.proposal, indent=2),
    }
    if found.answered_unix_ms is not None:
        rows["answered"] = f"{moment(found.answered_unix_ms)}{found.answered_by and f' by {found.answered_by}'}"
        rows["comment"] = found.comment
    if found.decision is not None and found.decision != found.proposal:
        rows["edited"] = as_seen(found.decision, indent=2)
    if found.json_schema and found.state is ApprovalState.OPEN:
        rows["shape"] = as_seen(found.json_schema, indent=2)
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    Console().print(table)


@app.command("answer")
def answer(
    id: str = ID,
    approved: bool | None = typer.Option(None, "--approve/--reject", help="Say yes or no."),
    edit: str = typer.Option("", help="The proposal as it should be, a JSON object; - reads standard input."),
    comment: str = typer.Option("", help="What to tell the task besides."),
    by: str = typer.Option("", help="Who answers; the login name if not given."),
    as_json: bool = AS_JSON,
) -> None:
    """Answer an approval. The first answer counts; the task goes on at once."""

    if approved is None:
        raise typer.BadParameter("say --approve or --reject")

    async def work() -> Approval:
        value = body_of(edit) if edit else None
        name = by or login()
        async with connected_host() as host:
            found = await _one(host.approvals, id)
            return await host.approvals.answer(found.id, approved=approved, by=name, value=value, comment=comment)

    found = run(work(), as_json=as_json)
    typer.echo(
        found.model_dump_json() if as_json else f"{found.state} by {found.answered_by}: task {found.task} goes on"
    )


def listed(found: list[Approval], now_ms: int) -> Table:
    """A line for each, with its id whole however narrow the terminal is: ``answer`` takes it."""
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    table.add_column("id", no_wrap=True, min_width=_SHORT)
    for name in ("asked", "by", "of", "until", "state"):
        table.add_column(name, no_wrap=True)
    table.add_column("proposal", no_wrap=True, overflow="ellipsis", ratio=1, min_width=12)
    for approval in found:
        table.add_row(
            approval.id[:_SHORT],
            f"{duration(max(0, now_ms - approval.asked_unix_ms) / 1000)} ago",
            f"{approval.agent}.{approval.handler}",
            Text(approval.to or "anybody"),
            _until(approval, now_ms),
            Text(approval.state.value, _STYLES[approval.state]),
            Text(f"{approval.proposal_type} {as_seen(approval.proposal)}"),
        )
    return table


def as_seen(value: object, *, indent: int | None = None) -> str:
    """As JSON, with escapes for characters that a terminal would obey or hide: a person must see what they approve."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    return "".join(sign if sign.isprintable() or sign == "\n" else json.dumps(sign)[1:-1] for sign in text)


async def _one(approvals: Approvals, prefix: str) -> Approval:
    found = [approval for approval in await approvals.all() if approval.id.startswith(prefix)]
    if not prefix or not found:
        raise UnknownApproval(
            f"no approval begins with {prefix!r}: its task has ended, or it never was; "
            "`antiphon approvals list --all` shows those there are"
        )
    if len(found) > 1:
        raise UnknownApproval(f"{prefix!r} is the beginning of {len(found)} approvals: give more of it")
    return found[0]


def _until(approval: Approval, now_ms: int) -> str:
    if approval.until_unix_ms is None:
        return "no end"
    left_s = (approval.until_unix_ms - now_ms) / 1000
    return f"in {duration(left_s)}" if left_s > 0 else "passed"
