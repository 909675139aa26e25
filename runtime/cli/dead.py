"""``antiphon dead``: work that could not be done, to be looked at, redriven or dropped."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from antiphon.runtime.approvals import moment
from antiphon.runtime.cli.common import fail, run
from antiphon.runtime.cli.connection import connected_host
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.terminal import duration
from antiphon.runtime.delivery.bodies import unpack
from antiphon.runtime.delivery.letters import Letter, Letters
from antiphon.runtime.delivery.redrive import Redriver, Resolution
from antiphon.runtime.errors import AntiphonError, BusUnavailable, ConfigurationError, UnknownLetter

app = typer.Typer(help="See dead letters, send their work on its way again, or drop them.", no_args_is_help=True)

NUMBER = typer.Argument(help="The letter's number, as `antiphon dead list` shows it.")
ONE = typer.Argument(None, help="The letter's number, as `antiphon dead list` shows it.")
ALL = typer.Option(False, "--all", help="Every letter there is.")
AGENT = typer.Option("", "--agent", help="Every letter of this agent.")
AS_JSON = typer.Option(False, "--json", help="Print JSON, errors included.")


@app.command("list")
def list_letters(
    agent: str = typer.Option("", help="Only those of this agent."),
    as_json: bool = AS_JSON,
) -> None:
    """Show the dead letters, the newest first."""

    async def work() -> tuple[list[dict[str, Any]], int]:
        async with connected_host() as host:
            letters = Letters(host.bus, host.tenant)
            rows = [_summary(letter) async for letter in letters.each(agent or None)]
            return rows[::-1], host.clock.unix_ns() // 1_000_000

    rows, now_ms = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps(rows, ensure_ascii=False))
        return
    if not rows:
        typer.echo("no dead letters", err=True)
        return
    table = Table(box=None, header_style="dim", pad_edge=False, expand=True)
    table.add_column("number", justify="right", no_wrap=True, min_width=6)
    for name in ("agent", "task", "attempts", "age"):
        table.add_column(name, no_wrap=True)
    table.add_column("reason", no_wrap=True, overflow="ellipsis", ratio=1, min_width=12)
    for row in rows:
        table.add_row(
            str(row["number"]),
            row["agent"],
            (row["task"] or "")[:8],
            str(row["attempts"]),
            duration(max(0, now_ms - row["unix_ms"]) / 1000),
            Text(f"{row['reason']['type']}: {row['reason']['message']}"),
        )
    Console().print(table)


@app.command("show")
def show(number: int = NUMBER, as_json: bool = AS_JSON) -> None:
    """Print one letter: why it died, its headers and its original body."""

    async def work() -> tuple[Letter, bytes]:
        async with connected_host() as host:
            letter = await Letters(host.bus, host.tenant).get(number)
            return letter, await unpack(host.bus, await letter.body(host.bus), letter.content.headers)

    letter, body = run(work(), as_json=as_json)
    content = letter.content
    if as_json:
        typer.echo(json.dumps({**_summary(letter), "headers": content.headers, "body": _parsed(body)}))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows = {
        "letter": f"{letter.number} of {letter.agent}",
        "task": content.task or "none: an event, or a message without id",
        "died": f"{moment(content.unix_ms)}, after {content.attempts} attempts",
        "reason": f"{content.reason.type}: {content.reason.message}",
        "details": "\n".join(f"{key}: {value}" for key, value in content.reason.details.items()),
        "subject": content.subject,
        "headers": "\n".join(f"{key}: {value}" for key, value in content.headers.items()),
        "body": _shown(body),
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, Text(value))
    Console().print(table)


@app.command("redrive")
def redrive(
    number: int | None = ONE,
    every: bool = ALL,
    agent: str = AGENT,
    resolve: str = typer.Option(
        "", help="Of a task that died in doubt: done=RESULT (as JSON), or not-done: then the write is made again."
    ),
    as_json: bool = AS_JSON,
) -> None:
    """Send dead work on its way again: a task keeps its id, and what it recorded is not done twice."""

    _check_choice(number, every, agent)
    if resolve and number is None:
        raise typer.BadParameter("--resolve is about one letter: give its number")
    try:
        resolution = _resolution(resolve) if resolve else None
    except ConfigurationError as error:
        fail(error, as_json=as_json)

    async def one(redriver: Redriver, letter: Letter) -> str:
        sent = await redriver.redrive(letter, resolution)
        return "redriven" if sent else "its task has ended since, and nothing was sent"

    _each(number, agent, one, as_json=as_json)


@app.command("drop")
def drop(
    number: int | None = ONE,
    every: bool = ALL,
    agent: str = AGENT,
    yes: bool = typer.Option(False, "--yes", help="Do not ask."),
    as_json: bool = AS_JSON,
) -> None:
    """Give dead work up: the letter and the task's journal go for ever."""

    _check_choice(number, every, agent)

    async def one(redriver: Redriver, letter: Letter) -> str:
        await redriver.drop(letter)
        return "dropped"

    what = f"letter {number}" if number is not None else f"all letters{agent and f' of {agent}'}"
    if not yes:
        typer.confirm(f"Drop {what}, with the journals behind it? This cannot be undone.", abort=True, err=True)
    _each(number, agent, one, as_json=as_json)


