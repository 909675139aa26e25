"""``antiphon task``: where a task is, and what it has done so far."""

import json
from dataclasses import replace

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from antiphon.runtime.approvals import moment
from antiphon.runtime.cli.common import run
from antiphon.runtime.cli.connection import connected_host
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.terminal import duration
from antiphon.runtime.delivery.task_status import TaskStatus, task_status
from antiphon.schemas.journal import Entry
from antiphon.schemas.parking import Wait, WaitKind


def task(
    id: str = typer.Argument(help="A task id, as submit prints it."),
    last: int = typer.Option(10, min=0, help="How many entries of its journal to show, the newest."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object, errors included."),
) -> None:
    """Say where a task is: queued, running, parked (and for what) or ended, with what its journal says."""

    async def work() -> TaskStatus:
        async with connected_host() as host:
            found = await task_status(host.bus, host.tenant, id)
            return replace(found, entries=found.entries[-last:] if last else ())

    found = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps(_record(found), ensure_ascii=False))
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _rows(found).items():
        if value:
            table.add_row(name, Text(value))
    Console().print(table)


def _rows(found: TaskStatus) -> dict[str, str]:
    result = found.result
    rows = {
        "task": found.task,
        "state": found.state.value,
        "handler": found.address,
        "attempts": str(found.attempts) if found.attempts else "",
        "message": f"{found.message} in ANTIPHON_TASKS" if found.message else "",
        "letter": f"{found.letter}: `antiphon dead show {found.letter}`" if found.letter else "",
        "waits for": "\n".join(_waits_for(wait) for wait in found.waits),
        "journal": "\n".join(_line(entry) for entry in found.entries),
    }
    if result is not None:
        rows["ended"] = moment(result.finished_unix_ms)
        if result.error is not None:
            rows["error"] = f"{result.error.type}: {result.error.message}"
        rows["value"] = "" if result.value is None else json.dumps(result.value, ensure_ascii=False)
    return rows


def _waits_for(wait: Wait) -> str:
    until = f"until {moment(wait.until_unix_ms)}" if wait.until_unix_ms is not None else ""
    match wait.kind:
        case WaitKind.TIME:
            return until
        case WaitKind.TASK:
            return f"task {wait.id} {until}".rstrip()
        case WaitKind.APPROVAL:
            return f"an answer: `antiphon approvals show {wait.id}` {until}".rstrip()


def _line(entry: Entry) -> str:
    """``3.b.1 call critic.review, 340 ms``; with the error of one that failed."""
    what = " ".join(word for word in (entry.path, entry.operation or entry.kind.value, entry.target) if word)
    if entry.operation and entry.kind.value != "operation":
        what += f" ({entry.kind})"
    took_ms = entry.ended_unix_ms - entry.started_unix_ms
    took = f", {duration(took_ms / 1000)}" if entry.ended_unix_ms and entry.started_unix_ms and took_ms else ""
    return f"{what}{took}{f' failed: {_error(entry)}' if entry.error else ''}"


def _error(entry: Entry) -> str:
    info = msgspec.json.decode(entry.error)
    return f"{info.get('type', '?')}: {info.get('message', '')}"


def _record(found: TaskStatus) -> dict[str, object]:
    return {
        "task": found.task,
        "state": found.state.value,
        "handler": found.address,
        "attempts": found.attempts,
        "message": found.message or None,
        "letter": found.letter or None,
        "waits": [wait.model_dump(mode="json") for wait in found.waits],
        "journal": [
            {
                "kind": entry.kind.value,
                "path": entry.path,
                "operation": entry.operation,
                "target": entry.target,
                "started_unix_ms": entry.started_unix_ms,
                "ended_unix_ms": entry.ended_unix_ms,
                "error": msgspec.json.decode(entry.error) if entry.error else None,
            }
            for entry in found.entries
        ],
        "result": found.result.model_dump(mode="json") if found.result is not None else None,
    }
