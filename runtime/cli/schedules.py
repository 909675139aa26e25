"""``antiphon schedules``: work that begins by itself, again and again."""

import json
from datetime import datetime
from typing import Any

import typer
from rich.table import Table

from antiphon.runtime.cli.common import body_of, run
from antiphon.runtime.cli.connection import connected, find_handler
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.client import Client
from antiphon.runtime.errors import ConfigurationError, InvalidMessage
from antiphon.runtime.json_schema import problems
from antiphon.runtime.patterns.schedule_book import ScheduleBook, Work
from antiphon.runtime.patterns.ticks import instant, next_tick
from antiphon.schemas.schedule import Missed, Schedule

app = typer.Typer(help="See, make and remove schedules.", no_args_is_help=True)

NAME = typer.Argument(help="The schedule's name, such as daily-digest.")
AS_JSON = typer.Option(False, "--json", help="Print JSON, errors included.")


@app.command("list")
def list_schedules(as_json: bool = AS_JSON) -> None:
    """Show the schedules, and when each begins its work next; --json has the messages too."""

    async def work() -> list[Schedule]:
        async with connected() as client:
            return await (await _book(client)).all()

    found = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps([_shown(schedule) for schedule in found], ensure_ascii=False))
        return
    if not found:
        typer.echo("nothing is scheduled", err=True)
        return
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in ("name", "work", "when", "next", "missed"):
        table.add_column(name, no_wrap=True)
    for schedule in found:
        shown = _shown(schedule)
        rule = schedule.cron or f"every {_length(schedule.every_ms or 0)}"
        address = f"{schedule.agent}.{schedule.handler}"
        table.add_row(schedule.name, address, rule, shown["next"] or "never", schedule.missed.value)
    Console().print(table)


@app.command("add")
def add(
    name: str = NAME,
    address: str = typer.Argument(help="agent.handler, such as writer.write"),
    body: str = typer.Argument(help="The message of every tick as a JSON object; - reads standard input."),
    every: str = typer.Option("", help='The time between two ticks, such as "90s", "1h" or "1d".'),
    cron: str = typer.Option("", help='Minute, hour, day of month, month and day of week in UTC, as "0 8 * * 1-5".'),
    start: str = typer.Option("", help="When ticks begin, such as 2026-01-31T08:00:00Z; now if not given."),
    missed: Missed = typer.Option(Missed.LATEST, help="What becomes of ticks that passed while no node ran."),
    as_json: bool = AS_JSON,
) -> None:
    """Make a schedule, or change the one of that name."""

    async def work() -> Schedule:
        message = body_of(body)
        begins = _moment(start) if start else None
        async with connected() as client:
            wanted = await _work(client, address, message)
            book = await _book(client)
            return await book.add(name, wanted, every=every or None, cron=cron or None, start=begins, missed=missed)

    shown = _shown(run(work(), as_json=as_json))
    typer.echo(json.dumps(shown, ensure_ascii=False) if as_json else f"{name}: next at {shown['next']}")


@app.command("remove")
def remove(name: str = NAME) -> None:
    """Let no more ticks come; what they began goes on. Status 1 if there is no such schedule."""

    async def work() -> bool:
        async with connected() as client:
            return await (await _book(client)).remove(name)

    if not run(work()):
        typer.echo(f"no schedule {name!r}: see `antiphon schedules list`", err=True)
        raise typer.Exit(1)
    typer.echo("removed")


async def _book(client: Client) -> ScheduleBook:
    return await ScheduleBook.open(client.host.bus, client.host.clock, client.host.tenant)


async def _work(client: Client, text: str, message: dict[str, Any]) -> Work:
    """The message for a handler that was ever served, checked against the shape in the directory."""
    address, found = await find_handler(client, text)
    wrong = problems(found.input.json_schema, message)
    if wrong:
        raise InvalidMessage(f"{found.input.name}: {'; '.join(wrong)}", type=found.input.name)
    return Work(address.agent, address.handler, found.input.name, found.input.version, message)


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigurationError(f"--start is {text!r}, expected a time such as 2026-01-31T08:00:00Z") from None


def _shown(schedule: Schedule) -> dict[str, Any]:
    tick_ms = next_tick(schedule)
    return {**schedule.model_dump(mode="json"), "next": None if tick_ms is None else instant(tick_ms)}


def _length(every_ms: int) -> str:
    for unit_ms, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")):
        if every_ms % unit_ms == 0:
            return f"{every_ms // unit_ms}{unit}"
    return f"{every_ms}ms"