def _check_choice(number: int | None, every: bool, agent: str) -> None:
    if (number is not None) + every + bool(agent) != 1:
        raise typer.BadParameter("give one of a letter's number, --agent NAME and --all")


def _each(
    number: int | None,
    agent: str,
    one: Callable[[Redriver, Letter], Awaitable[str]],
    *,
    as_json: bool,
) -> None:
    """Do it to one letter, to an agent's, or (neither given) to all.

    One of several that cannot be is told of, and the others go on; the status is 1 in the end.
    """

    async def work() -> list[dict[str, Any]]:
        async with connected_host() as host:
            letters = Letters(host.bus, host.tenant)
            redriver = Redriver(host.bus, host.clock, host.tenant)
            if number is not None:
                letter = await letters.get(number)
                done: list[dict[str, Any]] = [
                    {"number": number, "agent": letter.agent, "done": await one(redriver, letter)}
                ]
            else:
                done = await _many(letters, redriver, agent, one)
            return done

    rows = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps(rows))
    else:
        for row in rows:
            typer.echo(f"letter {row['number']} of {row['agent']}: {row.get('done') or row['error']}")
        if not rows:
            typer.echo("no dead letters", err=True)
    if any("error" in row for row in rows):
        raise typer.Exit(1)


async def _many(
    letters: Letters, redriver: Redriver, agent: str, one: Callable[[Redriver, Letter], Awaitable[str]]
) -> list[dict[str, Any]]:
    # Numbers only: the bodies of all letters at once may be more than fits.
    numbers = [letter.number async for letter in letters.each(agent or None)]
    rows: list[dict[str, Any]] = []
    columns = (TextColumn("letters"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        for number in bar.track(numbers):
            try:
                letter = await letters.get(number)
            except UnknownLetter:
                continue  # somebody else has settled it since it was listed
            row: dict[str, Any] = {"number": number, "agent": letter.agent}
            try:
                row["done"] = await one(redriver, letter)
            except BusUnavailable:
                raise
            except AntiphonError as error:
                row["error"] = f"{type(error).__name__}: {error.message}"
            rows.append(row)
    return rows


def _resolution(text: str) -> Resolution:
    """What ``--resolve`` says. Raises ConfigurationError."""
    if text == "not-done":
        return Resolution(done=False)
    said, _, value = text.partition("=")
    try:
        if said == "done":
            return Resolution(done=True, value=json.loads(value))
    except ValueError as error:
        raise ConfigurationError(f"--resolve {text!r}: the result is not JSON ({error})") from None
    raise ConfigurationError(f"--resolve {text!r}: expected not-done, or done= and the result as JSON (done=null)")


def _summary(letter: Letter) -> dict[str, Any]:
    content = letter.content
    return {
        "number": letter.number,
        "agent": letter.agent,
        "task": content.task,
        "subject": content.subject,
        "reason": content.reason.model_dump(mode="json"),
        "attempts": content.attempts,
        "unix_ms": content.unix_ms,
    }


def _parsed(body: bytes) -> Any:
    """JSON as such, other text as text, anything else as hexadecimal digits."""
    try:
        return json.loads(body)
    except ValueError:
        pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.hex()


def _shown(body: bytes) -> str:
    found = _parsed(body)
    return found if isinstance(found, str) else json.dumps(found, indent=2, ensure_ascii=False)
