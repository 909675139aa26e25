"""``antiphon journal``: what a task did, operation by operation, while it runs and after it has ended."""

import json
from contextlib import closing
from typing import Any

import msgspec
import typer
from rich.table import Table
from rich.text import Text

from antiphon.runtime.approvals import moment
from antiphon.runtime.cli.common import run, settings
from antiphon.runtime.cli.connection import connected_host
from antiphon.runtime.cli.screen import Console
from antiphon.runtime.console.terminal import duration
from antiphon.runtime.store.archive import find_journal
from antiphon.runtime.store.query import Reader
from antiphon.schemas.journal import Entry, EntryKind, JournalBatch

_SHOWN = 300  # characters of a value; the terminal cuts them to its width


def journal(
    task: str = typer.Argument(help="A task id, as submit prints it."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON object with whole values, errors included."),
) -> None:
    """Print what a task recorded: from the bus, or from the store once it was archived there."""

    async def work() -> JournalBatch:
        async with connected_host() as host:
            with closing(Reader(settings().store_path)) as reader:
                return await find_journal(host.bus, reader, host.tenant, task)

    found = run(work(), as_json=as_json)
    if as_json:
        typer.echo(json.dumps(_record(found), ensure_ascii=False))
        return
    state = found.state or "not ended, or dead"
    Console().print(Text(f"task {found.task} of {found.agent}.{found.handler}, version {found.version}: {state}"))
    table = Table(box=None, pad_edge=False, expand=True)
    for name in ("path", "operation", "target", "effect", "began", "took"):
        table.add_column(name, no_wrap=True)
    table.add_column("value", no_wrap=True, overflow="ellipsis", ratio=1, min_width=12)
    for entry in found.entries:
        table.add_row(*(Text(cell) for cell in _cells(entry)))
    Console().print(table)


def _cells(entry: Entry) -> tuple[str, ...]:
    operation = entry.operation
    if entry.kind is not EntryKind.OPERATION:
        operation = f"{operation} ({entry.kind})" if operation else entry.kind.value
    took_s = (entry.ended_unix_ms - entry.started_unix_ms) / 1000
    value = entry.value.decode(errors="replace")
    if entry.error:
        error = msgspec.json.decode(entry.error)
        value = f"{error['type']}: {error['message']}"
    return (
        entry.path,
        operation,
        entry.target,
        entry.effect,
        moment(entry.started_unix_ms) if entry.started_unix_ms else "",
        duration(took_s) if entry.started_unix_ms and entry.ended_unix_ms else "",
        " ".join(value[:_SHOWN].split()),
    )


def _record(found: JournalBatch) -> dict[str, Any]:
    return {
        "task": found.task,
        "run": found.run,
        "agent": found.agent,
        "handler": found.handler,
        "version": found.version,
        "attempt": found.attempt,
        "state": found.state or None,
        "entries": [_entry(entry) for entry in found.entries],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    return {
        "kind": entry.kind.value,
        "path": entry.path,
        "operation": entry.operation,
        "target": entry.target,
        "request": entry.request,
        "effect": entry.effect,
        "value": _parsed(entry.value),
        "error": _parsed(entry.error),
        "digest": entry.digest or None,
        "span": entry.span,
        "started_unix_ms": entry.started_unix_ms,
        "ended_unix_ms": entry.ended_unix_ms,
        "conversation": list(entry.conversation),
        "blocks": {name: _parsed(block) for name, block in (entry.blocks or {}).items()},
    }


def _parsed(body: bytes) -> Any:
    """The JSON; None for nothing, and text for what a foreign tool wrote that is none."""
    try:
        return msgspec.json.decode(body) if body else None
    except msgspec.DecodeError:
        return body.decode(errors="replace")
